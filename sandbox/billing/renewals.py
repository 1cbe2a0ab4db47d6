"""The turn of a period: the items move on, and an invoice is made for the new period.

Where time brings it about, the invoice stays a draft for an hour (dunning.py takes it from there); the switch for
tests finalizes and charges it at once.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from ..errors import StripeError
from ..events import Journal, emit
from ..lookup import retrieve as find_one
from ..store import Context, Tx
from . import cancellation, cards, dunning, invoicing, lines, subscribing
from .payments import Attempt
from .periods import period_after

Object = dict[str, Any]

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
    journal.add_updated("customer.subscription.updated", before, subscription)
    result = _collect(tx, ctx, journal, subscription, invoice, customer, outcome)
    roll, rest = journal.split_first("customer.subscription.updated")
    roll.release(tx, ctx)
    dunning.settle(tx, ctx, rest, invoice, subscription, result)
    return tx.get(ctx, "subscription", subscription_id) or subscription


def turn(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Let time take a subscription over the end of its period: the invoice becomes a draft that waits for its hour."""
    customer = tx.get(ctx, "customer", subscription["customer"])
    assert customer is not None
    if subscription["status"] == "trialing" and _ends_without_card(tx, ctx, subscription, customer):
        return
    journal = Journal()
    before = copy.deepcopy(subscription)
    old_period = subscribing.period_of(subscription)
    _roll(ctx, subscription, old_period[1])
    invoice = _cycle_invoice(tx, ctx, journal, subscription, customer, old_period)
    subscription["latest_invoice"] = invoice["id"]
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    subscribing.save(tx, ctx, subscription)
    dunning.plan(tx, ctx, invoice)
    journal.add_updated("customer.subscription.updated", before, subscription)
    journal.release(tx, ctx, ("customer.subscription.updated",))


def _ends_without_card(tx: Tx, ctx: Context, subscription: Object, customer: Object) -> bool:
    """End or pause a trial that no card was given for, where the subscription says so."""
    wanted = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if wanted == "create_invoice" or cards.default_of(tx, ctx, customer, subscription) is not None:
        return False
    if wanted == "cancel":
        cancellation.end_now(tx, ctx, subscription)
    else:
        put_on_hold(tx, ctx, subscription)
    return True


def put_on_hold(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Pause a subscription (its status, not its collection), with its event."""
    before = subscription["status"]
    subscription["status"] = "paused"
    subscribing.save(tx, ctx, subscription)
    emit(tx, ctx, "customer.subscription.paused", subscription, {"status": before})


def give_notice(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Announce the next renewal with the invoice as it would be today."""
    private = tx.private(ctx, "subscription", subscription["id"])
    end = subscribing.period_of(subscription)[1]
    tx.save_private(ctx, "subscription", subscription["id"], {**private, "upcoming_notice": end})
    subscribing.plan_ahead(tx, ctx, subscription)
    emit(tx, ctx, "invoice.upcoming", as_preview(upcoming(tx, ctx, subscription)))


def upcoming(tx: Tx, ctx: Context, subscription: Object) -> Object:
    """Make the invoice of the next period without storing it."""
    customer = tx.get(ctx, "customer", subscription["customer"])
    assert customer is not None
    start, end = subscribing.period_of(subscription)
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    period = (end, period_after(subscription["billing_cycle_anchor"], recurring, end)[1])
    found = [lines.line_of_item(ctx, item) for item in invoicing.pending_items(tx, ctx, subscription)]
    found += [
        lines.recurring_line(tx, ctx, subscription, item, period, used=(start, end))
        for item in subscription["items"]["data"]
    ]
    invoice = invoicing.draft(
        tx,
        # Discounts count as they will be at the turn of the period.
        replace(ctx, now=end),
        customer=customer,
        currency=subscription["currency"],
        lines=found,
        billing_reason="upcoming",
        period=(start, end),
        subscription=subscription,
    )
    invoicing.settle_amounts(invoice, customer["balance"])
    return invoice | {"created": end, "next_payment_attempt": end + invoicing.DRAFT_SECONDS}


def as_preview(invoice: Object) -> Object:
    """Give an invoice that is not stored the kind of id that Stripe gives it."""
    preview_id = invoice["id"].replace("in_", "upcoming_in_", 1)
    for line in invoice["lines"]["data"]:
        line["invoice"] = preview_id
    invoice["lines"]["url"] = f"/v1/invoices/{preview_id}/lines"
    return {**invoice, "id": preview_id}


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
    # Usage of a trial is free.
    used = None if subscription["status"] == "trialing" else old_period
    found += [
        lines.recurring_line(tx, ctx, subscription, item, period, used=used) for item in subscription["items"]["data"]
    ]
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
        # Drafts of an unpaid subscription, and those of a collection paused that way, stay drafts.
        auto_advance=subscription["status"] != "unpaid"
        and (subscription["pause_collection"] or {}).get("behavior") != "keep_as_draft",
    )


def _collect(
    tx: Tx, ctx: Context, journal: Journal, subscription: Object, invoice: Object, customer: Object, outcome: str | None
) -> Attempt | None:
    pause = subscription["pause_collection"]
    if pause and pause["behavior"] == "keep_as_draft":
        return None
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    if pause:
        dunning.set_aside(tx, ctx, journal, invoice, pause["behavior"])
        return None
    payment_method = invoicing.payment_method_for(tx, ctx, invoice, subscription)
    forced = FORCED.get(outcome or "", outcome if outcome in cards.DECLINES else None)
    return invoicing.collect(
        tx, ctx, journal, invoice, payment_method, description="Subscription update", off_session=True, forced=forced
    )


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
    put_on_hold(tx, ctx, subscription)
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
