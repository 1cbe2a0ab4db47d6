"""What review items are about: the payment, the licence and the subscription of each, read for all items of a page together.

Invariant: an item reaches rows of its own project and mode only, and what somebody typed into a report only their own payments and
those of whom the report is about.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Q

from licenses.models import License
from moderation.models import ReviewItem
from payments.models import Dispute, Subscription, Transaction
from payments.models.billing import ENDED_STATUSES, standing


@dataclass(frozen=True)
class Subject:
    """What one item is about."""

    payment: Transaction | None
    # What it is about or what its payment has bought.
    license: License | None
    # What runs: the one that it or its payment names, else the one that its user has.
    subscription: Subscription | None


def subject_of(item: ReviewItem) -> Subject:
    """Read what one item is about."""
    return subjects_of([item])[item.pk]


def subjects_of(items: Sequence[ReviewItem]) -> dict[uuid.UUID, Subject]:
    """Read what each item is about, by its id; the number of queries does not grow with the items of a project."""
    groups: dict[tuple[uuid.UUID, str], list[ReviewItem]] = {}
    for item in items:
        groups.setdefault((item.project_id, item.mode), []).append(item)
    found: dict[uuid.UUID, Subject] = {}
    for (project_id, mode), group in groups.items():
        payments = _payments(project_id, mode, group)
        licenses = _licenses(project_id, mode, group, payments)
        subscriptions = _subscriptions(project_id, mode, group, payments)
        for item in group:
            found[item.pk] = Subject(
                payments.get(item.pk), licenses.get(item.pk), _still_running(subscriptions.get(item.pk))
            )
    return found


def as_uuid(text: str) -> uuid.UUID | None:
    """Read an id; None when the text is none."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _payments(project_id: uuid.UUID, mode: str, items: Sequence[ReviewItem]) -> dict[uuid.UUID, Transaction]:
    disputes = Dispute.objects.for_project(project_id).filter(
        mode=mode, stripe_dispute_id__in={item.subject for item in items}
    )
    disputed = dict(disputes.values_list("stripe_dispute_id", "payment_intent_id"))
    named: dict[uuid.UUID, set[str]] = {}
    for item in items:
        told = [str(item.details.get(name) or "") for name in ("payment_intent_id", "reference")]
        named[item.pk] = {item.subject, disputed.get(item.subject) or "", *told} - {""}
    rows = Transaction.objects.for_project(project_id).in_mode(mode)
    rows = rows.filter(payment_intent_id__in=set().union(*named.values())).order_by("-created_at")
    payments = list(rows.select_related("end_user", "subscription__plan", "subscription__end_user"))
    found: dict[uuid.UUID, Transaction] = {}
    for item in items:
        for row in payments:
            if row.payment_intent_id in named[item.pk] and _reaches(item, row):
                found.setdefault(item.pk, row)
    return found


def _reaches(item: ReviewItem, payment: Transaction) -> bool:
    reporter = item.details.get("reported_by") or {}
    if reporter.get("kind") != "end_user":
        return True
    # What somebody typed into a report reaches their own payments and those of whom it is about, and nobody else's.
    return payment.end_user_id in {item.end_user_id, as_uuid(str(reporter.get("id") or ""))} - {None}


def _licenses(
    project_id: uuid.UUID, mode: str, items: Sequence[ReviewItem], payments: Mapping[uuid.UUID, Transaction]
) -> dict[uuid.UUID, License]:
    stuck = {
        item.pk: key
        for item in items
        if item.kind == ReviewItem.Kind.STUCK_LICENSE and (key := as_uuid(item.subject)) is not None
    }
    bought = {row.payment_intent_id for row in payments.values()}
    rows = License.objects.for_project(project_id).filter(mode=mode).select_related("product").order_by("pk")
    by_key: dict[uuid.UUID, License] = {}
    by_payment: dict[str, License] = {}
    for row in rows.filter(Q(pk__in=set(stuck.values())) | Q(payment_intent_id__in=bought)):
        by_key[row.pk] = row
        by_payment.setdefault(row.payment_intent_id, row)
    found: dict[uuid.UUID, License | None] = {}
    for item in items:
        payment = payments.get(item.pk)
        if item.pk in stuck:
            found[item.pk] = by_key.get(stuck[item.pk])
        elif payment is not None:
            found[item.pk] = by_payment.get(payment.payment_intent_id)
    return {key: row for key, row in found.items() if row is not None}


def _subscriptions(
    project_id: uuid.UUID, mode: str, items: Sequence[ReviewItem], payments: Mapping[uuid.UUID, Transaction]
) -> dict[uuid.UUID, Subscription | None]:
    unpaid = [item for item in items if item.pk not in payments]
    named = {
        item.pk: item.subject
        for item in unpaid
        if item.kind != ReviewItem.Kind.REPORT and item.subject.startswith("sub_")
    }
    users = {item.end_user_id for item in unpaid if item.pk not in named and item.end_user_id is not None}
    rows = Subscription.objects.for_project(project_id).filter(mode=mode).select_related("plan", "end_user")
    by_name = {row.stripe_subscription_id: row for row in rows.filter(stripe_subscription_id__in=set(named.values()))}
    by_user: dict[uuid.UUID | None, Subscription] = {}
    # As `current_for` asks for one user.
    for row in rows.filter(end_user__in=users).order_by(standing(), "-created_at", "-id"):
        by_user.setdefault(row.end_user_id, row)
    found: dict[uuid.UUID, Subscription | None] = {key: row.subscription for key, row in payments.items()}
    for item in unpaid:
        found[item.pk] = by_name.get(named[item.pk]) if item.pk in named else by_user.get(item.end_user_id)
    return found


def _still_running(row: Subscription | None) -> Subscription | None:
    return row if row is not None and row.status not in ENDED_STATUSES else None
