"""Which budget an end user has now: the only file that writes token periods.

Invariant: a budget is granted once for each key, so once per purchase and once per renewal whichever event brings them; within a
period its limit is that of the plan that holds, and what is used of it stays used: going to and fro brings nothing.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction

from common import clock
from common.ids import stripe_row_id
from entitlements.models import Entitlement, Plan, TokenPeriod
from entitlements.services.token_store import forget_account

# Lua counts in doubles: up to here it counts exactly. More than anybody can use.
TOKENS_MAX = 2**53 - 1
READS_MAX = 4


@dataclass(frozen=True)
class Terms:
    """The grant that an end user lives on: its key, how much, from when to when, and until when that is sure."""

    key: str
    subscription_id: str
    limit_tokens: int | None
    starts_at: dt.datetime
    ends_at: dt.datetime | None
    sure_until: dt.datetime | None
    # The plan that the limit is of, where another one may bring a smaller limit.
    plan_id: uuid.UUID | None = None


@dataclass(frozen=True)
class OpenPeriod:
    """A period as it lies in the database, with what was journalled of its use, by era."""

    id: uuid.UUID
    limit_tokens: int | None
    starts_at: dt.datetime
    ends_at: dt.datetime | None
    sure_until: dt.datetime | None
    uses: list[tuple[str, int]]


def follow_plan(entitlement: Entitlement, plan: Plan | None, moment: dt.datetime) -> None:
    """Grant the budget of a purchase or renewal, or set its limit after a change of plan; in the transaction of what caused it.

    Somebody without a granted period lives on a calendar month, which begins with the first call in it.
    """
    project_id, mode, end_user_id = entitlement.project_id, entitlement.mode, entitlement.end_user_id
    terms = _terms(entitlement, plan, moment)
    if terms.subscription_id:
        _write(terms, project_id=project_id, mode=mode, end_user_id=end_user_id)
    forget = partial(forget_account, project_id=project_id, mode=mode, end_user_id=end_user_id)
    transaction.on_commit(forget, robust=True)


def current_period(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> OpenPeriod:
    """Return the period that an end user's tokens count in now, and begin it when it is a new one."""
    moment = clock.now()
    rows = Entitlement.objects.for_project(project_id).in_mode(mode)
    held = rows.filter(end_user=end_user_id).select_related("plan").first()
    plan = held.plan if held is not None and held.holds_at(moment) else None
    terms = _terms(held, plan or Plan.objects.free_of(project_id), moment)
    for _ in range(READS_MAX):
        found = _read(terms, project_id=project_id, mode=mode, end_user_id=end_user_id)
        if found is not None:
            return found
        _write(terms, project_id=project_id, mode=mode, end_user_id=end_user_id)
    raise RuntimeError("a token period is changed each time it is read")


def free_terms(project_id: uuid.UUID) -> Terms:
    """Say what somebody lives on whom nobody knows: the free plan's calendar month."""
    return _terms(None, Plan.objects.free_of(project_id), clock.now())


def _terms(entitlement: Entitlement | None, plan: Plan | None, moment: dt.datetime) -> Terms:
    """Say what somebody lives on. `plan` is the one that holds now, the free one where none does."""
    limit = _limit_of(plan)
    if entitlement is None or not entitlement.holds_at(moment):
        return _month("free", limit, moment)
    if not entitlement.subscription_id:
        return _month("hand", limit, moment, entitlement.active_until)
    granted = entitlement.granted_period_start
    if granted is None:
        # Entitled by its status before anything was paid or tried: what it costs nothing to have.
        return _month("free", _limit_of(Plan.objects.free_of(entitlement.project_id)), moment, entitlement.active_until)
    if entitlement.plan_id is None:
        limit = _greater(limit, _limit_before(entitlement))
    ends, next_starts = entitlement.period_end, entitlement.period_start
    if next_starts is not None and next_starts > granted:
        # The next period has begun and is not paid yet.
        ends = next_starts
    return Terms(
        key=f"{entitlement.subscription_id}:{int(granted.timestamp())}",
        subscription_id=entitlement.subscription_id,
        limit_tokens=limit,
        starts_at=granted,
        ends_at=ends if ends is not None and ends > granted else None,
        # The budget outlives its period until the next one is granted: nothing is added, and a late event takes nothing away.
        sure_until=entitlement.active_until,
        plan_id=entitlement.plan_id,
    )


