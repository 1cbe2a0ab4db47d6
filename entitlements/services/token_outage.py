"""Token budgets while Redis is away and TOKEN_BUDGET_FAIL_MODE is open: everything passes, and is counted in PostgreSQL.

Invariant: what passed uncounted by Redis is a use of its own era, so it is part of the sum as soon as an account is read again. A
reservation that was made here is known here only.
"""

import datetime as dt
import uuid
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone

from entitlements.models import MarkKind, TokenMark, TokenPeriod, TokenUse
from entitlements.services.token_facts import ALL_RESERVED, Ask, Budget
from entitlements.services.token_periods import OpenPeriod, current_period
from entitlements.services.token_store import KEY_KEPT_MS, forget_account
from projects.idempotency import KeyReused

ERA = "outage"

_COUNT = """
    INSERT INTO entitlements_tokenuse AS kept (id, project_id, mode, period_id, era, used_tokens, journalled_at)
    SELECT gen_random_uuid(), project_id, mode, id, %s, %s, now() FROM entitlements_tokenperiod WHERE id = %s
    ON CONFLICT (period_id, project_id, mode, era) DO UPDATE
    SET used_tokens = kept.used_tokens + excluded.used_tokens, journalled_at = excluded.journalled_at
"""


def journalled_budget(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> Budget:
    """Return the budget as the database knows it."""
    whose: dict[str, Any] = {"project_id": project_id, "mode": mode, "end_user_id": end_user_id}
    return _budget(current_period(**whose), whose)


def open_reservation(ask: Ask) -> int | None:
    """Return how many tokens a reservation that was made without Redis still holds; None when it is not open."""
    found = _outage_reservations(ask).first()
    return found.tokens if found is not None and found.is_open_at(timezone.now()) else None


def carry_out(ask: Ask, *, redis_away: bool) -> Budget | None:
    """Carry an operation out in the database, whatever the limit; None when the reservation is not open.

    With Redis there, only reservations that were made without it are looked for. Raises: KeyReused (409).
    """
    period = current_period(**ask.whose)
    with transaction.atomic():
        # One operation of an account at a time, so that a key is used once.
        TokenPeriod.objects.select_for_update().get(pk=period.id)
        first = _first_answer(ask)
        if first is not None:
            return first
        used, reservation = ask.tokens, None
        if ask.operation == "reserve":
            used, reservation = 0, _reserve(ask)
        elif ask.operation in ("commit", "release"):
            reservation = _close(ask, redis_away=redis_away)
            if reservation is None:
                return None
            used = reservation.tokens if ask.tokens == ALL_RESERVED else ask.tokens
        if used:
            with connection.cursor() as cursor:
                cursor.execute(_COUNT, [ERA, used, period.id])
        budget = _budget(period, ask.whose, ask, used, reservation)
        _keep_answer(ask, budget)
    if not redis_away:
        forget_account(**ask.whose)
    return budget


def _first_answer(ask: Ask) -> Budget | None:
    if ask.once is None:
        return None
    kept = TokenMark.objects.filter(
        **ask.whose, kind=MarkKind.KEY, name=ask.once.name, expires_at__gt=timezone.now()
    ).first()
    if kept is None:
        return None
    fingerprint, _, facts = kept.value.partition("\n")
    if fingerprint != ask.once.fingerprint:
        raise KeyReused
    return Budget.from_words(facts.split(" "), replayed=True)


def _keep_answer(ask: Ask, budget: Budget) -> None:
    if ask.once is None:
        return
    TokenMark.objects.update_or_create(
        **ask.whose,
        kind=MarkKind.KEY,
        name=ask.once.name,
        defaults={
            "value": f"{ask.once.fingerprint}\n{budget.text}",
            "expires_at": timezone.now() + dt.timedelta(milliseconds=KEY_KEPT_MS),
        },
    )


def _reserve(ask: Ask) -> TokenMark:
    return TokenMark.objects.create(
        **ask.whose,
        kind=MarkKind.RESERVATION,
        name=ask.reservation_id,
        tokens=ask.tokens,
        in_outage=True,
        expires_at=timezone.now() + dt.timedelta(seconds=ask.ttl_seconds),
    )


def _reservations(ask: Ask) -> "QuerySet[TokenMark]":
    return TokenMark.objects.filter(**ask.whose, kind=MarkKind.RESERVATION, name=ask.reservation_id)


def _outage_reservations(ask: Ask) -> "QuerySet[TokenMark]":
    return _reservations(ask).filter(in_outage=True)


def _close(ask: Ask, *, redis_away: bool) -> TokenMark | None:
    rows = _reservations(ask) if redis_away else _outage_reservations(ask)
    found = rows.select_for_update().first()
    if found is None or not found.is_open_at(timezone.now()):
        return None
    found.closed = True
    found.save(update_fields=["closed"])
    return found


def _budget(
    period: OpenPeriod,
    whose: dict[str, Any],
    ask: Ask | None = None,
    tokens: int = 0,
    reservation: TokenMark | None = None,
) -> Budget:
    open_marks = TokenMark.objects.filter(
        **whose, kind=MarkKind.RESERVATION, closed=False, expires_at__gt=timezone.now()
    )
    reserving = ask is not None and ask.operation == "reserve"
    return Budget(
        tokens=ask.tokens if ask is not None and reserving else tokens,
        limit=period.limit_tokens,
        used=TokenUse.objects.filter(period_id=period.id).aggregate(sum=Sum("used_tokens"))["sum"] or 0,
        reserved=open_marks.aggregate(sum=Sum("tokens"))["sum"] or 0,
        starts_unix=int(period.starts_at.timestamp()),
        ends_unix=int(period.ends_at.timestamp()) if period.ends_at else None,
        reservation_id=reservation.name if reservation else None,
        expires_unix_ms=int(reservation.expires_at.timestamp() * 1000) if reservation and reserving else None,
        exact=False,
    )
