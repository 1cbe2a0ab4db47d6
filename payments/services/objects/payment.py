"""Our row of one movement of money: one per PaymentIntent, else one per invoice that was paid outside Stripe.

Invariant: amounts and refunds come from what was retrieved; a row is found by the Stripe id that it follows, so that no
event and no order of events makes a second one; what a payment causes is recorded when its row first shows the money.
"""

import uuid
from typing import Any

from payments.models import Transaction
from payments.services.ownership import Scope
from payments.services.payment_effects import COLLECTED_STATUSES, payments_with_users, tell_collected
from payments.services.snapshot import Snapshot, StripeObject, id_of
from payments.stripe_api import StripePermissionMissing

PAYMENT_INTENTS, INVOICES, CHARGES, REFUNDS, DISPUTES = "payment_intents", "invoices", "charges", "refunds", "disputes"
Status = Transaction.Status
# A refund in one of these has taken its amount off the payment; one that failed or was canceled has given it back.
# Source: https://docs.stripe.com/api/refunds/object#refund_object-status
LIVE_REFUND_STATUSES = ("succeeded", "pending", "requires_action")
PAYMENT_FIELDS = [
    "end_user", "stripe_charge_id", "stripe_customer_id", "status", "amount_cents", "currency", "refunded_amount_cents",
    "receipt_url", "method_type", "method_brand", "method_last4", "failure_code", "failure_message", "disputed",
    "synced_at",
]  # fmt: skip
INVOICE_FIELDS = ["subscription", "stripe_invoice_id", "description", "invoice_pdf"]


def read_payment_intent(snapshot: Snapshot, payment_intent_id: str) -> StripeObject | None:
    """Read a PaymentIntent with its latest charge, the charge's refunds and, where it has any, its disputes.

    Raises: StripeFailure.  Source: https://docs.stripe.com/api/payment_intents/retrieve
    """
    found = snapshot.read(PAYMENT_INTENTS, payment_intent_id, expand=["latest_charge.refunds"])
    if found is not None and isinstance(found.get("latest_charge"), dict):
        read_parts_of_charge(snapshot, found["latest_charge"])
    return found


def read_parts_of_charge(snapshot: Snapshot, charge: StripeObject) -> None:
    """Note the refunds that a charge holds, all of them, and read its disputes. Raises: StripeFailure."""
    refunds = charge.get("refunds")
    if isinstance(refunds, dict):
        if refunds.get("has_more"):
            # An expanded list holds ten at most.
            refunds = charge["refunds"] = {"data": snapshot.read_all(REFUNDS, charge=charge["id"]), "has_more": False}
        for refund in refunds.get("data") or []:
            snapshot.note(REFUNDS, refund)
    if charge.get("disputed"):
        try:
            snapshot.read_all(DISPUTES, charge=charge["id"])
        except StripePermissionMissing:
            # The payment itself is readable: only the dispute's own events wait for the permission.
            return


def charge_of(intent: StripeObject) -> StripeObject:
    """Return the latest charge of a PaymentIntent that was read with it, else nothing."""
    charge = intent.get("latest_charge")
    return charge if isinstance(charge, dict) else {}


def refunded_of(charge: StripeObject) -> int:
    """Return how much of a charge went back: the sum of its refunds that hold, else Stripe's own figure.

    Units: minor units.
    """
    refunds = charge.get("refunds")
    if isinstance(refunds, dict) and isinstance(refunds.get("data"), list):
        return sum(int(one["amount"]) for one in refunds["data"] if one.get("status") in LIVE_REFUND_STATUSES)
    return int(charge.get("amount_refunded") or 0)


def method_of(charge: StripeObject) -> dict[str, str]:
    """Return how a charge was paid, as the row keeps it."""
    details = charge.get("payment_method_details") or {}
    kind = str(details.get("type") or "")
    method = details.get(kind) or {}
    return {
        "method_type": kind[:32],
        "method_brand": str(method.get("brand") or "")[:32],
        "method_last4": str(method.get("last4") or "")[:4],
    }


def payer_of(scope: Scope, found: StripeObject, invoice: StripeObject | None) -> uuid.UUID | None:
    """Say whose payment it is: its subscription's user when there is one, since that row was written just before."""
    if invoice is not None:
        details = (invoice.get("parent") or {}).get("subscription_details") or invoice.get("subscription_details") or {}
        named = scope.named_user(details.get("metadata"))
        if named:
            return named
    return scope.user_of(found)


def subscription_id_of(invoice: StripeObject) -> str:
    """Name the subscription of an invoice, under `parent` or, before 2025-03-31, at the top."""
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(parent.get("subscription")) or id_of(invoice.get("subscription"))


def description_of(invoice: StripeObject) -> str:
    """Say what an invoice is for: its own memo, else its first line."""
    lines = (invoice.get("lines") or {}).get("data") or []
    return str(invoice.get("description") or (lines[0].get("description") if lines else "") or "")


def save_payment(scope: Scope, row: Transaction, invoice: StripeObject | None) -> None:
    """Insert or update by id, and record what it causes when the money is there for the first time.

    Without an invoice at hand, what an earlier one said is kept.
    """
    known: Any = Transaction.objects.for_project(scope.project_id).filter(pk=row.pk)
    before = known.values_list("status", flat=True).first()
    fields = list(PAYMENT_FIELDS)
    if invoice is not None:
        row.stripe_invoice_id = invoice["id"]
        row.invoice_pdf = invoice.get("invoice_pdf") or ""
        row.description = description_of(invoice) or row.description
        row.subscription_id = scope.subscription_row_id(subscription_id_of(invoice))
        fields += INVOICE_FIELDS
    Transaction.objects.bulk_create([row], update_conflicts=True, unique_fields=["id"], update_fields=fields)
    if row.status in COLLECTED_STATUSES and before not in COLLECTED_STATUSES:
        user = scope.users.get(row.end_user_id) if row.end_user_id else None
        if before is None and user is not None:
            row.end_user = user
        else:
            row = payments_with_users(scope, [row.pk])[row.pk]
        tell_collected(scope, row, invoice)
