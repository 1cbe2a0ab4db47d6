"""An invoice: what is owed or was paid for a period, and our payment row of one that was paid without a PaymentIntent.

Invariant: the row of an invoice holds the money that none of its PaymentIntents brought, so that together they are what was paid.
"""

import datetime as dt
from collections.abc import Mapping

from common import clock
from common.clock import from_unix
from payments.models import Invoice, Transaction
from payments.services.objects.payment import (
    INVOICES,
    Status,
    payer_of,
    read_payment_intent,
    refunded_of,
    save_payment,
    subscription_id_of,
)
from payments.services.objects.subscription import collect_subscription
from payments.services.ownership import Scope
from payments.services.snapshot import Snapshot, StripeObject, id_of

INVOICE_PAYMENTS = "invoice_payments"
Intents = Mapping[str, StripeObject | None]
NO_INTENTS: Intents = {}
KEPT_FIELDS = {"id", "project", "mode", "stripe_invoice_id", "created_at"}
WRITTEN_FIELDS = [field.name for field in Invoice._meta.concrete_fields if field.name not in KEPT_FIELDS]
# When an invoice was closed, by the status that it was closed with. Nothing is collected for it any more.
# Source: https://docs.stripe.com/invoicing/overview#invoice-statuses
CLOSED_AT = {"paid": "paid_at", "void": "voided_at", "uncollectible": "marked_uncollectible_at"}


def collect_invoice(snapshot: Snapshot, invoice_id: str) -> StripeObject | None:
    """Read an invoice, the PaymentIntents that pay it, and its subscription. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/invoices/retrieve
    """
    found = snapshot.read(INVOICES, invoice_id, expand=["payments"])
    if found is None:
        return None
    if (found.get("payments") or {}).get("has_more"):
        found["payments"] = {"data": snapshot.read_all(INVOICE_PAYMENTS, invoice=invoice_id), "has_more": False}
    for payment_intent_id in payment_intents_of(found):
        snapshot.note_paid_invoice(payment_intent_id, invoice_id)
        read_payment_intent(snapshot, payment_intent_id)
    subscription_id = subscription_id_of(found)
    if subscription_id:
        collect_subscription(snapshot, subscription_id)
    return found


def collect_invoice_payment(snapshot: Snapshot, invoice_payment_id: str) -> StripeObject | None:
    """Read which invoice a payment was made to, and that invoice. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/invoice-payment/retrieve
    """
    found = snapshot.read(INVOICE_PAYMENTS, invoice_payment_id)
    if found is None or not id_of(found.get("invoice")):
        return found
    return collect_invoice(snapshot, id_of(found["invoice"])) or found


def collect_upcoming_invoice(snapshot: Snapshot, subscription_id: str) -> StripeObject | None:
    """Read a subscription and what its next renewal is going to cost. Raises: StripeFailure."""
    found = collect_subscription(snapshot, subscription_id)
    if found is not None:
        snapshot.read_upcoming(subscription_id)
    return found


def payment_intents_of(invoice: StripeObject) -> list[str]:
    """Name the PaymentIntents of an invoice, in the shape since 2025-03-31 (`payments`) or before (`payment_intent`).

    Source: https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices
    """
    payments = ((invoice.get("payments") or {}).get("data")) or []
    ids = [id_of((entry.get("payment") or {}).get("payment_intent")) for entry in payments]
    old = id_of(invoice.get("payment_intent"))
    return list(dict.fromkeys(found for found in [*ids, old] if found))


def paid_by_intents(invoice: StripeObject, intents: Intents) -> int:
    """Return how much of an invoice its PaymentIntents paid. Units: minor units.

    An intent that has succeeded counts at once: Stripe notes its invoice payment as paid up to some seconds after the invoice.
    Source: https://docs.stripe.com/api/invoice-payment/object
    """
    paid = invoice.get("amount_paid") or 0
    entries = ((invoice.get("payments") or {}).get("data")) or []
    if not entries:
        # Before 2025-03-31 an invoice had one PaymentIntent, and it paid all or nothing.
        intent = intents.get(id_of(invoice.get("payment_intent"))) or {}
        failed = bool(intent) and intent.get("status") != "succeeded"
        return 0 if invoice.get("paid_out_of_band") or failed or not payment_intents_of(invoice) else paid
    brought = 0
    for entry in entries:
        intent_id = id_of((entry.get("payment") or {}).get("payment_intent"))
        intent = intents.get(intent_id) or {}
        if not intent_id:
            continue
        if entry.get("status") == "paid" and entry.get("amount_paid") is not None:
            brought += entry["amount_paid"]
        elif entry.get("status") == "paid" or intent.get("status") == "succeeded":
            brought += intent.get("amount_received") or entry.get("amount_requested") or 0
    return min(brought, paid)


