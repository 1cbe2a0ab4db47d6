"""Spend tokens of a budget: each call is one round trip to Redis, and at most the whole budget can be spent.

Invariant: what is used and what is reserved together never exceed the limit, however many calls come at once, except for what was
reserved before a smaller period began. An account that Redis does not know is read from PostgreSQL first.
"""

import contextlib
import threading
import time
import uuid
from dataclasses import replace
from typing import Any

from django.conf import settings

from common import clock
from common.errors import Conflict, NotFound, TooManyRequests
from common.ids import uuid7
from entitlements.services import token_outage
from entitlements.services.token_facts import ALL_RESERVED, NOTHING, Ask, Budget, Once
from entitlements.services.token_journal import facts_of, write_journal
from entitlements.services.token_periods import TOKENS_MAX, current_period, free_terms
from entitlements.services.token_store import (
    RESERVATIONS_MAX,
    AccountKeys,
    StoreDown,
    TokenBudgetUnavailable,
    answer_key,
    keys_of,
    token_store,
)
from projects.idempotency import KeyReused

TOKENS_PER_CALL_MAX = 10**12
RESERVATION_SECONDS = 300
RESERVATION_SECONDS_MAX = 3600
# An account is compared with the database this often, so that nothing rests on Redis having been told of a change.
FRESH_MS = 60_000
# Reading an account again because the journal's writer was at it, or the era changed, ends after so many times.
LOADS_MAX = 12
# What to wait when the next budget depends on a payment that is due.
RETRY_SECONDS = 60
# An id's version tells who made the reservation: a user's own token 7, a server 4. Nobody can give one that exists another id.
USERS_VERSION = 7
# How long tokens are held in Redis while PostgreSQL closes a reservation; by itself it ends after that.
HOLD_SECONDS = 60
OPEN = "open"


class TokenBudgetExceeded(TooManyRequests):
    """429: the period's tokens are used or reserved; `retry_after` says when the next period begins."""

    code = "token_budget_exceeded"


class ReservationNotFound(NotFound):
    """404: no such reservation is open: it was committed, released or has expired, or is somebody else's."""

    code = "reservation_not_found"
    detail = "No open reservation has this id; it may have been committed, released, or expired."


class TooManyReservations(Conflict):
    """409: too many reservations of one user are open."""

    code = "too_many_reservations"
    detail = f"{RESERVATIONS_MAX} reservations of this user are open. Commit or release some first."


