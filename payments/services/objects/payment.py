"""Our row of one movement of money: one per PaymentIntent, else one per invoice that was paid outside Stripe.

Invariant: amounts and refunds come from the retrieved PaymentIntent and its charge; a row is found by the Stripe id that
it follows, so that no event and no order of events makes a second one.
"""

import datetime as dt
from typing import Any

from common import clock
from common.clock import from_unix
from payments.models import Subscription, Transaction
from payments.services.objects.subscription import collect_subscription
from payments.services.ownership import Scope
from payments.services.snapshot import Snapshot, StripeObject, id_of

PAYMENT_INTENTS, INVOICES, CHARGES = "payment_intents", "invoices", "charges"
Status = Transaction.Status
# https://docs.stripe.com/payments/paymentintents/lifecycle; `requires_payment_method` depends on whether it was tried.
STATUS_OF_INTENT = {
    "succeeded": Status.SUCCEEDED,
    "canceled": Status.CANCELED,
    "processing": Status.PENDING,
    "requires_action": Status.PENDING,
    "requires_confirmation": Status.PENDING,
    "requires_capture": Status.PENDING,
}
PAYMENT_FIELDS = [
    "end_user", "stripe_charge_id", "stripe_customer_id", "status", "amount_cents", "currency", "refunded_amount_cents",
    "receipt_url", "failure_code", "failure_message", "disputed", "synced_at",
]  # fmt: skip
INVOICE_FIELDS = ["subscription", "stripe_invoice_id", "description", "invoice_pdf"]


def collect_payment_intent(snapshot: Snapshot, payment_intent_id: str) -> StripeObject | None:
    """Read a PaymentIntent with its latest charge, and the invoice that it pays. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/payment_intents/retrieve
    """
    found = _read_intent(snapshot, payment_intent_id)
    if found is None or payment_intent_id in snapshot.invoice_of_payment:
        return found
    invoice_id = id_of(found.get("invoice")) or snapshot.read_paid_invoice_id(payment_intent_id)
    if invoice_id:
        collect_invoice(snapshot, invoice_id)
    return found


def collect_invoice(snapshot: Snapshot, invoice_id: str) -> StripeObject | None:
    """Read an invoice, the PaymentIntents that pay it, and its subscription. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/invoices/retrieve
    """
    found = snapshot.read(INVOICES, invoice_id, expand=["payments"])
    if found is None:
        return None
    for payment_intent_id in payment_intents_of(found):
        snapshot.note_paid_invoice(payment_intent_id, invoice_id)
        _read_intent(snapshot, payment_intent_id)
    subscription_id = subscription_id_of(found)
    if subscription_id:
        collect_subscription(snapshot, subscription_id)
    return found


def collect_charge(snapshot: Snapshot, charge_id: str) -> StripeObject | None:
    """Read a charge and the PaymentIntent that it belongs to; refunds are read from there. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/charges/retrieve
    """
    found = snapshot.read(CHARGES, charge_id)
    if found is not None and id_of(found.get("payment_intent")):
        collect_payment_intent(snapshot, id_of(found.get("payment_intent")))
    return found


def _read_intent(snapshot: Snapshot, payment_intent_id: str) -> StripeObject | None:
    return snapshot.read(PAYMENT_INTENTS, payment_intent_id, expand=["latest_charge"])


def payment_intents_of(invoice: StripeObject) -> list[str]:
    """Name the PaymentIntents of an invoice, in the shape since 2025-03-31 (`payments`) or before (`payment_intent`).

    Source: https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
    """
    payments = ((invoice.get("payments") or {}).get("data")) or []
    ids = [id_of((entry.get("payment") or {}).get("payment_intent")) for entry in payments]
    old = id_of(invoice.get("payment_intent"))
    return list(dict.fromkeys(found for found in [*ids, old] if found))


def subscription_id_of(invoice: StripeObject) -> str:
    """Name the subscription of an invoice, under `parent` or, before 2025-03-31, at the top."""
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(parent.get("subscription")) or id_of(invoice.get("subscription"))


