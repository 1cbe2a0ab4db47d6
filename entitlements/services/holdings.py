"""What an end user holds: the only file that writes entitlements, and the one that tells those who follow them.

Invariant: a row is written under its user's lock, from a standing that was read under it; its epoch only rises, and a granted
period never goes back within one subscription. Whoever follows is told in the transaction of the change.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from django.db import connection

from common import clock
from common.locks import HOLDINGS
from entitlements.models import Entitlement, Plan
from entitlements.services import plan_credits, provisioning, token_periods, usage_periods
from projects.models import EndUser

logger = logging.getLogger(__name__)

# No entitlement token lives longer, whatever is configured: what ends within this must end the tokens made before.
TOKEN_SECONDS_MAX = 600


@dataclass(frozen=True)
class Standing:
    """What an end user is on, as whoever sells it says. A standing of nothing at all is `Standing()`.

    It holds while `active`, until `active_until` when that is set. `granted_period_start` is the begin of the latest period
    that is paid for, or in trial; of a plan that was given by hand, when that was.
    """

    plan: Plan | None = None
    subscription_id: str = ""
    status: str = ""
    quantity: int = 1
    active: bool = False
    active_until: dt.datetime | None = None
    plan_expires: dt.datetime | None = None
    period_start: dt.datetime | None = None
    period_end: dt.datetime | None = None
    granted_period_start: dt.datetime | None = None


@dataclass(frozen=True)
class Holding:
    """What came of it: the row (None: never held anything), the plan that holds now, and whether anything changed."""

    entitlement: Entitlement | None
    plan: Plan | None
    changed: bool


# What is told of a change: the row as it was written, the plan that holds now, and the moment. Each is idempotent by its own key.
Follower = Callable[[Entitlement, Plan | None, dt.datetime], None]
FOLLOWERS: tuple[Follower, ...] = (
    plan_credits.follow_plan,
    token_periods.follow_plan,
    provisioning.follow_plan,
    usage_periods.follow_plan,
)

STATE = tuple(field.name for field in fields(Standing))
WRITTEN = (*STATE, "epoch", "epoch_raised_at", "changed_at")

_LOCK = "SELECT pg_advisory_xact_lock(%s, hashtext(one)) FROM unnest(%s::text[]) AS users(one)"
# The same lock for the user of a row that is read anyway: an expression for a query of the table with these columns.
LOCK_OF_ROW = """pg_advisory_xact_lock(%s, hashtext({table}.project_id::text || ':' || {table}.mode || ':'
    || {table}.end_user_id::text))::text"""


def lock_holdings(*, project_id: uuid.UUID, mode: str, end_user_ids: Sequence[uuid.UUID]) -> None:
    """Keep others from deciding what these users hold until the transaction ends: one statement.

    Whoever derives a standing takes it first: two subscriptions of one user may change at once, and neither change sees the
    other before it is committed.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("what a user holds is decided in a transaction")
    names = [f"{project_id}:{mode}:{one}" for one in sorted(end_user_ids)]
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [HOLDINGS, names])


def hold_plan(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, standing: Standing, cause: str) -> Holding:
    """Write what an end user is on by its subscriptions. A plan that was given by hand stays. Call in a transaction."""
    lock_holdings(project_id=project_id, mode=mode, end_user_ids=[end_user_id])
    known = _known(project_id, mode, end_user_id)
    empty = Entitlement(project_id=project_id, mode=mode, end_user_id=end_user_id)
    return hold_known(known=known, empty=empty, standing=standing, cause=cause)


def give_plan(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, plan: Plan, cause: str) -> Holding:
    """Put an end user on a plan by hand, as on an internal one that nobody can buy. It stands above what was bought.

    Its periodic credits come by the month from now on; another plan that is given instead goes on in these months.
    """
    lock_holdings(project_id=project_id, mode=mode, end_user_ids=[end_user_id])
    known = _known(project_id, mode, end_user_id)
    empty = Entitlement(project_id=project_id, mode=mode, end_user_id=end_user_id)
    since = known.granted_period_start if known is not None and known.is_given else None
    return _hold(known, empty, Standing(plan=plan, active=True, granted_period_start=since or clock.now()), cause)


