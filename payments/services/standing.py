"""What payments tells about an end user: the one place where a subscription becomes what its user holds.

Invariant: a standing follows from our rows, the project's policy and what was just read of the paid periods; it is derived after
the user's lock was taken, in the transaction that wrote the rows. It names no moment: a grace ends without anybody looking again.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, FilteredRelation, OuterRef, Q, Subquery

from common.long_statements import long_statements
from entitlements.models import Entitlement
from entitlements.services.holdings import Standing, hold_known, lock_holdings, take_given_plan
from notifications.models import OutboxRow
from payments.models import Invoice, Subscription
from payments.models.billing import ENDED_STATUSES, RUNNING_STATUSES, STATUS_PRECEDENCE, standing
from payments.services.access import granted_access, policy_of
from payments.services.objects.payment import INVOICES, subscription_id_of
from payments.services.objects.subscription import SUBSCRIPTIONS, period_edge
from payments.services.ownership import Scope
from payments.services.paid_periods import BEGINNING, CHANGE, latest_paid_period
from payments.services.snapshot import Snapshot
from projects.models import EndUser

logger = logging.getLogger(__name__)

HEALED_AT_ONCE = 500
HEALING_ROUNDS_MAX = 10_000
Paid = Mapping[uuid.UUID, dt.datetime]


def follow_standings(scope: Scope, snapshot: Snapshot | None = None) -> None:
    """Decide anew what the users hold whose subscriptions changed. Call in the transaction that wrote their rows.

    No statement where nothing changed that a standing is made of.
    """
    holders, locked = frozenset(scope.holders), frozenset(scope.locked_holders)
    scope.holders.clear()
    scope.locked_holders.clear()
    if holders:
        write_standings(
            project_id=scope.project_id,
            mode=scope.mode,
            end_user_ids=holders,
            cause=f"{scope.cause.source} {scope.cause.event_id}".strip(),
            paid=_paid_periods(scope, snapshot) if snapshot else {},
            locked=locked,
        )


def write_standings(
    *,
    project_id: uuid.UUID,
    mode: str,
    end_user_ids: Collection[uuid.UUID],
    cause: str,
    paid: Paid | None = None,
    locked: Collection[uuid.UUID] = (),
) -> int:
    """Write what these users hold by their subscriptions; returns how many changed. Call in a transaction.

    `paid` are the begins of periods that are known to be paid for, by our id of the subscription; what the rows of invoices
    tell counts besides. `locked` are users whose lock the transaction has already.
    """
    free = [one for one in end_user_ids if one not in locked]
    if free:
        lock_holdings(project_id=project_id, mode=mode, end_user_ids=free)
    changed = 0
    for end_user in _users_with_rows(project_id, mode, end_user_ids):
        # Django leaves the attributes away when nothing was joined.
        subscription: Subscription | None = getattr(end_user, "current", None)
        known: Entitlement | None = getattr(end_user, "held", None)
        empty = Entitlement(project_id=project_id, mode=mode, end_user_id=end_user.pk)
        now = standing_by(end_user, subscription, (paid or {}).get(subscription.pk) if subscription else None)
        changed += hold_known(known=known, empty=empty, standing=now, cause=cause).changed
    return changed


def standing_by(end_user: Any, subscription: Subscription | None, paid: dt.datetime | None) -> Standing:
    """Return what a user is on by the subscription that counts."""
    if subscription is None:
        return Standing()
    granted = granted_access(subscription, policy_of(end_user.project))
    return Standing(
        plan=subscription.plan,
        subscription_id=subscription.stripe_subscription_id,
        status=subscription.status,
        quantity=subscription.quantity,
        active=granted.active,
        active_until=granted.until,
        plan_expires=granted.expires,
        period_start=subscription.current_period_start,
        period_end=subscription.current_period_end,
        granted_period_start=_granted_period(end_user, subscription, paid),
    )


def take_plan_back(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, cause: str) -> None:
    """Take a plan back that was given by hand, and put what the user has bought in its place.

    It is one change: with nothing in between, nobody sees the user without what they pay for.
    """
    with transaction.atomic():
        lock_holdings(project_id=project_id, mode=mode, end_user_ids=[end_user_id])
        for end_user in _users_with_rows(project_id, mode, [end_user_id]):
            bought = standing_by(end_user, getattr(end_user, "current", None), None)
            take_given_plan(project_id=project_id, mode=mode, end_user_id=end_user_id, cause=cause, standing=bought)


def _granted_period(end_user: Any, subscription: Subscription, paid: dt.datetime | None) -> dt.datetime | None:
    """Return the begin of the latest period that is paid for, or in trial when none was paid yet."""
    begins = [paid, end_user.paid_period]
    if end_user.paid_change:
        begins.append(subscription.current_period_start)
    known = [begin for begin in begins if begin is not None]
    if known:
        begin = max(known)
        start = subscription.current_period_start
        return min(begin, start) if start else begin
    return subscription.current_period_start if subscription.status == "trialing" else None


def _users_with_rows(project_id: uuid.UUID, mode: str, end_user_ids: Collection[uuid.UUID]) -> Any:
    """Read these users, each with the subscription that counts, what it paid for, and what it holds so far: one query."""
    invoices = Invoice.objects.for_project(project_id).filter(subscription=OuterRef("current__pk"), status="paid")
    begun = invoices.filter(billing_reason__in=BEGINNING, period_end__isnull=False).order_by("-period_end")
    restarted = Q(period_end=OuterRef("current__current_period_start")) | Q(
        created_at=OuterRef("current__current_period_start")
    )
    changed = invoices.filter(restarted, billing_reason=CHANGE, amount_paid_cents__gt=0)
    rows = EndUser.objects.for_project(project_id).filter(pk__in=list(end_user_ids))
    return (
        rows.annotate(
            current=FilteredRelation("subscriptions", condition=Q(subscriptions__mode=mode)),
            held=FilteredRelation("entitlements", condition=Q(entitlements__mode=mode)),
            paid_period=Subquery(begun.values("period_end")[:1]),
            paid_change=Exists(changed),
        )
        .select_related("current__plan", "held__plan", "project__billing_policy")
        .order_by("pk", standing("current__"), F("current__created_at").desc(), F("current__pk").desc())
        .distinct("pk")
    )


def _paid_periods(scope: Scope, snapshot: Snapshot) -> dict[uuid.UUID, dt.datetime]:
    """Find the latest period of each subscription that an invoice in the snapshot paid for, whichever event it came with."""
    found: dict[uuid.UUID, dt.datetime] = {}
    for subscription_id, subscription in snapshot.of_kind(SUBSCRIPTIONS).items():
        if subscription is None:
            continue
        invoices = [subscription.get("latest_invoice")]
        invoices += [
            one
            for one in snapshot.of_kind(INVOICES).values()
            if one is not None and subscription_id_of(one) == subscription_id
        ]
        begin = latest_paid_period(invoices, period_edge(subscription, "current_period_start"))
        if begin:
            found[scope.row_id(subscription_id)] = dt.datetime.fromtimestamp(begin, tz=dt.UTC)
    return found


# What differs between entitlements and what payments say, in SQL alone: the writers above are not asked.
_RANK = ", ".join(f"'{status}'" for status in STATUS_PRECEDENCE)
_ENDED = ", ".join(f"'{status}'" for status in ENDED_STATUSES)
_BEHIND = len(RUNNING_STATUSES) - 1
DIFFERENCES = f"""
    SELECT wanted.project_id, wanted.mode, wanted.end_user_id, wanted.stripe_subscription_id, held.id IS NULL AS missing
    FROM (
        SELECT current.*,
            CASE WHEN current.access_revoked_at IS NULL THEN by_status
                ELSE least(by_status, current.access_revoked_at) END AS expires,
            current.access_revoked_at IS NULL AND (entitled OR (status = 'past_due' AND by_status IS NOT NULL)) AS active,
            CASE WHEN current.access_revoked_at IS NULL AND NOT entitled AND status = 'past_due' THEN by_status END AS until
        FROM (
            SELECT DISTINCT ON (project_id, mode, end_user_id) * FROM payments_subscription
            WHERE end_user_id IS NOT NULL {{narrowed}}
            ORDER BY project_id, mode, end_user_id, CASE
                WHEN access_revoked_at IS NOT NULL AND status NOT IN ({_ENDED}) THEN {_BEHIND}
                ELSE coalesce(array_position(ARRAY[{_RANK}]::varchar[], status), 99) - 1 END, created_at DESC, id DESC
        ) current
        LEFT JOIN payments_billingpolicy policy ON policy.project_id = current.project_id
        CROSS JOIN LATERAL (
            SELECT jsonb_exists(coalesce(policy.entitled_statuses, '["active", "trialing"]'), current.status) AS entitled
        ) by_policy
        CROSS JOIN LATERAL (
            SELECT CASE WHEN entitled THEN least(current.current_period_end, current.cancel_at)
                WHEN current.status IN ('past_due', 'unpaid')
                    THEN coalesce(current.past_due_since, current.current_period_start)
                        + make_interval(hours => coalesce(policy.grace_hours, 72))
                ELSE coalesce(current.ended_at, current.canceled_at) END AS by_status
        ) in_time
    ) wanted
    LEFT JOIN entitlements_entitlement held ON held.project_id = wanted.project_id AND held.mode = wanted.mode
        AND held.end_user_id = wanted.end_user_id
    WHERE (held.id IS NULL OR NOT (held.active AND held.subscription_id = ''))
        AND ((held.plan_id, held.subscription_id, held.status, held.quantity, held.active, held.active_until, held.plan_expires,
                held.period_start, held.period_end)
            IS DISTINCT FROM (wanted.plan_id, wanted.stripe_subscription_id, wanted.status, wanted.quantity, wanted.active,
                wanted.until, wanted.expires, wanted.current_period_start, wanted.current_period_end)
        OR EXISTS (
            SELECT 1 FROM payments_invoice invoice WHERE invoice.subscription_id = wanted.id AND invoice.status = 'paid'
                AND invoice.billing_reason IN ('subscription_create', 'subscription_cycle')
                AND least(invoice.period_end, wanted.current_period_start) > coalesce(held.granted_period_start, '-infinity')
        ))
    UNION ALL
    SELECT held.project_id, held.mode, held.end_user_id, held.subscription_id, false
    FROM entitlements_entitlement held
    WHERE held.subscription_id <> '' {{narrowed}} AND NOT EXISTS (
        SELECT 1 FROM payments_subscription bought WHERE bought.project_id = held.project_id AND bought.mode = held.mode
            AND bought.end_user_id = held.end_user_id
    )