def read_budget(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> Budget:
    """Say what an end user may still use. Without Redis: as it was journalled, at most a second ago."""
    ask = Ask(project_id, mode, end_user_id, "check")
    try:
        return _facts(ask, _answer(ask))
    except StoreDown:
        return token_outage.journalled_budget(**ask.whose)


def untouched_budget(*, project_id: uuid.UUID, tokens: int = 0) -> Budget:
    """Return the budget of somebody whom nobody knows yet: the free plan's, of which nothing is used. Writes nothing."""
    terms = free_terms(project_id)
    starts, ends = (None if at is None else int(at.timestamp()) for at in (terms.starts_at, terms.ends_at))
    return Budget(tokens, terms.limit_tokens, used=0, reserved=0, starts_unix=starts or 0, ends_unix=ends)


def refuse_beyond(*, project_id: uuid.UUID, tokens: int) -> None:
    """Refuse what somebody whom nobody knows yet could not use. Raises: TokenBudgetExceeded (429)."""
    budget = untouched_budget(project_id=project_id, tokens=tokens)
    if budget.remaining is not None and tokens > budget.remaining:
        raise _exceeded(budget)


def check_tokens(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, tokens: int) -> tuple[bool, Budget]:
    """Say whether so many tokens could be used now; nothing is held. Raises: TokenBudgetUnavailable (503)."""
    ask = Ask(project_id, mode, end_user_id, "check", tokens)
    try:
        reply = _answer(ask)
    except StoreDown as error:
        if settings.TOKEN_BUDGET_FAIL_MODE != OPEN:
            raise TokenBudgetUnavailable from error
        return True, replace(token_outage.journalled_budget(**ask.whose), tokens=tokens)
    return reply[0] == "ok", _facts(ask, reply)


def consume_tokens(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, tokens: int, once: Once | None = None
) -> Budget:
    """Use tokens, once per idempotency key.

    Units: whole tokens, > 0. Raises: TokenBudgetExceeded (429), TokenBudgetUnavailable (503), KeyReused (409).
    """
    return _carry_out(Ask(project_id, mode, end_user_id, "consume", tokens, once=once))


def reserve_tokens(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, tokens: int,
    ttl_seconds: int = RESERVATION_SECONDS, once: Once | None = None, by_user: bool = False,
) -> Budget:  # fmt: skip
    """Hold tokens for a call whose cost is not known yet; what is neither committed nor released is free again after its time.

    `by_user`: it is made with the user's own token, which finishes such reservations only.
    Units: whole tokens, > 0. Raises: as consume_tokens, and TooManyReservations (409).
    """
    reservation_id = uuid7() if by_user else uuid.uuid4()
    return _carry_out(Ask(project_id, mode, end_user_id, "reserve", tokens, str(reservation_id), ttl_seconds, once))


def commit_tokens(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, reservation_id: uuid.UUID,
    tokens: int | None = None, once: Once | None = None, by_user: bool = False,
) -> Budget:  # fmt: skip
    """Use what was reserved, or as many tokens as it came to; the rest is free again, and more is taken when there is room.

    Units: whole tokens, >= 0. Raises: ReservationNotFound (404), and as consume_tokens; refused, the reservation stays.
    """
    _may_finish(reservation_id, by_user=by_user)
    used = ALL_RESERVED if tokens is None else tokens
    return _carry_out(Ask(project_id, mode, end_user_id, "commit", used, str(reservation_id), once=once))


def release_tokens(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, reservation_id: uuid.UUID,
    once: Once | None = None, by_user: bool = False,
) -> Budget:  # fmt: skip
    """Give back what was reserved. Raises: ReservationNotFound (404), TokenBudgetUnavailable (503), KeyReused (409)."""
    _may_finish(reservation_id, by_user=by_user)
    return _carry_out(Ask(project_id, mode, end_user_id, "release", 0, str(reservation_id), once=once))


def _may_finish(reservation_id: uuid.UUID, *, by_user: bool) -> None:
    if by_user and reservation_id.version != USERS_VERSION:
        raise ReservationNotFound


def _carry_out(ask: Ask) -> Budget:
    try:
        reply = _answer(ask)
        if reply[0] == "unknown":
            return _finish_of_outage(ask)
    except StoreDown as error:
        if settings.TOKEN_BUDGET_FAIL_MODE != OPEN:
            raise TokenBudgetUnavailable from error
        budget = _without_redis(ask)
        token_store().note_gap()
        return budget
    if reply[0] == "exceeded":
        raise _exceeded(_facts(ask, reply))
    if reply[0] == "reused":
        raise KeyReused
    if reply[0] == "full":
        raise TooManyReservations
    return _facts(ask, reply)


def _finish_of_outage(ask: Ask) -> Budget:
    """Finish a reservation that was made while Redis was away and is in the database only. Raises StoreDown.

    What was promised then is kept, whatever the limit. More is taken only when there is room for all of it: it is held in Redis
    until the database has counted it.
    """
    promised = token_outage.open_reservation(ask)
    if promised is None or ask.tokens <= promised:
        return _without_redis(ask, redis_away=False)
    hold = replace(ask, operation="reserve", reservation_id=str(uuid.uuid4()), ttl_seconds=HOLD_SECONDS, once=None)
    reply = _answer(hold)
    if reply[0] == "exceeded":
        raise _exceeded(_facts(hold, reply))
    if reply[0] == "full":
        raise TooManyReservations
    try:
        return _without_redis(ask, redis_away=False)
    finally:
        with contextlib.suppress(StoreDown):
            _answer(replace(hold, operation="release", tokens=0))


def _without_redis(ask: Ask, *, redis_away: bool = True) -> Budget:
    carried = token_outage.carry_out(ask, redis_away=redis_away)
    if carried is None:
        raise ReservationNotFound
    return carried


def _answer(ask: Ask) -> list[str]:
    """Ask Redis, and put the account there first when it does not know it. Raises StoreDown."""
    keys, store, once = keys_of(**ask.whose), token_store(), ask.once
    names = [keys.budget]
    arguments: list[Any] = [ask.operation, clock.now().timestamp(), ask.tokens]
    if ask.reservation_id or once:
        arguments += [ask.reservation_id or NOTHING, ask.ttl_seconds * 1000]
    if once:
        names += [answer_key(once.name), keys.idempotency]
        arguments += [once.fingerprint, once.name]
    for _ in range(LOADS_MAX):
        reply = store.operate(names, arguments)
        if reply[0] != "load":
            return reply
        _load(ask, keys, reply)
    raise StoreDown("the account changes each time it is read")


# One thread of a process reads an account while the others wait for it; the rest is what loading leaves to the newest figure.
_loading = [threading.Lock() for _ in range(64)]


def _load(ask: Ask, keys: AccountKeys, reply: list[str]) -> None:
    _, turn, era, why = reply
    lock = _loading[hash(keys.budget) % len(_loading)]
    if not lock.acquire(blocking=False):
        with lock:
            return
    try:
        if why == "moved":
            # What an interrupted era has counted and not yet written is in its journal.
            write_journal()
        # Before the database is read: what the writer takes out of the journal after that, loading would know nothing of.
        written = token_store().last_written()
        period = current_period(**ask.whose)
        facts = facts_of(period, with_marks=why in ("moved", "missing"), **ask.whose)
        token_store().load(keys, {**facts, "turn": turn, "era": era, "written": written, "fresh": FRESH_MS})
    finally:
        lock.release()


def _facts(ask: Ask, reply: list[str]) -> Budget:
    return Budget.from_words(reply[1:], replayed=reply[0] == "again")


def _exceeded(budget: Budget) -> TokenBudgetExceeded:
    moment = clock.now().timestamp()
    ends = budget.ends_unix
    wait = int(ends - moment) + 1 if ends is not None and ends > moment else RETRY_SECONDS
    limit = TOKENS_MAX if budget.limit is None else budget.limit
    available = max(0, limit - budget.used - budget.reserved)
    return TokenBudgetExceeded(
        f"The token budget does not cover this: {budget.tokens} tokens are asked for, {available} are left.",
        # Nobody who has no budget at all gets one by waiting.
        action="checkout" if limit == 0 else None,
        retry_after_seconds=wait,
        headers={
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(available),
            "X-RateLimit-Reset": str(int(time.time()) + wait),
        },
        extra={"required": budget.tokens, "available": available},
    )