def _limit_of(plan: Plan | None) -> int | None:
    if plan is None:
        return 0
    return None if plan.token_budget is None else min(plan.token_budget, TOKENS_MAX)


def _limit_before(entitlement: Entitlement) -> int | None:
    """Return what the subscription gave last: a price that is on no plan takes nothing away."""
    rows = TokenPeriod.objects.of_user(
        project_id=entitlement.project_id, mode=entitlement.mode, end_user_id=entitlement.end_user_id
    )
    last = rows.filter(subscription_id=entitlement.subscription_id).order_by("-starts_at").first()
    return last.limit_tokens if last else 0


def _greater(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _month(kind: str, limit: int | None, moment: dt.datetime, until: dt.datetime | None = None) -> Terms:
    """Describe the calendar month, UTC, that somebody without a granted period lives on."""
    starts = moment.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    ends = (starts + dt.timedelta(days=32)).replace(day=1)
    sure_until = min(ends, until) if until is not None else ends
    return Terms(f"{kind}:{starts:%Y-%m}", "", limit, starts, ends, sure_until)


def _read(terms: Terms, *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> OpenPeriod | None:
    """Read a period that is there and right already: one query."""
    rows = TokenPeriod.objects.of_user(project_id=project_id, mode=mode, end_user_id=end_user_id).filter(key=terms.key)
    names = ("id", "plan_id", "limit_tokens", "starts_at", "ends_at", "uses__era", "uses__used_tokens")
    found = list(rows.values_list(*names))
    if not found:
        return None
    period_id, plan_id, limit, starts, ends, _, _ = found[0]
    of_another_plan = terms.plan_id is not None and terms.plan_id != plan_id
    if of_another_plan or limit != _greater(limit, terms.limit_tokens) or ends != terms.ends_at:
        return None
    uses = [(era, used) for *_, era, used in found if era is not None]
    return OpenPeriod(period_id, limit, starts, ends, terms.sure_until, uses)


# Both its id and its key are unique, so that nothing but DO NOTHING stands a race; who loses one comes again (current_period).
_GRANT = """
    WITH granted AS (
        INSERT INTO entitlements_tokenperiod
            (id, project_id, mode, end_user_id, key, subscription_id, plan_id, limit_tokens, starts_at, ends_at, created_at)
        VALUES (%(id)s, %(project)s, %(mode)s, %(user)s, %(key)s, %(subscription)s, %(plan)s::uuid, %(limit)s, %(starts)s,
            %(ends)s, now())
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    UPDATE entitlements_tokenperiod AS held
    SET limit_tokens = CASE WHEN held.plan_id <> %(plan)s::uuid THEN %(limit)s::bigint
                            WHEN held.limit_tokens IS NULL OR %(limit)s::bigint IS NULL THEN NULL
                            ELSE greatest(held.limit_tokens, %(limit)s::bigint) END,
        plan_id = coalesce(%(plan)s::uuid, held.plan_id), ends_at = %(ends)s::timestamptz
    WHERE project_id = %(project)s AND mode = %(mode)s AND end_user_id = %(user)s AND key = %(key)s
        AND (held.limit_tokens < coalesce(%(limit)s::bigint, %(most)s + 1) OR held.ends_at IS DISTINCT FROM %(ends)s::timestamptz
            OR held.plan_id IS DISTINCT FROM coalesce(%(plan)s::uuid, held.plan_id))
        AND NOT EXISTS (SELECT FROM granted)
"""


def _write(terms: Terms, *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> None:
    """Grant a budget, or set the limit of one that was granted: one statement.

    One plan's limit is only raised, so that editing a plan takes nothing away before the next period; another plan's replaces it.

    Its id follows from its key: after a restore from a backup it is the period that Redis still counts.
    """
    values: dict[str, Any] = {
        "id": stripe_row_id(project_id, mode, f"{end_user_id}:{terms.key}"),
        "project": project_id,
        "mode": mode,
        "user": end_user_id,
        "key": terms.key,
        "subscription": terms.subscription_id,
        "plan": terms.plan_id,
        "limit": terms.limit_tokens,
        "most": TOKENS_MAX,
        "starts": terms.starts_at,
        "ends": terms.ends_at,
    }
    with connection.cursor() as cursor:
        cursor.execute(_GRANT, values)
