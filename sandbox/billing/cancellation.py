"""How subscriptions end: at once, or when their period does."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import invalid
from ..events import Journal, emit, emit_updated
from ..store import Context, Tx
from . import invoicing, lines, proration, subscribing
from .catalog import cost, is_metered

Object = dict[str, Any]


def set_details(subscription: Object, wanted: Object | None) -> None:
    """Keep the comment and feedback that came with a cancellation."""
    for name in ("comment", "feedback"):
        if wanted and name in wanted:
            subscription["cancellation_details"][name] = wanted[name] or None


def end_now(
    tx: Tx,
    ctx: Context,
    subscription: Object,
    *,
    details: Object | None = None,
    prorate: bool = False,
    invoice_now: bool = False,
    reason: str = "cancellation_requested",
) -> Object:
    """End a subscription. Its items keep their period; open invoices are no longer collected by themselves."""
    if prorate:
        _credit_unused(tx, ctx, subscription)
    scheduled = subscription["cancel_at_period_end"] or subscription["cancel_at"]
    if invoice_now or (subscription["cancel_at"] and subscription["cancel_at"] <= ctx.now):
        # A planned end bills the last usage and leaves pending items alone; invoice_now takes both.
        _final_invoice(tx, ctx, subscription, with_pending=invoice_now)
    subscription |= {
        "status": "canceled",
        "ended_at": ctx.now,
        # Set when the cancellation was asked for, and not again at the end.
        "canceled_at": subscription["canceled_at"] if scheduled and subscription["canceled_at"] else ctx.now,
        "cancel_at": subscription["cancel_at"] if scheduled else None,
    }
    subscription["cancellation_details"]["reason"] = reason
    set_details(subscription, details)
    subscribing.save(tx, ctx, subscription)
    for invoice in tx.find_by(ctx, "invoice", "parent.subscription_details.subscription", subscription["id"]):
        # Documented for finalized invoices; that drafts stay as they are, too, is a guess.
        if invoice["status"] in ("draft", "open"):
            stopped = {**invoice, "auto_advance": False, "next_payment_attempt": None}
            tx.save(ctx, stopped)
            tx.schedule(ctx, "invoice", invoice["id"], None)
            # Told of every change of an invoice: https://docs.stripe.com/api/events/types#event_types-invoice.updated
            emit_updated(tx, ctx, "invoice.updated", invoice, stopped)
    emit(tx, ctx, "customer.subscription.deleted", subscription)
    return subscription


def _credit_unused(tx: Tx, ctx: Context, subscription: Object) -> None:
    if subscription["status"] == "trialing":
        return
    debited = tx.private(ctx, "subscription", subscription["id"]).get("debited", {})
    for item in subscription["items"]["data"]:
        start, end = item["current_period_start"], item["current_period_end"]
        price, quantity = item["price"], item.get("quantity", 0)
        if is_metered(price):
            continue
        pending = lines.new_item(
            ctx,
            customer=subscription["customer"],
            amount=proration.unused_credit(
                debited.get(item["id"], cost(tx, ctx, price, quantity)), 1, end - ctx.now, end - start
            ),
            currency=price["currency"],
            description=f"Unused time on {lines.product_name(tx, ctx, price)} after {lines.day(ctx.now)}",
            period=(ctx.now, end),
            price=price,
            quantity=quantity,
            proration=True,
            discountable=False,
            subscription=subscription["id"],
            subscription_item=item["id"],
        )
        tx.insert(ctx, pending)
        emit(tx, ctx, "invoiceitem.created", pending)


def _last_usage(tx: Tx, ctx: Context, subscription: Object) -> list[Object]:
    """Make lines of what was used since the last renewal; none for what was not used, and none in a trial."""
    if subscription["status"] == "trialing":
        return []
    start, end = subscribing.period_of(subscription)
    used = (start, min(end, ctx.now))
    found = [
        lines.recurring_line(tx, ctx, subscription, item, used, used=used)
        for item in subscription["items"]["data"]
        if is_metered(item["price"])
    ]
    return [line for line in found if line["quantity"]]


def _final_invoice(tx: Tx, ctx: Context, subscription: Object, *, with_pending: bool) -> None:
    """Bill the last usage and what is pending. Recorded: a negative final invoice becomes uncollectible and its credit is lost."""
    customer = tx.get(ctx, "customer", subscription["customer"])
    pending = invoicing.pending_items(tx, ctx, subscription) if with_pending else []
    found = [*(lines.line_of_item(ctx, item) for item in pending), *_last_usage(tx, ctx, subscription)]
    if customer is None or not found:
        return
    journal = Journal()
    start, _ = subscribing.period_of(subscription)
    invoice = invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=subscription["currency"],
        lines=found,
        billing_reason="subscription_update",
        period=(start, ctx.now),
        subscription=subscription,
    )
    if invoice["total"] < 0:
        invoicing.finalize(tx, ctx, journal, invoice, customer, use_balance=False)
        invoice["status"] = "uncollectible"
        invoice["status_transitions"]["marked_uncollectible_at"] = ctx.now
        tx.save(ctx, invoice)
        journal.add("invoice.marked_uncollectible", invoice)
    else:
        invoicing.finalize(tx, ctx, journal, invoice, customer)
        invoicing.collect(
            tx, ctx, journal, invoice, invoicing.payment_method_for(tx, ctx, invoice, subscription), off_session=True
        )
    subscription["latest_invoice"] = invoice["id"]
    journal.release(tx, ctx)


def schedule_end(ctx: Context, subscription: Object, wanted: Any, *, at_period_end: bool) -> None:
    """Plan the end, or with None take the plan back. Raises: StripeError 400 for a time in the past."""
    if wanted is None:
        subscription |= {"cancel_at": None, "canceled_at": None, "cancel_at_period_end": False}
        subscription["cancellation_details"]["reason"] = None
        return
    end = subscribing.period_of(subscription)[1]
    at = end if wanted in ("min_period_end", "max_period_end") else int(wanted)
    if at <= ctx.now:
        raise invalid("The `cancel_at` timestamp must be in the future.", "cancel_at")
    subscription |= {"cancel_at": at, "canceled_at": ctx.now, "cancel_at_period_end": at_period_end}
    subscription["cancellation_details"]["reason"] = "cancellation_requested"


def expire_incomplete(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Give up on a first payment that never came."""
    before = copy.deepcopy(subscription)
    subscription |= {"status": "incomplete_expired", "ended_at": ctx.now}
    subscribing.save(tx, ctx, subscription)
    emit_updated(tx, ctx, "customer.subscription.updated", before, subscription)
    invoice = tx.get(ctx, "invoice", subscription["latest_invoice"] or "")
    if invoice and invoice["status"] == "open":
        journal = Journal()
        invoicing.void(tx, ctx, journal, invoice)
        journal.release(tx, ctx, ("invoice.voided",))