def write_invoice(scope: Scope, invoice_id: str, found: StripeObject | None, intents: Intents = NO_INTENTS) -> None:
    """Write the row of an invoice; a draft that Stripe has no more is forgotten, since it never was a document.

    `intents` are the PaymentIntents that were read with it, by id.
    """
    if found is None:
        rows = Invoice.objects.for_project(scope.project_id).filter(pk=scope.row_id(invoice_id))
        rows.filter(status="draft").delete()
        return
    moments = found.get("status_transitions") or {}
    trouble = found.get("last_finalization_error") or {}
    row = Invoice(
        id=scope.row_id(invoice_id),
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=payer_of(scope, found, found),
        subscription_id=scope.subscription_row_id(subscription_id_of(found)),
        stripe_invoice_id=invoice_id,
        stripe_customer_id=id_of(found.get("customer")),
        number=(found.get("number") or "")[:64],
        status=found.get("status") or "draft",
        billing_reason=(found.get("billing_reason") or "")[:40],
        currency=found["currency"].lower(),
        amount_due_cents=found.get("amount_due") or 0,
        amount_paid_cents=found.get("amount_paid") or 0,
        amount_remaining_cents=found.get("amount_remaining") or 0,
        attempt_count=found.get("attempt_count") or 0,
        next_payment_attempt=from_unix(found.get("next_payment_attempt")),
        hosted_invoice_url=found.get("hosted_invoice_url") or "",
        invoice_pdf=found.get("invoice_pdf") or "",
        finalization_error=trouble.get("message") or trouble.get("code") or "",
        period_start=from_unix(found.get("period_start")),
        period_end=from_unix(found.get("period_end")),
        created_at=from_unix(found.get("created")) or clock.now(),
        finalized_at=from_unix(moments.get("finalized_at")),
        paid_at=from_unix(moments.get("paid_at")),
        closed_at=from_unix(moments.get(CLOSED_AT.get(found.get("status") or "", ""))),
        synced_at=clock.now(),
    )
    Invoice.objects.bulk_create([row], update_conflicts=True, unique_fields=["id"], update_fields=WRITTEN_FIELDS)
    write_payment_outside(scope, found, intents)


def write_payment_outside(scope: Scope, invoice: StripeObject, intents: Intents = NO_INTENTS) -> None:
    """Write the payment row of a paid invoice for what no PaymentIntent brought, such as a transfer that was noted by hand.

    Nothing is written for an invoice of zero or one that a balance covered: no money moved.
    """
    paid = (invoice.get("amount_paid") or 0) - paid_by_intents(invoice, intents)
    if invoice.get("status") != "paid" or paid <= 0:
        return
    # The charge of an invoice that has an intent is the intent's, and may be one that failed.
    told = None if payment_intents_of(invoice) else invoice.get("charge")
    charge = told if isinstance(told, dict) else {}
    row = Transaction(
        id=scope.row_id(invoice["id"]),
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=payer_of(scope, invoice, invoice),
        payment_intent_id=invoice["id"],
        stripe_charge_id=id_of(told),
        stripe_customer_id=id_of(invoice.get("customer")),
        status=Status.SUCCEEDED,
        amount_cents=paid,
        currency=invoice["currency"].lower(),
        refunded_amount_cents=min(refunded_of(charge), paid),
        receipt_url=invoice.get("hosted_invoice_url") or "",
        created_at=_paid_at(invoice),
        synced_at=clock.now(),
    )
    save_payment(scope, row, invoice)


def _paid_at(invoice: StripeObject) -> dt.datetime:
    paid_at = (invoice.get("status_transitions") or {}).get("paid_at")
    return from_unix(paid_at or invoice.get("created")) or clock.now()