def take_given_plan(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, cause: str, standing: Standing | None = None
) -> Holding:
    """Take a plan back that was given by hand, and put what was bought besides in its place, both as one change.

    Whoever leaves `standing` away says that nothing was bought: periodic credits end then, and do not come back by themselves.
    """
    lock_holdings(project_id=project_id, mode=mode, end_user_ids=[end_user_id])
    known = _known(project_id, mode, end_user_id)
    if known is None or not known.is_given:
        return Holding(known, None, False)
    return _hold(known, known, standing or Standing(), cause)


def hold_known(*, known: Entitlement | None, empty: Entitlement, standing: Standing, cause: str) -> Holding:
    """As hold_plan, for a caller who holds the lock and has read the row with its plan. `empty` is what a new row is made of."""
    if known is not None and known.is_given:
        return Holding(known, known.plan, False)
    if known is not None and known.subscription_id == standing.subscription_id:
        periods = [known.granted_period_start, standing.granted_period_start]
        standing = replace(standing, granted_period_start=max((one for one in periods if one), default=None))
    return _hold(known, empty, standing, cause)


# One who never held a plan has no row, and may have a token of the free plan.
_RAISE_EPOCHS = """
    INSERT INTO entitlements_entitlement AS held (id, project_id, mode, end_user_id, subscription_id, status, quantity, active,
        epoch, epoch_raised_at, changed_at, created_at)
    SELECT gen_random_uuid(), %(project)s, mode, %(user)s, '', '', 1, false, 1, %(moment)s, %(moment)s, now()
    FROM unnest(ARRAY['live', 'test']) AS modes(mode)
    ON CONFLICT (project_id, mode, end_user_id) DO UPDATE
    SET epoch = held.epoch + 1, epoch_raised_at = excluded.epoch_raised_at, changed_at = excluded.changed_at
"""


def end_tokens(*, project_id: uuid.UUID, end_user_id: uuid.UUID) -> None:
    """Make every entitlement token worthless that was made for a user until now, in both modes: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_RAISE_EPOCHS, {"project": project_id, "user": end_user_id, "moment": clock.now()})


def end_tokens_of(end_user: EndUser) -> None:
    """Follow a ban. Call in its transaction."""
    end_tokens(project_id=end_user.project_id, end_user_id=end_user.pk)


def _known(project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> Entitlement | None:
    rows = Entitlement.objects.for_project(project_id).in_mode(mode)
    return rows.filter(end_user=end_user_id).select_related("plan").first()


def _hold(known: Entitlement | None, empty: Entitlement, standing: Standing, cause: str) -> Holding:
    moment = clock.now()
    if known is None and standing == Standing():
        return Holding(None, None, False)
    if known is not None and all(getattr(known, name) == getattr(standing, name) for name in STATE):
        return Holding(known, known.plan if known.holds_at(moment) else None, False)
    row = known or empty
    taken = known is not None and _takes(known, standing, moment)
    for name in STATE:
        setattr(row, name, getattr(standing, name))
    row.changed_at = moment
    if taken:
        row.epoch, row.epoch_raised_at = row.epoch + 1, moment
    row.save(force_insert=known is None, update_fields=None if known is None else WRITTEN)
    logger.info(
        "entitlement_changed project=%s mode=%s user=%s plan=%s status=%s active=%s epoch=%s cause=%s",
        row.project_id, row.mode, row.end_user_id, row.plan and row.plan.code, row.status, row.active, row.epoch, cause,
    )  # fmt: skip
    plan = plan_held(row, moment) if FOLLOWERS else row.plan
    for follow in FOLLOWERS:
        follow(row, plan, moment)
    return Holding(row, plan, True)


def plan_held(row: Entitlement, moment: dt.datetime) -> Plan | None:
    """Return the plan that holds at a moment, the project's free plan where none does; None when there is no free plan either.

    One whose price is on no plan has the free plan's limits: never less than somebody who pays nothing.
    """
    if row.holds_at(moment) and row.plan is not None:
        return row.plan
    return Plan.objects.free_of(row.project_id)


def _takes(known: Entitlement, standing: Standing, moment: dt.datetime) -> bool:
    """Say whether a change takes anything away that a token made before it may still promise."""
    if not known.holds_at(moment):
        return False
    until = standing.active_until
    if not standing.active or (until is not None and until <= moment):
        return True
    soon = moment + dt.timedelta(seconds=TOKEN_SECONDS_MAX)
    if until is not None and until < soon and (known.active_until is None or until < known.active_until):
        return True
    if known.plan is None or known.plan == standing.plan:
        return False
    return standing.plan is None or standing.plan.rank <= known.plan.rank
