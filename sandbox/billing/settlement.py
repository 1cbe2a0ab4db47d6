"""What a payment means for the subscription whose invoice it pays, or fails to pay."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import CardError, StripeError
from ..events import Journal
from ..store import Context, Tx
from . import cards, invoicing, pending, subscribing
from .payments import Attempt

Object = dict[str, Any]

PAYMENT_ORDER = (
    "charge.succeeded",
    "charge.failed",
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "payment_intent.created",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "payment_intent.canceled",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.updated",
    "customer.subscription.updated",
    "invoice_payment.paid",
)
# What an unpaid invoice turns a subscription's status into.
AFTER_FAILURE = {"active": "past_due", "trialing": "past_due"}


def subscription_of(tx: Tx, ctx: Context, invoice: Object) -> Object | None:
    """Find the subscription that an invoice belongs to."""
    details = (invoice["parent"] or {}).get("subscription_details")
    return tx.get(ctx, "subscription", details["subscription"]) if details else None


def after_payment(tx: Tx, ctx: Context, journal: Journal, invoice: Object, *, paid_with: str | None = None) -> None:
    """Make a subscription active again by paying its latest invoice; that takes no other call.

    `paid_with` becomes its default payment method where save_default_payment_method asks for it.
    """
    subscription = subscription_of(tx, ctx, invoice)
    if subscription is None:
        return
    if pending.waits_for(tx, ctx, subscription, invoice):
        pending.apply(tx, ctx, journal, subscription)
        return
    if subscription["latest_invoice"] != invoice["id"]:
        return
    before = copy.deepcopy(subscription)
    if subscription["status"] in ("incomplete", "past_due", "unpaid"):
        subscription["status"] = "active"
    if paid_with and subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        subscription["default_payment_method"] = paid_with
    if subscription != before:
        subscribing.save(tx, ctx, subscription)
        journal.add_updated("customer.subscription.updated", before, subscription)


def after_intent(tx: Tx, ctx: Context, journal: Journal, intent: Object) -> None:
    """Settle the invoice of an intent that has just succeeded by itself (confirmed by the customer)."""
    link = invoicing.payment_of(tx, ctx, intent["id"])
    invoice = tx.get(ctx, "invoice", link["invoice"]) if link else None
    if invoice is None or invoice["status"] != "open":
        return
    invoicing.mark_paid(tx, ctx, journal, invoice, intent)
    after_payment(tx, ctx, journal, invoice, paid_with=intent["payment_method"])


def after_failure(tx: Tx, ctx: Context, journal: Journal, subscription: Object) -> None:
    """Note that the latest invoice of a subscription is not paid."""
    status = AFTER_FAILURE.get(subscription["status"])
    if status is None:
        return
    before = copy.deepcopy(subscription)
    subscription["status"] = status
    subscribing.save(tx, ctx, subscription)
    journal.add_updated("customer.subscription.updated", before, subscription)


def pay_outside(tx: Tx, ctx: Context, invoice: Object) -> Object:
    """Note that an invoice was paid without Stripe. Raises: StripeError 400 (paid, void).

    Source: https://docs.stripe.com/api/events/types#event_types-invoice.paid
    """
    _refuse_closed(invoice)
    journal = Journal()
    if invoice["status"] == "draft":
        customer = tx.get(ctx, "customer", invoice["customer"])
        assert customer is not None
        invoicing.finalize(tx, ctx, journal, invoice, customer)
    invoicing.mark_paid_outside(tx, ctx, journal, invoice)
    after_payment(tx, ctx, journal, invoice)
    journal.release(tx, ctx, PAYMENT_ORDER)
    return invoice


def _refuse_closed(invoice: Object) -> None:
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid")
    if invoice["status"] not in ("draft", "open"):
        raise StripeError(f"This invoice can no longer be paid: it is {invoice['status']}.")


def pay_invoice(tx: Tx, ctx: Context, invoice: Object, wanted: str | None) -> Object:
    """Charge an invoice on request. Raises: StripeError 400 (paid, void, no card), CardError 402."""
    _refuse_closed(invoice)
    subscription = subscription_of(tx, ctx, invoice)
    if wanted:
        payment_method: Object | None = cards.resolve(tx, ctx, wanted)
    else:
        payment_method = invoicing.payment_method_for(tx, ctx, invoice, subscription)
    journal = Journal()
    customer = tx.get(ctx, "customer", invoice["customer"])
    if invoice["status"] == "draft":
        assert customer is not None
        invoicing.finalize(tx, ctx, journal, invoice, customer)
    if payment_method is None and invoice["amount_due"]:
        raise no_payment_method()
    result = invoicing.collect(tx, ctx, journal, invoice, payment_method)
    if result is None or result.kind == "paid":
        after_payment(tx, ctx, journal, invoice)
    elif subscription is not None and not result.accepted:
        after_failure(tx, ctx, journal, subscription)
    journal.release(tx, ctx, PAYMENT_ORDER)
    refuse_unpaid(result, "invoice_payment_intent_requires_action", f"invoice {invoice['id']}")
    return invoice


def refuse_unpaid(result: Attempt | None, action_code: str, what: str, *, keep_effects: bool = True) -> None:
    """Answer 402 when a payment did not go through. Raises: CardError."""
    if result is None or result.accepted:
        return
    if result.kind == "declined":
        assert result.error is not None
        result.error.keep_effects = keep_effects
        raise result.error
    error = CardError(
        "Payment requires additional user action before it can be completed successfully. Payment can be completed "
        f"using the PaymentIntent associated with {what}.",
        code=action_code,
    )
    error.keep_effects = keep_effects
    raise error


def no_payment_method() -> StripeError:
    """Make the error for a customer without any card."""
    return StripeError(
        "This customer has no attached payment source or default payment method. Please consider adding a default "
        "payment method. For more information, visit https://stripe.com/docs/billing/subscriptions/"
        "payment-methods-setting#payment-method-priority.",
        code="resource_missing",
    )