"""  # noqa: S608 - names of statuses only


def heal_standings(*, project_id: uuid.UUID | None = None, cause: str) -> int:
    """Write anew what differs from what payments say: after a change of policy, or beside a release that knew no entitlements.

    Each user is a transaction of its own, and one that fails keeps nobody else waiting. Returns how many changed.
    """
    healed = 0
    for _ in range(HEALING_ROUNDS_MAX):
        found = _differing(project_id, HEALED_AT_ONCE)
        changed = sum(_heal(*one, cause) for one in found)
        healed += changed
        if len(found) < HEALED_AT_ONCE or not changed:
            break
    if healed:
        logger.info("entitlements_healed count=%s cause=%s", healed, cause)
    return healed


def _heal(project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, cause: str) -> int:
    try:
        with transaction.atomic():
            return write_standings(project_id=project_id, mode=mode, end_user_ids=[end_user_id], cause=cause)
    except Exception:
        logger.exception("entitlement_not_healed project=%s mode=%s user=%s", project_id, mode, end_user_id)
        return 0


def redo_standings(row: OutboxRow) -> Mapping[str, Any]:
    """Decide anew what a project's users hold, after its policy about access changed."""
    return {"users": heal_standings(project_id=row.project_id, cause="billing policy")}


def _differing(project_id: uuid.UUID | None, limit: int) -> list[tuple[uuid.UUID, str, uuid.UUID]]:
    narrowed = "" if project_id is None else "AND project_id = %(project)s"
    statement = DIFFERENCES.format(narrowed=narrowed)
    with long_statements() as cursor:
        cursor.execute(
            f"SELECT project_id, mode, end_user_id FROM ({statement}) found LIMIT %(limit)s",  # noqa: S608 - as above
            {"project": project_id, "limit": limit},
        )
        return list(cursor.fetchall())
