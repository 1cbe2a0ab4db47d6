"""A dispute: the cardholder's bank questions a payment, and decides. Also the bank's warning that it may come to that.

Invariant: rows follow the retrieved dispute; opening and closing are told once each, whichever event shows them first.
"""

from common import clock
from common.clock import from_unix
from common.money import money_text
from moderation.models import ReviewItem
from payments.models import Dispute, Transaction
from payments.services.objects.payment import DISPUTES
from payments.services.objects.payment_intent import collect_payment_of
from payments.services.objects.refund import payment_row_id
from payments.services.ownership import Scope
from payments.services.payment_effects import Shape, payments_with_users, tell_app
from payments.services.shapes import utc_text
from payments.services.snapshot import Snapshot, StripeObject, id_of
from payments.services.trouble import put_before_staff

FRAUD_WARNINGS = "radar/early_fraud_warnings"
# Nothing more is decided about these. Source: https://docs.stripe.com/api/disputes/object#dispute_object-status
CLOSED_STATUSES = ("won", "lost", "warning_closed", "prevented")
KEPT_FIELDS = {"id", "project", "mode", "stripe_dispute_id", "created_at"}
WRITTEN_FIELDS = [field.name for field in Dispute._meta.concrete_fields if field.name not in KEPT_FIELDS]


def collect_dispute(snapshot: Snapshot, dispute_id: str) -> StripeObject | None:
    """Read a dispute and the payment that it is about. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/disputes/retrieve
    """
    return collect_payment_of(snapshot, snapshot.read(DISPUTES, dispute_id))


def collect_fraud_warning(snapshot: Snapshot, warning_id: str) -> StripeObject | None:
    """Read an early fraud warning and the payment that it is about. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/radar/early_fraud_warnings/retrieve
    """
    return collect_payment_of(snapshot, snapshot.read(FRAUD_WARNINGS, warning_id))


def write_disputes(scope: Scope, snapshot: Snapshot) -> None:
    """Write the rows of all disputes that were read, and tell who must know. Call after their payments were written."""
    found = [dispute for dispute in snapshot.of_kind(DISPUTES).values() if dispute is not None]
    if not found:
        return
    rows = [_row_of(scope, dispute, snapshot) for dispute in found]
    known = Dispute.objects.for_project(scope.project_id).filter(pk__in=[row.pk for row in rows])
    before = dict(known.values_list("pk", "status"))
    Dispute.objects.bulk_create(rows, update_conflicts=True, unique_fields=["id"], update_fields=WRITTEN_FIELDS)
    changed = [row for row in rows if before.get(row.pk) != row.status]
    payments = payments_with_users(scope, [row.transaction_id for row in changed if row.transaction_id])
    for row in changed:
        payment = payments.get(row.transaction_id) if row.transaction_id else None
        if row.pk not in before:
            _tell_opened(scope, row, payment)
        if row.status in CLOSED_STATUSES and before.get(row.pk) not in CLOSED_STATUSES:
            _tell_app(scope, row, payment, "dispute.closed")


def write_fraud_warnings(scope: Scope, snapshot: Snapshot) -> None:
    """Put every early fraud warning that was read before the staff. Call after their payments were written."""
    warnings = [warning for warning in snapshot.of_kind(FRAUD_WARNINGS).values() if warning is not None]
    for warning in warnings:
        payment_id = payment_row_id(scope, warning, snapshot)
        payment = payments_with_users(scope, [payment_id]).get(payment_id) if payment_id else None
        put_before_staff(
            scope,
            scope.cause_of(warning["id"]),
            kind=ReviewItem.Kind.FRAUD_WARNING,
            subject=warning["id"],
            title=f"A bank warns of fraud{_of(payment)}; a refund now avoids a dispute",
            end_user_id=payment.end_user_id if payment else None,
            details={
                "payment_intent_id": id_of(warning.get("payment_intent")),
                "charge_id": id_of(warning.get("charge")),
                "fraud_type": warning.get("fraud_type"),
                "actionable": warning.get("actionable"),
            },
        )


def _row_of(scope: Scope, dispute: StripeObject, snapshot: Snapshot) -> Dispute:
    return Dispute(
        id=scope.row_id(dispute["id"]),
        project_id=scope.project_id,
        mode=scope.mode,
        transaction_id=payment_row_id(scope, dispute, snapshot),
        stripe_dispute_id=dispute["id"],
        stripe_charge_id=id_of(dispute.get("charge")),
        payment_intent_id=id_of(dispute.get("payment_intent")),
        status=dispute["status"],
        reason=(dispute.get("reason") or "")[:64],
        amount_cents=dispute["amount"],
        currency=dispute["currency"].lower(),
        evidence_due_by=from_unix((dispute.get("evidence_details") or {}).get("due_by")),
        created_at=from_unix(dispute.get("created")) or clock.now(),
        synced_at=clock.now(),
    )


def _tell_opened(scope: Scope, row: Dispute, payment: Transaction | None) -> None:
    due = utc_text(row.evidence_due_by)
    put_before_staff(
        scope,
        scope.cause_of(row.stripe_dispute_id),
        kind=ReviewItem.Kind.DISPUTE,
        subject=row.stripe_dispute_id,
        title=f"{money_text(row.amount_cents, row.currency)} disputed ({row.reason or 'no reason given'})",
        end_user_id=payment.end_user_id if payment else None,
        details={
            "dispute_id": row.stripe_dispute_id,
            "payment_intent_id": row.payment_intent_id,
            "amount_cents": row.amount_cents,
            "currency": row.currency,
            "reason": row.reason,
            "evidence_due_by": due,
        },
        template="dispute_opened",
    )
    _tell_app(scope, row, payment, "dispute.opened")


def _tell_app(scope: Scope, row: Dispute, payment: Transaction | None, event_type: str) -> None:
    if payment is None:
        return
    about: Shape = {
        "dispute": {
            "dispute_id": row.stripe_dispute_id,
            "status": row.status,
            "reason": row.reason or None,
            "amount_cents": row.amount_cents,
            "currency": row.currency,
            "evidence_due_by": utc_text(row.evidence_due_by),
            "created_at": utc_text(row.created_at),
        }
    }
    tell_app(scope, scope.cause_of(row.stripe_dispute_id), payment, event_type, row.stripe_dispute_id, about)


def _of(payment: Transaction | None) -> str:
    return f" in a payment of {money_text(payment.amount_cents, payment.currency)}" if payment else ""
