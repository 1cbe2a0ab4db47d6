"""The end of a payment that was under way: the bank paid, or it did not, and whoever waited for it is told."""

from __future__ import annotations

from typing import Any

from ..errors import StripeError
from ..events import Journal
from ..store import Context, Tx
from . import bank_debits, invoicing, payments, settlement

Object = dict[str, Any]

ORDER = (
    "charge.succeeded",
    "charge.failed",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.updated",
    "customer.subscription.updated",
    "invoice_payment.paid",
)


def settle(tx: Tx, ctx: Context, intent: Object, *, failed: bool | None = None) -> Object:
    """Let a debit come out, by itself as its account number has it. Raises: StripeError 400 when none is under way."""
    if intent["status"] != "processing":
        raise StripeError(f"This PaymentIntent is not processing: it is {intent['status']}.")
    payment_method = tx.get(ctx, "payment_method", intent["payment_method"], deleted=True)
    assert payment_method is not None
    if failed is None:
        failed = bank_debits.outcome_of(tx, ctx, payment_method)[0] == "fails"
    tx.schedule(ctx, "payment_intent", intent["id"], None)
    journal = Journal()
    payments.end_processing(tx, ctx, journal, intent, payment_method, failed=failed)
    _tell_session(tx, ctx, journal, intent, failed=failed)
    link = invoicing.payment_of(tx, ctx, intent["id"])
    invoice = tx.get(ctx, "invoice", link["invoice"]) if link else None
    if invoice is not None and invoice["status"] == "open":
        if failed:
            invoicing.note_failure(tx, ctx, journal, invoice, off_session=True)
            subscription = settlement.subscription_of(tx, ctx, invoice)
            if subscription is not None:
                settlement.after_failure(tx, ctx, journal, subscription)
        else:
            settlement.after_intent(tx, ctx, journal, intent)
    journal.release(tx, ctx, ORDER)
    return intent


def _tell_session(tx: Tx, ctx: Context, journal: Journal, intent: Object, *, failed: bool) -> None:
    session = tx.get(ctx, "checkout.session", payments.checkout_session_of(tx, ctx, intent) or "")
    if session is None or session["status"] != "complete":
        return
    if not failed:
        session["payment_status"] = "paid"
        tx.save(ctx, session)
    journal.add(f"checkout.session.async_payment_{'failed' if failed else 'succeeded'}", session)


def settle_by_account(tx: Tx, ctx: Context, intent: Object) -> None:
    """Let time bring a debit to its end."""
    if intent["status"] == "processing":
        settle(tx, ctx, intent)
    else:
        tx.schedule(ctx, "payment_intent", intent["id"], None)
