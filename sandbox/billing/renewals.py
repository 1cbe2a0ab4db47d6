"""The turn of a period: the items move on, an invoice is made for the new period, and it is paid or not.

Stripe leaves the invoice a draft for about an hour; here it is finalized and charged at once.
"""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError
from ..events import Journal, emit
from ..lookup import retrieve as find_one
from ..store import Context, Tx
from . import cancellation, invoicing, lines, settlement, subscribing
from .payments import Attempt
from .periods import period_after

Object = dict[str, Any]

PAID_ORDER = (
    "invoice.created",
    "invoice.finalized",
    "charge.succeeded",
    "payment_intent.succeeded",
    "payment_intent.created",
    "invoice.paid",
    # A recovery; the turn of the period itself is told before everything else.
    "customer.subscription.updated",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
)
FAILED_ORDER = (
    "invoice.created",
    "invoice.finalized",
    "charge.failed",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.updated",
)
FORCED = {"paid": "pay", "declined": "generic_decline"}


def renew(tx: Tx, ctx: Context, subscription_id: str, *, outcome: str | None = None) -> Object:
    """Take a subscription over the end of its period.

    `outcome` (paid, declined) overrides what the card would do. Raises: StripeError 400 for an ended subscription.
    """
    subscription = find_one(tx, ctx, "subscription", subscription_id)
    if subscription["status"] in (*subscribing.TERMINAL, "incomplete", "paused"):
        raise StripeError(f"A subscription that is {subscription['status']} does not renew.")
    old_period = subscribing.period_of(subscription)
    if subscription["cancel_at"] and subscription["cancel_at"] <= old_period[1]:
        return cancellation.end_now(tx, ctx, subscription)
    journal = Journal()
    before = copy.deepcopy(subscription)
    _roll(ctx, subscription, old_period[1])
    customer = tx.get(ctx, "customer", subscription["customer"])
    assert customer is not None
    invoice = _cycle_invoice(tx, ctx, journal, subscription, customer, old_period)
    subscription["latest_invoice"] = invoice["id"]
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    subscribing.save(tx, ctx, subscription)
    _note_debits(tx, ctx, subscription)
    journal.add_updated("customer.subscription.updated", before, subscription)
    result = _collect(tx, ctx, journal, subscription, invoice, customer, outcome)
    paid = result is None or result.kind == "paid"
    if not paid:
        settlement.after_failure(tx, ctx, journal, subscription)
    elif invoice["status"] == "paid":
        settlement.after_payment(tx, ctx, journal, invoice)
    roll, rest = journal.split_first("customer.subscription.updated")
    roll.release(tx, ctx)
    rest.release(tx, ctx, PAID_ORDER if paid else FAILED_ORDER)
    return tx.get(ctx, "subscription", subscription_id) or subscription


def _roll(ctx: Context, subscription: Object, start: int) -> None:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    _, end = period_after(subscription["billing_cycle_anchor"], recurring, start)
    for item in subscription["items"]["data"]:
        item |= {"current_period_start": start, "current_period_end": end}


def _cycle_invoice(
    tx: Tx, ctx: Context, journal: Journal, subscription: Object, customer: Object, old_period: tuple[int, int]
) -> Object:
    period = subscribing.period_of(subscription)
    found = [lines.line_of_item(ctx, item) for item in invoicing.pending_items(tx, ctx, subscription)]
    found += [lines.recurring_line(tx, ctx, subscription, item, period) for item in subscription["items"]["data"]]
    return invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=subscription["currency"],
        lines=found,
        billing_reason="subscription_cycle",
        # The invoice looks back on the period that ended, its lines forward to the new one.
        period=old_period,
        subscription=subscription,
        auto_advance=subscription["pause_collection"] is None,
    )


def _note_debits(tx: Tx, ctx: Context, subscription: Object) -> None:
    private = tx.private(ctx, "subscription", subscription["id"])
    private["debited"] = {
        item["id"]: item["price"]["unit_amount"] * item["quantity"] for item in subscription["items"]["data"]
    }
    tx.save_private(ctx, "subscription", subscription["id"], private)


def _collect(
    tx: Tx, ctx: Context, journal: Journal, subscription: Object, invoice: Object, customer: Object, outcome: str | None
) -> Attempt | None:
    pause = subscription["pause_collection"]
    if pause and pause["behavior"] == "keep_as_draft":
        return None
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    if pause:
        _set_aside(tx, ctx, journal, invoice, pause["behavior"])
        return None
    payment_method = invoicing.payment_method_for(tx, ctx, invoice, subscription)
    forced = FORCED.get(outcome or "")
    return invoicing.collect(
        tx, ctx, journal, invoice, payment_method, description="Subscription update", off_session=True, forced=forced
    )


def _set_aside(tx: Tx, ctx: Context, journal: Journal, invoice: Object, behavior: str) -> None:
    if behavior == "void":
        invoicing.void(tx, ctx, journal, invoice)
        return
    invoice["status"] = "uncollectible"
    invoice["status_transitions"]["marked_uncollectible_at"] = ctx.now
    tx.save(ctx, invoice)
    journal.add("invoice.marked_uncollectible", invoice)


def expire(tx: Tx, ctx: Context, subscription_id: str) -> Object:
    """Let an incomplete subscription's 23 hours pass at once. Raises: StripeError 400."""
    subscription = find_one(tx, ctx, "subscription", subscription_id)
    if subscription["status"] != "incomplete":
        raise StripeError(f"A subscription that is {subscription['status']} has no first payment to wait for.")
    cancellation.expire_incomplete(tx, ctx, subscription)
    return subscription


def pause(tx: Tx, ctx: Context, subscription_id: str) -> Object:
    """Put a subscription into `paused`, as a trial without a card may end. Raises: StripeError 400."""
    subscription = find_one(tx, ctx, "subscription", subscription_id)
    if subscription["status"] not in ("active", "trialing"):
        raise StripeError(f"A subscription that is {subscription['status']} cannot be paused.")
    before = copy.deepcopy(subscription)
    subscription["status"] = "paused"
    subscribing.save(tx, ctx, subscription)
    emit(tx, ctx, "customer.subscription.paused", subscription, {"status": before["status"]})
    return subscription


def resume(tx: Tx, ctx: Context, subscription_id: str) -> Object:
    """Make a paused subscription active again.

    A guess: recorded answers of the real resume were still `paused` and waited for a payment. Raises: StripeError 400.
    """
    subscription = find_one(tx, ctx, "subscription", subscription_id)
    if subscription["status"] != "paused":
        raise StripeError(
            f"You can only resume subscriptions with status `paused`. This subscription is {subscription['status']}."
        )
    subscription["status"] = "active"
    subscribing.save(tx, ctx, subscription)
    emit(tx, ctx, "customer.subscription.resumed", subscription, {"status": "paused"})
    return subscription
