"""Our row of a Stripe subscription, written from what Stripe says now and never from an event's payload.

Invariant: the same state at Stripe gives the same row, whichever events led here and in which order.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Case, OuterRef, Q, Subquery, TextField, Value, When
from django.db.models.expressions import RawSQL

from common import clock
from common.clock import from_unix
from common.locks import HOLDINGS
from entitlements.models import Entitlement, Plan, PlanPrice
from entitlements.services.holdings import LOCK_OF_ROW
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from payments.mirror import account_of
from payments.models import Invoice, Subscription
from payments.models.billing import ENDED_STATUSES, SubscriptionQuerySet
from payments.services.access import granted_access, policy_of
from payments.services.history import Renewal, noted_keys, paid_renewals, state_of, write_changed
from payments.services.objects.subscription_plan import first_item, kept_plan_code, period_edge
from payments.services.ownership import Scope
from payments.services.paid_periods import latest_paid_period
from payments.services.snapshot import Snapshot, StripeObject, id_of

logger = logging.getLogger(__name__)

SUBSCRIPTIONS = "subscriptions"
# Statuses in which an invoice is overdue: https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses
OVERDUE_STATUSES = ("past_due", "unpaid")
# What a refund or a dispute took away is theirs to write: payments/services/revocation.py.
KEPT_FIELDS = {
    "id", "project", "mode", "stripe_subscription_id", "created_at", "access_revoked_at", "access_revoked_by",
}  # fmt: skip
REASON_CHARS = 64
WRITTEN_FIELDS = [field.name for field in Subscription._meta.concrete_fields if field.name not in KEPT_FIELDS]


def collect_subscription(snapshot: Snapshot, subscription_id: str) -> StripeObject | None:
    """Read a subscription with its customer and latest invoice, in one call; an overdue one with its open invoices.

    Raises: StripeFailure.  Source: https://docs.stripe.com/api/subscriptions/retrieve
    """
    found = snapshot.read(SUBSCRIPTIONS, subscription_id, expand=["customer", "latest_invoice"])
    if found is not None and found["status"] in OVERDUE_STATUSES:
        snapshot.read_unpaid(subscription_id)
    return found


def write_subscription(
    scope: Scope,
    subscription_id: str,
    found: StripeObject | None,
    invoices: Sequence[StripeObject] = (),
    unpaid: Sequence[StripeObject] | None = None,
) -> None:
    """Write one subscription's row, and what changed on it. Call under the customer's lease.

    `invoices` are those of the subscription that were read besides: the paid ones tell which periods were renewed. `unpaid` are
    all that are open, None when they were not read.
    """
    if found is None:
        _end_missing(scope, subscription_id)
        return
    price = price_of(found)
    renewals = paid_renewals([*invoices, found.get("latest_invoice")])
    before = _row_with_plan(scope, subscription_id, price, renewals)
    state_before = state_of(before) if before else None
    row = _row_of(scope, found, before)
    row.past_due_since = _past_due_since(scope, found, unpaid)
    noted = (before.noted_renewals or []) if before else []  # type: ignore[attr-defined]
    waiting = [renewal for key, renewal in sorted(renewals.items()) if key not in noted]
    write_changed(scope, row, before=state_before, fields=WRITTEN_FIELDS, renewals=waiting)
    paid = latest_paid_period([*invoices, found.get("latest_invoice")], period_edge(found, "current_period_start"))
    _note_holder(scope, row, before, from_unix(paid) if paid else None)
    scope.note_subscription(row)


def _note_holder(scope: Scope, row: Subscription, before: Subscription | None, paid: dt.datetime | None) -> None:
    """Have decided anew what the user holds, where anything changed that it is made of."""
    if row.end_user_id is None:
        return
    granted = before.granted_period if before else None  # type: ignore[attr-defined]
    newly_paid = paid is not None and (granted is None or paid > granted)
    if before is None or newly_paid or _standing_of(row) != _standing_of(before):
        scope.holders.add(row.end_user_id)


def _standing_of(row: Subscription) -> tuple[Any, ...]:
    policy = policy_of(row.project)
    periods = (row.current_period_start, row.current_period_end)
    return (row.end_user_id, row.plan_id, row.status, row.quantity, *periods, granted_access(row, policy))


def _row_of(scope: Scope, found: StripeObject, before: Subscription | None) -> Subscription:
    """Return the row that a subscription is to have but for its grace, with the relations that the row before had loaded."""
    details = found.get("cancellation_details") or {}
    row = Subscription(
        id=scope.row_id(found["id"]),
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=(before.end_user_id if before else None) or scope.user_of(found),
        stripe_subscription_id=found["id"],
        stripe_customer_id=id_of(found.get("customer")),
        status=found["status"],
        plan_id=_plan_id(scope, before, found),
        stripe_price_id=id_of(price_of(found)),
        quantity=first_item(found).get("quantity") or 1,
        current_period_start=from_unix(period_edge(found, "current_period_start")),
        current_period_end=from_unix(period_edge(found, "current_period_end")),
        trial_end=from_unix(found.get("trial_end")),
        cancel_at=from_unix(cancel_time(found)),
        cancel_at_period_end=cancels_at_period_end(found),
        canceled_at=from_unix(found.get("canceled_at")),
        ended_at=from_unix(found.get("ended_at")),
        pause_collection=found.get("pause_collection"),
        # In the user's words where there are any, else in Stripe's.
        cancellation_reason=str(details.get("feedback") or details.get("reason") or "")[:REASON_CHARS],
        cancellation_comment=str(details.get("comment") or ""),
        created_at=from_unix(found["created"]) or clock.now(),
        synced_at=clock.now(),
    )
    if before is not None:
        row.access_revoked_at, row.access_revoked_by = before.access_revoked_at, before.access_revoked_by
        row.project = before.project
        if row.end_user_id == before.end_user_id:
            row.end_user = before.end_user
        if row.plan_id == before.plan_id:
            row.plan = before.plan
    return row


def _known(scope: Scope, subscription_id: str) -> SubscriptionQuerySet:
    """Select the row with all that its shape and its access are told by."""
    rows = Subscription.objects.for_project(scope.project_id).filter(pk=scope.row_id(subscription_id))
    return rows.select_related("plan", "end_user", "project__billing_policy")


def _row_with_plan(
    scope: Scope, subscription_id: str, price: StripeObject, renewals: dict[str, Renewal]
) -> Subscription | None:
    """Read the row as it is, the plan that its price now sells and the renewals that were noted: one query."""
    sold = _plans_of(scope, price).filter(project=OuterRef("project"))
    rows = _known(scope, subscription_id)
    holds = Entitlement.objects.for_project(scope.project_id).in_mode(scope.mode).filter(end_user=OuterRef("end_user"))
    holds = holds.filter(subscription_id=OuterRef("stripe_subscription_id"))
    row = rows.annotate(
        sold_plan_id=Subquery(sold.values("plan_id")[:1]),
        noted_renewals=noted_keys(scope, renewals),
        granted_period=Subquery(holds.values("granted_period_start")[:1]),
        # Before what the user's other subscriptions say is read: nobody else decides meanwhile what the user holds.
        lock=RawSQL(LOCK_OF_ROW.format(table="payments_subscription"), (HOLDINGS,), TextField()),  # nosec B611 - no input
    ).first()
    if row is not None and row.end_user_id is not None:
        scope.locked_holders.add(row.end_user_id)
    return row


def _plans_of(scope: Scope, price: StripeObject) -> Any:
    """Match a price by its Stripe id, then by its lookup key."""
    matches = Q(stripe_price_id=price.get("id") or "-")
    if price.get("lookup_key"):
        matches |= Q(lookup_key=price["lookup_key"])
    by_id = Case(When(stripe_price_id=price.get("id") or "-", then=Value(0)), default=Value(1))
    return PlanPrice.objects.for_project(scope.project_id).filter(matches, mode=scope.mode).order_by(by_id)


def _plan_id(scope: Scope, before: Subscription | None, found: StripeObject) -> uuid.UUID | None:
    """Return the plan that a subscription is on: one that stays until the period ends, else that of its price.

    An unknown price keeps the plan there was, so that it never takes anything away.
    """
    price, kept_code = price_of(found), kept_plan_code(found)
    if kept_code:
        plans = Plan.objects.for_project(scope.project_id).named(kept_code)
        kept: uuid.UUID | None = plans.values_list("pk", flat=True).first()
        if kept is not None:
            return kept
    if before is not None:
        sold: uuid.UUID | None = before.sold_plan_id  # type: ignore[attr-defined]
    else:
        sold = _plans_of(scope, price).values_list("plan_id", flat=True).first()
    if sold is None:
        known = before.plan_id if before else None
        if before is None or before.stripe_price_id != id_of(price):
            _flag_unknown_price(scope, before, price)
        return known
    return sold


def _flag_unknown_price(scope: Scope, before: Subscription | None, price: StripeObject) -> None:
    """Put a price that no plan sells before a person, once however many subscriptions have it."""
    logger.warning("price_without_plan project=%s mode=%s price=%s", scope.project_id, scope.mode, id_of(price))
    open_review_item(
        project_id=scope.project_id,
        mode=scope.mode,
        kind=ReviewItem.Kind.UNKNOWN_PRICE,
        cause_key=f"unknown_price:{id_of(price)}",
        title=f"No plan sells the price {id_of(price)}",
        subject=id_of(price),
        details={
            "price_id": id_of(price),
            "lookup_key": price.get("lookup_key"),
            "amount_cents": price.get("unit_amount"),
            "currency": price.get("currency"),
            "plan_kept": before.plan.code if before and before.plan else None,
        },
    )


def _end_missing(scope: Scope, subscription_id: str) -> None:
    """Stripe has no such subscription any more (deleted test data): what we have of it is over.

    One of an account that this project had before is not the present account's to know. It goes on there, unseen: the user keeps
    what is paid for to the end of the period that we knew, and is not told of a cancellation that may never have been.
    """
    row = _known(scope, subscription_id).exclude(status__in=ENDED_STATUSES).first()
    if row is None:
        return
    cause = scope.cause_of(subscription_id)
    if account_of("subscription", subscription_id) not in ("", scope.account_id):
        if row.current_period_end is not None and row.current_period_end > clock.now():
            return
        cause = replace(cause, without_effects=True)
    before = state_of(row)
    row.status = "canceled"
    row.ended_at = row.synced_at = clock.now()
    row.cancel_at = row.past_due_since = None
    row.cancel_at_period_end = False
    write_changed(scope, row, before=before, fields=WRITTEN_FIELDS, cause=cause)
    if row.end_user_id is not None:
        scope.holders.add(row.end_user_id)


def price_of(found: StripeObject) -> StripeObject:
    """Return the price of a subscription's first item."""
    price = first_item(found).get("price") or {}
    return price if isinstance(price, dict) else {"id": price}


