"""Moves credits. Every function is one statement, carried out by the database under the wallet's lock (docs/credits.md).

Invariants: a key moves credits once per project and mode; what somebody can spend is the sum of the ledger's entries and never
below zero; the entries of a transaction sum to zero. A function called in a transaction takes part in it.

Units: whole credits. Times are business time.
"""

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn, TypedDict, Unpack

from django.db import IntegrityError, connection

from common import clock
from common.errors import ApiError, Conflict, NotFound
from entitlements.models import Bucket
from entitlements.services.credit_notices import LowCredits, tell_of_low_credits
from projects.idempotency import KeyReused

# Far below what a column holds, so that no sum of them overflows, and exact in every JSON reader.
AMOUNT_MAX = 1_000_000_000_000
BATCH_MAX = 100
TTL_SECONDS = 300
TTL_SECONDS_MAX = 24 * 3600
KEY_CHARS_MAX = 350
SYSTEM = "system"
# The actor of what somebody does with their own token: of the reservations of their wallet, they finish their own only.
END_USER = "end_user"
ONCE = "credit_transaction_once"


class InsufficientCredits(ApiError):
    """402: fewer credits than this needs; nothing was written."""

    status_code = 402
    code = "insufficient_credits"
    detail = "There are not enough credits for this."
    action = "checkout"

    def __init__(self, *, required: int, available: int) -> None:
        self.required, self.available, self.deficit = required, available, required - available
        super().__init__(extra={"required": required, "available": available, "deficit": self.deficit})


class ReservationNotFound(NotFound):
    """404: this account has no such reservation, or an end user asks and somebody else made it."""

    code = "reservation_not_found"
    detail = "There is no such reservation."


class ReservationClosed(Conflict):
    """409: spent, released or expired before."""

    code = "reservation_closed"

    def __init__(self, state: str) -> None:
        super().__init__(f"The reservation is {state}; nothing of it is set aside any more.", extra={"state": state})


class ReservationExceeded(Conflict):
    """409: more than the reservation holds."""

    code = "reservation_exceeded"

    def __init__(self, *, required: int, reserved: int) -> None:
        super().__init__(
            "The reservation holds fewer credits than that.", extra={"required": required, "reserved": reserved}
        )


class Wallet(TypedDict):
    """Whose credits."""

    project_id: uuid.UUID
    mode: str
    end_user_id: uuid.UUID


@dataclass(frozen=True)
class Posted:
    """A transaction: by how much what can be spent changed, and what could be spent then. `replayed`: it was there before."""

    transaction_id: uuid.UUID
    key: str
    amount: int
    available: int
    created_at: dt.datetime
    replayed: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def made_low(self) -> bool:
        """Say whether it brought the credits below the project's threshold."""
        return bool(self.details.get("low"))


@dataclass(frozen=True)
class Spend:
    """One amount to spend, and what for."""

    amount: int
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reservation:
    """Credits that are set aside."""

    reservation_id: uuid.UUID
    amount: int
    expires_at: dt.datetime
    posted: Posted


@dataclass(frozen=True)
class Finished:
    """How a reservation ended: what was spent of it, and what can be spent again."""

    reservation_id: uuid.UUID
    spent: int
    returned: int
    posted: Posted


@dataclass(frozen=True)
class Clawed:
    """What was taken back, and what is owed since because there was too little left."""

    taken: int
    debt: int
    posted: Posted


@dataclass(frozen=True)
class Balance:
    """What somebody has. `reserved` is set aside and not part of `available`; `debt` is settled by what they buy or are given."""

    available: int
    reserved: int
    debt: int
    buckets: Mapping[str, int]


def grant_credits(
    *,
    bucket: Bucket | str,
    amount: int,
    key: str,
    expires_at: dt.datetime | None = None,
    reason: str = "",
    source: str = "",
    actor: str = SYSTEM,
    at: dt.datetime | None = None,
    **wallet: Unpack[Wallet],
) -> Posted:
    """Give credits. Bonus and purchased ones settle a debt first. The first grant of a key stands, whatever a repeat asks for.

    Raises: KeyReused (409) when the key did something else.
    """
    return _give("grant", bucket, amount, key, expires_at, reason, source, actor, at, wallet)