def write_payment_intent(
    scope: Scope, payment_intent_id: str, found: StripeObject | None, invoice: StripeObject | None
) -> None:
    """Write the row of one PaymentIntent; an invoice, when it was read too, says what was paid for."""
    rows = Transaction.objects.for_project(scope.project_id).filter(pk=scope.row_id(payment_intent_id))
    if found is None:
        rows.filter(status=Status.PENDING).update(status=Status.CANCELED, synced_at=clock.now())
        return
    status = status_of(found)
    if status is None:
        # Opened and never tried: no money moved. Should a row be there, it is of an attempt that was withdrawn.
        rows.update(status=Status.PENDING, synced_at=clock.now())
        return
    charge = found.get("latest_charge") if isinstance(found.get("latest_charge"), dict) else {}
    amount = found.get("amount_received") if found["status"] == "succeeded" else found["amount"]
    amount = amount if isinstance(amount, int) else found["amount"]
    failure = found.get("last_payment_error") or {}
    failed = status in (Status.FAILED, Status.CANCELED)
    row = Transaction(
        id=scope.row_id(payment_intent_id),
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=_payer(scope, found, invoice),
        payment_intent_id=payment_intent_id,
        stripe_charge_id=id_of(found.get("latest_charge")),
        stripe_customer_id=id_of(found.get("customer")),
        status=status,
        amount_cents=amount,
        currency=found["currency"].lower(),
        refunded_amount_cents=min(_refunded(charge), amount),
        description=(found.get("description") or ""),
        receipt_url=(charge or {}).get("receipt_url") or "",
        failure_code=(failure.get("decline_code") or failure.get("code") or "")[:64] if failed else "",
        failure_message=(failure.get("message") or "") if failed else "",
        disputed=bool((charge or {}).get("disputed")),
        created_at=from_unix(found["created"]) or clock.now(),
        synced_at=clock.now(),
    )
    _save(scope, row, invoice)


def status_of(intent: StripeObject) -> str | None:
    """Return our status of a retrieved PaymentIntent; None when nobody has tried to pay yet."""
    status: str = intent["status"]
    charge = intent.get("latest_charge")
    if status == "requires_payment_method":
        return Status.FAILED if intent.get("last_payment_error") or charge else None
    refunded = _refunded(charge)
    if status == "succeeded" and refunded:
        received = intent.get("amount_received") or intent["amount"]
        return Status.REFUNDED if refunded >= received else Status.PARTIALLY_REFUNDED
    return STATUS_OF_INTENT.get(status, Status.PENDING)


def _refunded(charge: Any) -> int:
    return int(charge.get("amount_refunded") or 0) if isinstance(charge, dict) else 0


def _payer(scope: Scope, found: StripeObject, invoice: StripeObject | None) -> Any:
    """Say whose payment it is: its subscription's user when there is one, since that row was written just before."""
    if invoice is not None:
        details = (invoice.get("parent") or {}).get("subscription_details") or invoice.get("subscription_details") or {}
        named = scope.named_user(details.get("metadata"))
        if named:
            return named
    return scope.user_of(found)


def write_invoice(scope: Scope, invoice: StripeObject) -> None:
    """Write the row of an invoice that was paid without a PaymentIntent; one that has a PaymentIntent is that one's row.

    Nothing is written for an invoice of zero or one that a balance covered: no money moved.
    """
    paid = invoice.get("amount_paid") or 0
    if payment_intents_of(invoice) or invoice.get("status") != "paid" or paid <= 0:
        return
    charge = invoice.get("charge") if isinstance(invoice.get("charge"), dict) else {}
    row = Transaction(
        id=scope.row_id(invoice["id"]),
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=_payer(scope, invoice, invoice),
        payment_intent_id=invoice["id"],
        stripe_charge_id=id_of(invoice.get("charge")),
        stripe_customer_id=id_of(invoice.get("customer")),
        status=Status.SUCCEEDED,
        amount_cents=paid,
        currency=invoice["currency"].lower(),
        refunded_amount_cents=min(_refunded(charge), paid),
        receipt_url=invoice.get("hosted_invoice_url") or "",
        created_at=_paid_at(invoice),
        synced_at=clock.now(),
    )
    _save(scope, row, invoice)


def _paid_at(invoice: StripeObject) -> dt.datetime:
    paid_at = (invoice.get("status_transitions") or {}).get("paid_at")
    return from_unix(paid_at or invoice.get("created")) or clock.now()


def _save(scope: Scope, row: Transaction, invoice: StripeObject | None) -> None:
    """Insert or update by id in one statement; without an invoice at hand, what an earlier one said is kept."""
    fields = list(PAYMENT_FIELDS)
    if invoice is not None:
        subscription_id = subscription_id_of(invoice)
        row.stripe_invoice_id = invoice["id"]
        row.invoice_pdf = invoice.get("invoice_pdf") or ""
        row.description = description_of(invoice) or row.description
        row.subscription_id = scope.row_id(subscription_id) if _is_here(scope, subscription_id) else None
        fields += INVOICE_FIELDS
    Transaction.objects.bulk_create([row], update_conflicts=True, unique_fields=["id"], update_fields=fields)


def _is_here(scope: Scope, subscription_id: str) -> bool:
    if not subscription_id:
        return False
    rows = Subscription.objects.for_project(scope.project_id).filter(pk=scope.row_id(subscription_id))
    return rows.exists()


def description_of(invoice: StripeObject) -> str:
    """Say what an invoice is for: its own memo, else its first line."""
    lines = (invoice.get("lines") or {}).get("data") or []
    return str(invoice.get("description") or (lines[0].get("description") if lines else "") or "")
