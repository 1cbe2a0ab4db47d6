"""A PaymentIntent and its latest charge: what was tried, what arrived and what went back.

Invariant: the row follows the retrieved intent; a charge alone makes none, it only leads to its intent.
"""

from common import clock
from common.clock import from_unix
from payments.models import LIFETIME_LICENSE, Transaction
from payments.models.purchases import CREDIT_PURCHASE
from payments.services.objects.invoice import collect_invoice
from payments.services.objects.payment import (
    CHARGES,
    Status,
    charge_of,
    method_of,
    payer_of,
    read_parts_of_charge,
    read_payment_intent,
    refunded_of,
    save_payment,
)
from payments.services.ownership import Scope
from payments.services.snapshot import Snapshot, StripeObject, id_of

# Payments by which something is given once, by the session that made them.
SOLD_ONCE = (CREDIT_PURCHASE, LIFETIME_LICENSE)
# https://docs.stripe.com/payments/paymentintents/lifecycle; `requires_payment_method` depends on whether it was tried.
STATUS_OF_INTENT = {
    "succeeded": Status.SUCCEEDED,
    "canceled": Status.CANCELED,
    "processing": Status.PENDING,
    "requires_action": Status.PENDING,
    "requires_confirmation": Status.PENDING,
    "requires_capture": Status.PENDING,
}


def collect_payment_intent(snapshot: Snapshot, payment_intent_id: str) -> StripeObject | None:
    """Read a PaymentIntent with its latest charge, the invoice that it pays, or the session that sold credits or a licence by it.

    Raises: StripeFailure.  Source: https://docs.stripe.com/api/payment_intents/retrieve
    """
    found = read_payment_intent(snapshot, payment_intent_id)
    if found is None or payment_intent_id in snapshot.invoice_of_payment:
        return found
    if (found.get("metadata") or {}).get("type") in SOLD_ONCE:
        # Whichever event comes first gives the credits or the licence, also when the session's own never comes.
        snapshot.read_session_of(payment_intent_id)
        return found
    invoice_id = id_of(found.get("invoice")) or snapshot.read_paid_invoice_id(payment_intent_id)
    if invoice_id:
        collect_invoice(snapshot, invoice_id)
    return found


def collect_charge(snapshot: Snapshot, charge_id: str) -> StripeObject | None:
    """Read a charge and the PaymentIntent that it belongs to; refunds are read from there. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/charges/retrieve
    """
    found = snapshot.read(CHARGES, charge_id)
    if found is not None and id_of(found.get("payment_intent")):
        collect_payment_intent(snapshot, id_of(found.get("payment_intent")))
    elif found is not None:
        read_parts_of_charge(snapshot, found)
    return found


def collect_payment_of(snapshot: Snapshot, found: StripeObject | None) -> StripeObject | None:
    """Read the payment that a refund, a dispute or a warning is about, and return that: whose it is, it knows.

    Raises: StripeFailure.
    """
    if found is None:
        return None
    if id_of(found.get("payment_intent")):
        return collect_payment_intent(snapshot, id_of(found["payment_intent"])) or found
    if id_of(found.get("charge")):
        return collect_charge(snapshot, id_of(found["charge"])) or found
    return found


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
    charge = charge_of(found)
    failure = found.get("last_payment_error") or {}
    failed = status in (Status.FAILED, Status.CANCELED)
    row = Transaction(
        id=scope.row_id(payment_intent_id),
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=payer_of(scope, found, invoice),
        payment_intent_id=payment_intent_id,
        stripe_charge_id=id_of(found.get("latest_charge")),
        stripe_customer_id=id_of(found.get("customer")),
        status=status,
        amount_cents=amount_of(found),
        currency=found["currency"].lower(),
        refunded_amount_cents=min(refunded_of(charge), amount_of(found)),
        description=(found.get("description") or ""),
        receipt_url=charge.get("receipt_url") or "",
        failure_code=(failure.get("decline_code") or failure.get("code") or "")[:64] if failed else "",
        failure_message=(failure.get("message") or "") if failed else "",
        disputed=bool(charge.get("disputed")),
        created_at=from_unix(found["created"]) or clock.now(),
        synced_at=clock.now(),
        **method_of(charge),
    )
    save_payment(scope, row, invoice)


def amount_of(intent: StripeObject) -> int:
    """Return what was received, or what was asked for while nothing was. Units: minor units."""
    received = intent.get("amount_received") if intent["status"] == "succeeded" else None
    return int(received if isinstance(received, int) else intent["amount"])


def status_of(intent: StripeObject) -> str | None:
    """Return our status of a retrieved PaymentIntent; None when nobody has tried to pay yet."""
    status: str = intent["status"]
    if status == "requires_payment_method":
        return Status.FAILED if intent.get("last_payment_error") or intent.get("latest_charge") else None
    refunded = refunded_of(charge_of(intent))
    if status == "succeeded" and refunded:
        return Status.REFUNDED if refunded >= amount_of(intent) else Status.PARTIALLY_REFUNDED
    return STATUS_OF_INTENT.get(status, Status.PENDING)