def spend_credits(
    *,
    amount: int,
    key: str,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    actor: str = SYSTEM,
    at: dt.datetime | None = None,
    **wallet: Unpack[Wallet],
) -> Posted:
    """Spend credits, what expires soonest first. Raises: InsufficientCredits (402), KeyReused (409)."""
    (posted,) = spend_batch(spends=[Spend(amount, description, metadata or {})], key=key, actor=actor, at=at, **wallet)
    return posted


def spend_batch(
    *, spends: Sequence[Spend], key: str, actor: str = SYSTEM, at: dt.datetime | None = None, **wallet: Unpack[Wallet]
) -> list[Posted]:
    """Spend several amounts, all or none. Raises: InsufficientCredits (402) for the sum, KeyReused (409)."""
    if not 1 <= len(spends) <= BATCH_MAX:
        raise ValueError("a batch has 1 to 100 spends")
    items = [
        {
            "key": _checked_key(key if len(spends) == 1 else f"{key}·{place}"),
            "amount": _checked_amount(spend.amount),
            "description": spend.description,
            "metadata": dict(spend.metadata),
        }
        for place, spend in enumerate(spends)
    ]
    asked = _fingerprint("spend", wallet, [[one.amount, one.description, dict(one.metadata)] for one in spends])
    answers = _call("credit_spend", wallet, [json.dumps(items), asked, at or clock.now(), actor])
    posted = [_posted(answer) for answer in answers]
    _tell_if_low(posted, wallet)
    return posted


def reserve_credits(
    *,
    amount: int,
    key: str,
    ttl_seconds: int = TTL_SECONDS,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    actor: str = SYSTEM,
    at: dt.datetime | None = None,
    **wallet: Unpack[Wallet],
) -> Reservation:
    """Set credits aside for a while. Raises: InsufficientCredits (402), KeyReused (409)."""
    if not 1 <= ttl_seconds <= TTL_SECONDS_MAX:
        raise ValueError("a reservation lasts a second to a day")
    moment = at or clock.now()
    asked = _fingerprint("reserve", wallet, [amount, ttl_seconds, description, dict(metadata or {})])
    values = [
        _checked_amount(amount),
        _checked_key(key),
        asked,
        moment + dt.timedelta(seconds=ttl_seconds),
        moment,
        actor,
        description,
        json.dumps(dict(metadata or {})),
    ]
    posted = _posted(*_call("credit_reserve", wallet, values))
    _tell_if_low([posted], wallet)
    return Reservation(
        reservation_id=uuid.UUID(posted.details["reservation_id"]),
        amount=int(posted.details["reserved"]),
        expires_at=dt.datetime.fromisoformat(posted.details["expires_at"]).astimezone(dt.UTC),
        posted=posted,
    )


def commit_reservation(
    *,
    reservation_id: uuid.UUID,
    key: str,
    amount: int | None = None,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    actor: str = SYSTEM,
    at: dt.datetime | None = None,
    **wallet: Unpack[Wallet],
) -> Finished:
    """Spend a reservation, or a part of it: the rest can be spent again.

    Raises: ReservationNotFound (404), ReservationClosed, ReservationExceeded, KeyReused (409).
    """
    wanted = None if amount is None else _checked_amount(amount)
    return _finish("commit", wanted, reservation_id, key, description, metadata or {}, actor, at, wallet)


def release_reservation(
    *, reservation_id: uuid.UUID, key: str, actor: str = SYSTEM, at: dt.datetime | None = None, **wallet: Unpack[Wallet]
) -> Finished:
    """Give a reservation back. Raises: ReservationNotFound (404), ReservationClosed, KeyReused (409)."""
    return _finish("release", 0, reservation_id, key, "", {}, actor, at, wallet)


