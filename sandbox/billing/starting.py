"""Starts subscriptions through the API, where (unlike in checkout) the first payment may still be missing."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import invalid, not_simulated, requires
from ..events import Journal
from ..fields import merged_metadata, supported
from ..store import Context, Tx
from . import (
    anchoring,
    cancellation,
    cards,
    changing,
    clocks,
    discounts,
    invoicing,
    lines,
    pending_setup,
    settlement,
    subscribing,
    tax,
    totals,
    trials,
)
from .catalog import cost, is_metered
from .payments import Attempt
from .periods import DAY_SECONDS, period_after

Object = dict[str, Any]

# The order in which these arrive from Stripe, as recorded; Stripe promises none.
ORDER = (
    "setup_intent.created",
    "setup_intent.requires_action",
    "charge.succeeded",
    "charge.failed",
    "customer.updated",
    "customer.subscription.created",
    "customer.subscription.trial_will_end",
    "payment_intent.succeeded",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice_payment.paid",
)


def checked_items(tx: Tx, ctx: Context, wanted: list[Object] | None) -> list[tuple[Object, int]]:
    """Read the prices and quantities of a new subscription. Raises: StripeError 400."""
    if not wanted:
        raise requires("items")
    found = []
    for index, entry in enumerate(wanted):
        path = f"items[{index}]"
        supported(entry, {"metadata", "price", "quantity"}, path)
        if not entry.get("price"):
            raise requires(f"{path}[price]")
        price = changing.checked_price(tx, ctx, entry["price"], f"{path}[price]")
        if is_metered(price) and entry.get("quantity") is not None:
            raise invalid(f"You cannot set the quantity for metered plans. Plan: {price['id']}", f"{path}[quantity]")
        found.append((price, entry.get("quantity", 1)))
    if len({price["id"] for price, _ in found}) < len(found):
        raise invalid("Cannot add multiple subscription items with the same plan.", "items")
    if len({price["currency"] for price, _ in found}) > 1:
        raise invalid("All prices on a subscription must have the same currency.", "items")
    if len({(p["recurring"]["interval"], p["recurring"]["interval_count"]) for p, _ in found}) > 1:
        raise not_simulated("items (prices with different intervals on one subscription)")
    return found


def start(tx: Tx, ctx: Context, customer: Object, params: Object) -> Object:
    """Create a subscription and its first invoice, and try to collect it.

    Raises: StripeError 400; CardError 402 with error_if_incomplete, which writes nothing.
    """
    prices = checked_items(tx, ctx, params.get("items"))
    behavior = params.get("payment_behavior") or "allow_incomplete"
    payment_method = _payment_method(tx, ctx, customer, params)
    clocks.check_subscriptions(tx, ctx, customer["id"])
    trial_end = _trial_end(ctx, params)
    anchor = anchoring.wanted(ctx, params, prices[0][0]["recurring"])
    costs = [cost(tx, ctx, price, quantity) for price, quantity in prices]
    if anchor:
        costs = [anchor.part_of(whole, ctx.now) for whole in costs]
    due = 0 if trial_end else sum(costs)
    sources = discounts.checked(
        tx, ctx, params.get("discounts"), customer=customer, currency=prices[0][0]["currency"], amount=due
    )
    off = totals.discounted(
        [totals.Priced(part, price["product"]) for part, (price, _) in zip(costs, prices, strict=True)],
        [source.coupon for source in sources],
    )
    if payment_method is None and due > sum(map(sum, off)) and behavior != "default_incomplete":
        raise settlement.no_payment_method()
    first_end = trial_end or (anchor.at if anchor else None)
    period = (ctx.now, first_end) if first_end else period_after(ctx.now, prices[0][0]["recurring"], ctx.now)
    subscription = subscribing.new_subscription(
        tx,
        ctx,
        customer=customer["id"],
        prices=prices,
        period=period,
        anchor=first_end or ctx.now,
        status="trialing" if trial_end else "incomplete",
        metadata=merged_metadata({}, params.get("metadata")),
        description=params.get("description"),
        default_payment_method=payment_method["id"]
        if payment_method and params.get("default_payment_method")
        else None,
        trial_end=trial_end,
    )
    for item, entry in zip(subscription["items"]["data"], params["items"], strict=True):
        item["metadata"] = merged_metadata({}, entry.get("metadata"))
    _plan_end(ctx, subscription, params)
    subscribing.set_payment_settings(subscription, params.get("payment_settings") or {})
    trials.set_settings(subscription, params.get("trial_settings"))
    journal = Journal()
    if (params.get("automatic_tax") or {}).get("enabled"):
        tax.switch_on(subscription, customer)
    subscription["discounts"] = discounts.redeem(
        tx, ctx, journal, sources, customer=customer["id"], subscription=subscription["id"]
    )
    if anchor:
        anchoring.note_debits(tx, ctx, subscription, anchor)
    _bill(tx, ctx, journal, subscription, customer, payment_method, behavior, anchor)
    journal.add("customer.subscription.created", subscription)
    subscribing.give_trial_notice(tx, ctx, journal, subscription)
    journal.release(tx, ctx, ORDER)
    return subscription


def _trial_end(ctx: Context, params: Object) -> int | None:
    days, end = params.get("trial_period_days"), params.get("trial_end")
    if days and end:
        raise invalid("You may only specify one of these parameters: trial_end, trial_period_days.")
    if end and end != "now":
        return trials.checked_end(ctx, int(end))
    return ctx.now + days * DAY_SECONDS if days else None


def _plan_end(ctx: Context, subscription: Object, params: Object) -> None:
    if params.get("cancel_at_period_end"):
        cancellation.schedule_end(ctx, subscription, "max_period_end", at_period_end=True)
    elif params.get("cancel_at"):
        cancellation.schedule_end(ctx, subscription, params["cancel_at"], at_period_end=False)


def _payment_method(tx: Tx, ctx: Context, customer: Object, params: Object) -> Object | None:
    if params.get("default_payment_method"):
        return cards.attached(tx, ctx, params["default_payment_method"], customer["id"], "default_payment_method")
    return cards.default_of(tx, ctx, customer)


def _bill(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    subscription: Object,
    customer: Object,
    payment_method: Object | None,
    behavior: str,
    anchor: anchoring.Anchor | None,
) -> None:
    before = copy.deepcopy(customer)
    customer["currency"] = customer["currency"] or subscription["currency"]
    trial = subscription["status"] == "trialing"
    period = subscribing.period_of(subscription)
    invoice = invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=subscription["currency"],
        lines=[
            anchoring.first_line(tx, ctx, subscription, item, anchor)
            if anchor
            else lines.recurring_line(tx, ctx, subscription, item, period, trial=trial)
            for item in subscription["items"]["data"]
        ],
        billing_reason="subscription_create",
        period=(ctx.now, ctx.now),
        subscription=subscription,
    )
    subscription["latest_invoice"] = invoice["id"]
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    result = _first_payment(tx, ctx, journal, invoice, payment_method, behavior)
    if behavior == "error_if_incomplete":
        settlement.refuse_unpaid(
            result,
            "subscription_payment_intent_requires_action",
            f"subscription {subscription['id']}",
            keep_effects=False,
        )
    if result is None:
        pending_setup.offer(tx, ctx, journal, subscription, payment_method)
    if not trial and (result is None or result.accepted):
        subscription["status"] = "active"
    subscribing.save(tx, ctx, subscription)
    journal.add_updated("customer.updated", before, customer, ignore=("next_invoice_sequence",))


def _first_payment(
    tx: Tx, ctx: Context, journal: Journal, invoice: Object, payment_method: Object | None, behavior: str
) -> Attempt | None:
    if behavior != "default_incomplete" or invoice["amount_due"] == 0:
        return invoicing.collect(tx, ctx, journal, invoice, payment_method, description="Subscription creation")
    intent = invoicing.await_payment(tx, ctx, journal, invoice, payment_method, "Subscription creation")
    return Attempt("unpaid", intent)
