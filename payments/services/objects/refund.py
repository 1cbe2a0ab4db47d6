"""A refund: what went back of a payment, and whether it takes away what was bought.

Invariant: a payment's refunds are written together, all as they were read, so that each row says the same in every order;
one that failed afterwards has given its amount back and revokes nothing.
"""

import uuid
from collections.abc import Sequence

from common import clock
from common.clock import from_unix
from common.money import money_text
from moderation.models import ReviewItem
from payments.models import BillingPolicy, Refund, Transaction
from payments.services.objects.payment import LIVE_REFUND_STATUSES, PAYMENT_INTENTS, REFUNDS
from payments.services.objects.payment_intent import amount_of, collect_payment_of, status_of
from payments.services.ownership import Scope
from payments.services.payment_effects import payments_with_users, tell_refunded
from payments.services.snapshot import Snapshot, StripeObject, id_of
from payments.services.trouble import put_before_staff

KEPT_FIELDS = {"id", "project", "mode", "stripe_refund_id", "created_at"}
WRITTEN_FIELDS = [field.name for field in Refund._meta.concrete_fields if field.name not in KEPT_FIELDS]
# What staff, or the account's owner in Stripe's dashboard, may say in a refund's metadata: keep or revoke what was bought.
ACCESS_KEY, KEEP, REVOKE = "access", "keep", "revoke"


def collect_refund(snapshot: Snapshot, refund_id: str) -> StripeObject | None:
    """Read a refund and the payment that it is of, which holds all its refunds. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/refunds/retrieve
    """
    return collect_payment_of(snapshot, snapshot.read(REFUNDS, refund_id))


def write_refunds(scope: Scope, snapshot: Snapshot) -> None:
    """Write the rows of all refunds that were read, and what they cause. Call after their payments were written."""
    found = [refund for refund in snapshot.of_kind(REFUNDS).values() if refund is not None]
    if not found:
        return
    policy = BillingPolicy.objects.for_project(scope.project_id).first() or BillingPolicy()
    completing = _completing(found, snapshot)
    rows = [
        _row_of(scope, refund, snapshot, revokes=_revokes(refund, policy, completes=refund["id"] in completing))
        for refund in found
    ]
    known = Refund.objects.for_project(scope.project_id).filter(pk__in=[row.pk for row in rows])
    before = dict(known.values_list("pk", "status"))
    Refund.objects.bulk_create(rows, update_conflicts=True, unique_fields=["id"], update_fields=WRITTEN_FIELDS)
    _tell(scope, [row for row in rows if before.get(row.pk) != row.status])


def _row_of(scope: Scope, refund: StripeObject, snapshot: Snapshot, *, revokes: bool) -> Refund:
    return Refund(
        id=scope.row_id(refund["id"]),
        project_id=scope.project_id,
        mode=scope.mode,
        transaction_id=payment_row_id(scope, refund, snapshot),
        stripe_refund_id=refund["id"],
        stripe_charge_id=id_of(refund.get("charge")),
        payment_intent_id=id_of(refund.get("payment_intent")),
        status=refund.get("status") or "succeeded",
        amount_cents=refund["amount"],
        currency=refund["currency"].lower(),
        reason=(refund.get("reason") or "")[:64],
        failure_reason=(refund.get("failure_reason") or "")[:64],
        revokes_access=revokes,
        access_choice=_choice_of(refund),
        created_at=from_unix(refund.get("created")) or clock.now(),
        synced_at=clock.now(),
    )


def payment_row_id(scope: Scope, found: StripeObject, snapshot: Snapshot) -> uuid.UUID | None:
    """Return the id of the payment's row that a refund or a dispute belongs to; None when it has no row."""
    payment_intent_id = id_of(found.get("payment_intent"))
    intent = snapshot.of_kind(PAYMENT_INTENTS).get(payment_intent_id)
    return scope.row_id(payment_intent_id) if intent is not None and status_of(intent) is not None else None


def _completing(found: Sequence[StripeObject], snapshot: Snapshot) -> set[str]:
    """Name the refunds with which a payment's whole amount had gone back, in the order in which they were made."""
    completing: set[str] = set()
    intents = snapshot.of_kind(PAYMENT_INTENTS)
    gone: dict[str, int] = {}
    for refund in sorted(found, key=lambda one: (one.get("created") or 0, one["id"])):
        payment_intent_id = id_of(refund.get("payment_intent"))
        intent = intents.get(payment_intent_id)
        if intent is None or refund.get("status") not in LIVE_REFUND_STATUSES:
            continue
        gone[payment_intent_id] = gone.get(payment_intent_id, 0) + int(refund["amount"])
        if gone[payment_intent_id] >= amount_of(intent):
            completing.add(refund["id"])
    return completing


def _revokes(refund: StripeObject, policy: BillingPolicy, *, completes: bool) -> bool:
    """Say whether a refund takes away what was bought: as somebody chose, else as the project's policy has it."""
    if refund.get("status") not in LIVE_REFUND_STATUSES:
        return False
    choice = _choice_of(refund)
    if choice:
        return choice == REVOKE
    return policy.full_refund_revokes and completes


def _choice_of(refund: StripeObject) -> str:
    """Return what whoever refunded chose about access, "" when nobody chose."""
    choice = (refund.get("metadata") or {}).get(ACCESS_KEY)
    return str(choice) if choice in (KEEP, REVOKE) else ""


def _tell(scope: Scope, changed: Sequence[Refund]) -> None:
    """Tell the app of refunds that have succeeded, and staff of those that failed."""
    if not changed:
        return
    payments = payments_with_users(scope, [row.transaction_id for row in changed if row.transaction_id])
    for row in changed:
        payment = payments.get(row.transaction_id) if row.transaction_id else None
        if row.status == "succeeded" and payment is not None:
            tell_refunded(scope, payment, row)
        elif row.status == "failed":
            _tell_failed(scope, row, payment)


def _tell_failed(scope: Scope, row: Refund, payment: Transaction | None) -> None:
    amount = money_text(row.amount_cents, row.currency)
    put_before_staff(
        scope,
        scope.cause_of(row.stripe_refund_id),
        kind=ReviewItem.Kind.FAILED_REFUND,
        subject=row.stripe_refund_id,
        title=f"A refund of {amount} failed; the customer has not got the money",
        end_user_id=payment.end_user_id if payment else None,
        details={
            "payment_intent_id": row.payment_intent_id,
            "amount_cents": row.amount_cents,
            "currency": row.currency,
            "failure_reason": row.failure_reason,
        },
    )