def claw_back(
    *,
    amount: int,
    key: str,
    source: str,
    bucket: Bucket | str = Bucket.PURCHASED,
    reason: str = "",
    actor: str = SYSTEM,
    at: dt.datetime | None = None,
    **wallet: Unpack[Wallet],
) -> Clawed:
    """Take credits back: what is left of their source, then of their bucket; the project's policy says what becomes of the rest.

    The first call with a key stands, as with grants. Raises: KeyReused (409) when the key did something else.
    """
    asked = _fingerprint("clawback", wallet, [str(Bucket(bucket))])
    values = [
        str(Bucket(bucket)), _checked_amount(amount), _checked_key(key), asked, source[:255], at or clock.now(), actor,
        reason[:500],
    ]  # fmt: skip
    posted = _posted(*_call("credit_claw_back", wallet, values))
    return Clawed(taken=int(posted.details["taken"]), debt=int(posted.details["debt"]), posted=posted)


def move_by_hand(
    *, amount: int, reason: str, actor: str, key: str, at: dt.datetime | None = None, **wallet: Unpack[Wallet]
) -> Posted:
    """Give bonus credits (amount above zero), or take credits away (below). Somebody's decision: see credit_adjustments.py.

    Raises: InsufficientCredits (402), KeyReused (409).
    """
    if amount > 0:
        return _give("adjustment", Bucket.BONUS, amount, key, None, reason, "", actor, at, wallet, exactly=True)
    asked = _fingerprint("adjustment", wallet, [amount, reason])
    values = [_checked_amount(-amount), _checked_key(key), asked, at or clock.now(), actor, reason[:500]]
    return _posted(*_call("credit_withdraw", wallet, values))


def end_bucket(*, bucket: Bucket | str, at: dt.datetime | None = None, **wallet: Unpack[Wallet]) -> None:
    """Let a bucket's credits expire now. Nothing happens to the others."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT credit_end_bucket(%s, %s, %s, %s, %s)",
            [wallet["project_id"], wallet["mode"], wallet["end_user_id"], str(Bucket(bucket)), at or clock.now()],
        )


def follow_plan(
    *,
    plan_id: uuid.UUID | None,
    name: str,
    amount: int,
    period_key: str,
    expires_at: dt.datetime | None,
    source: str,
    at: dt.datetime,
    **wallet: Unpack[Wallet],
) -> None:
    """Bring the day's and the period's credits in line with the plan that holds. One statement; the same again changes nothing.

    A larger plan gives the difference once per day and period, a smaller one ends what it does not give and is unspent. Where a
    period that had ended holds again, what was left comes back. `period_key` names the period that is paid for; "" = none.
    """
    whose: list[Any] = [wallet["project_id"], wallet["mode"], wallet["end_user_id"]]
    asked = _fingerprint("grant", wallet, [str(Bucket.PLAN_PERIODIC)])
    values: list[Any] = [*whose, plan_id, amount, period_key, asked, expires_at, source[:255], at, name[:500]]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT credit_follow_daily(%s, %s, %s, %s),"
            " credit_follow_period(%s, %s, %s, %s::uuid, %s, %s, %s, %s::timestamptz, %s, %s, %s)",
            [*whose, at, *values],
        )


def read_balance(*, at: dt.datetime | None = None, **wallet: Unpack[Wallet]) -> Balance:
    """Read what somebody has, today's credits included. Writes nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT credit_balance(%s, %s, %s, %s)",
            [wallet["project_id"], wallet["mode"], wallet["end_user_id"], at or clock.now()],
        )
        (found,) = cursor.fetchone()
    return Balance(**(json.loads(found) if isinstance(found, str) else found))


def refuse_beyond(*, amount: int, **wallet: Unpack[Wallet]) -> None:
    """Refuse an amount that could not be spent now. Writes nothing. Raises: InsufficientCredits (402)."""
    available = read_balance(**wallet).available
    if amount > available:
        raise InsufficientCredits(required=amount, available=available)