def cancel_time(found: StripeObject) -> int | None:
    """Return when a subscription is going to end; before 2025-05-28 a cancellation at period end left `cancel_at` null."""
    if found.get("cancel_at"):
        return int(found["cancel_at"])
    running = found["status"] not in ENDED_STATUSES
    return period_edge(found, "current_period_end") if running and found.get("cancel_at_period_end") else None


def cancels_at_period_end(found: StripeObject) -> bool:
    """Say whether the subscription ends with its period: newer accounts only set `cancel_at` to that moment."""
    if found["status"] in ENDED_STATUSES:
        return bool(found.get("cancel_at_period_end"))
    end = period_edge(found, "current_period_end")
    return bool(found.get("cancel_at_period_end")) or bool(end and found.get("cancel_at") == end)


def _past_due_since(scope: Scope, found: StripeObject, unpaid: Sequence[StripeObject] | None) -> dt.datetime | None:
    """Return when grace began: the first failed attempt of the oldest invoice that is still unpaid.

    An invoice of a subscription is first attempted when it is finalized. What the row said before has no say, so that a lost
    event cannot shorten anybody's grace. Where no open invoice was attempted, as after one was voided, the latest one counts.
    """
    if found["status"] not in OVERDUE_STATUSES:
        return None
    latest = found.get("latest_invoice")
    by_rows = _attempted_by_rows(scope, found) if unpaid is None else []
    began = by_rows + _first_attempts([latest] if unpaid is None else unpaid)
    if began:
        return min(began)
    if isinstance(latest, dict):
        return _first_attempt(latest)
    return from_unix(period_edge(found, "current_period_start") or found["created"])


def _first_attempts(invoices: Sequence[Any]) -> list[dt.datetime]:
    tried = [one for one in invoices if isinstance(one, dict) and one.get("status") == "open" and one.get("attempted")]
    return [_first_attempt(invoice) for invoice in tried]


def _first_attempt(invoice: StripeObject) -> dt.datetime:
    finalized = (invoice.get("status_transitions") or {}).get("finalized_at")
    return from_unix(finalized or invoice.get("created")) or clock.now()


def _attempted_by_rows(scope: Scope, found: StripeObject) -> list[dt.datetime]:
    """Say it by our own rows of the other invoices: for a comparison that reads nothing more, or a key that may not list them."""
    rows = Invoice.objects.for_project(scope.project_id).filter(subscription=scope.row_id(found["id"]), mode=scope.mode)
    rows = rows.filter(status="open", attempt_count__gt=0, finalized_at__isnull=False)
    others = rows.exclude(stripe_invoice_id=id_of(found.get("latest_invoice")))
    return [moment for moment in others.values_list("finalized_at", flat=True) if moment is not None]