def _give(
    kind: str,
    bucket: Bucket | str,
    amount: int,
    key: str,
    expires_at: dt.datetime | None,
    reason: str,
    source: str,
    actor: str,
    at: dt.datetime | None,
    wallet: Wallet,
    *,
    exactly: bool = False,
) -> Posted:
    name = str(Bucket(bucket))
    asked = _fingerprint(kind, wallet, [amount, reason] if exactly else [name])
    values = [
        name, _checked_amount(amount), _checked_key(key), asked, expires_at, source[:255], kind, at or clock.now(), actor,
        reason[:500],
    ]  # fmt: skip
    return _posted(*_call("credit_grant", wallet, values))


def _finish(
    kind: str,
    amount: int | None,
    reservation_id: uuid.UUID,
    key: str,
    description: str,
    metadata: Mapping[str, Any],
    actor: str,
    at: dt.datetime | None,
    wallet: Wallet,
) -> Finished:
    asked = _fingerprint(kind, wallet, [str(reservation_id), amount, description, dict(metadata)])
    values = [
        reservation_id, amount, _checked_key(key), asked, at or clock.now(), actor, description,
        json.dumps(dict(metadata)),
    ]  # fmt: skip
    posted = _posted(*_call("credit_finish", wallet, values))
    spent, returned = int(posted.details["spent"]), int(posted.details["returned"])
    return Finished(reservation_id=reservation_id, spent=spent, returned=returned, posted=posted)


class _Answer(NamedTuple):
    """One row of the database's answer, as its type credit_answer has it."""

    outcome: str
    required: int
    available: int
    transaction_id: uuid.UUID
    key: str
    amount: int
    details: str
    created_at: dt.datetime
    number: int


def _call(function: str, wallet: Wallet, values: Sequence[Any]) -> list[_Answer]:
    given = [wallet["project_id"], wallet["mode"], wallet["end_user_id"], *values]
    places = ", ".join(["%s"] * len(given))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {function}({places})", given)  # noqa: S608 - names of our own functions
            return [_Answer(*row) for row in cursor.fetchall()]
    except IntegrityError as error:
        # Two wallets met with one key at the same moment.
        if ONCE in str(error):
            raise KeyReused from error
        raise


def _tell_if_low(posted: Sequence[Posted], wallet: Wallet) -> None:
    """Tell, once a day, of credits that ran low. A repeat tells as well, in case the first request died before it could."""
    for one in posted:
        if one.made_low:
            tell_of_low_credits(LowCredits(**wallet, available=one.available, at=one.created_at))


def _posted(answer: _Answer) -> Posted:
    if answer.outcome not in ("done", "replayed"):
        _refuse(answer)
    return Posted(
        transaction_id=answer.transaction_id,
        key=answer.key,
        amount=answer.amount,
        available=answer.available,
        created_at=answer.created_at,
        replayed=answer.outcome == "replayed",
        details=json.loads(answer.details),
    )


def _refuse(answer: _Answer) -> NoReturn:
    if answer.outcome == "insufficient":
        raise InsufficientCredits(required=answer.required, available=answer.available)
    if answer.outcome == "not_found":
        raise ReservationNotFound
    if answer.outcome == "closed":
        raise ReservationClosed(json.loads(answer.details)["state"])
    if answer.outcome == "too_much":
        raise ReservationExceeded(required=answer.required, reserved=answer.available)
    raise KeyReused


def _checked_amount(amount: int) -> int:
    if type(amount) is not int or not 0 < amount <= AMOUNT_MAX:
        raise ValueError("an amount is a whole number above zero")
    return amount


def _checked_key(key: str) -> str:
    if not 0 < len(key) <= KEY_CHARS_MAX:
        raise ValueError("a key has 1 to 350 characters")
    return key


def _fingerprint(kind: str, wallet: Wallet, asked: Sequence[Any]) -> str:
    """Digest what makes two requests with one key the same."""
    text = json.dumps([kind, str(wallet["end_user_id"]), *asked], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()
