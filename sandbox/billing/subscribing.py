"""Subscription objects: how one is made, kept and shown. The period lives on the items only."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..events import Journal
from ..fields import filled, supported
from ..store import Context, Tx
from . import agenda
from .agenda import TERMINAL as TERMINAL
from .agenda import period_of as period_of
from .agenda import trial_notice_at
from .catalog import cost, is_metered, plan_of

Object = dict[str, Any]


def new_item(ctx: Context, subscription_id: str, price: Object, quantity: int, period: tuple[int, int]) -> Object:
    """Make one item of a subscription."""
    item: Object = {
        "id": ids.new_id("subscription_item"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": ctx.now,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "current_trial": None,
        "discounts": [],
        "metadata": {},
        "plan": plan_of(price),
        "price": price,
        "subscription": subscription_id,
        "tax_rates": [],
    }
    # Usage has no quantity.
    return item if is_metered(price) else {**item, "quantity": quantity}


# What every subscription of this sandbox has in common.
BLANK: Object = {
    "object": "subscription",
    "application": None,
    "application_fee_percent": None,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
    "billing_cycle_anchor_config": None,
    "billing_schedules": [],
    "billing_thresholds": None,
    "cancel_at": None,
    "cancel_at_period_end": False,
    "canceled_at": None,
    "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
    "collection_method": "charge_automatically",
    "customer_account": None,
    "days_until_due": None,
    "default_source": None,
    "default_tax_rates": [],
    "discounts": [],
    "ended_at": None,
    "invoice_settings": {
        "account_tax_ids": None,
        "custom_fields": None,
        "description": None,
        "footer": None,
        "issuer": {"type": "self"},
    },
    "latest_invoice": None,
    "managed_payments": {"enabled": False},
    "next_pending_invoice_item_invoice": None,
    "on_behalf_of": None,
    "pause_collection": None,
    "payment_settings": {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    },
    "pending_invoice_item_interval": None,
    "pending_setup_intent": None,
    "pending_update": None,
    "schedule": None,
    "test_clock": None,
    "transfer_data": None,
    "trial_settings": {"end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": "create_invoice"}},
}


def new_subscription(
    tx: Tx,
    ctx: Context,
    *,
    customer: str,
    prices: list[tuple[Object, int]],
    period: tuple[int, int],
    anchor: int,
    status: str,
    metadata: Object | None = None,
    description: str | None = None,
    default_payment_method: str | None = None,
    trial_end: int | None = None,
) -> Object:
    """Add a subscription without its event; `prices` are (price, quantity)."""
    subscription_id = ids.new_id("subscription")
    items = [new_item(ctx, subscription_id, price, quantity, period) for price, quantity in prices]
    subscription: Object = filled(
        BLANK,
        id=subscription_id,
        billing_cycle_anchor=anchor,
        billing_mode={
            "flexible": {"proration_discounts": "included"},
            "type": "flexible",
            "updated_at": ctx.now,
        },
        created=ctx.now,
        currency=prices[0][0]["currency"],
        customer=customer,
        default_payment_method=default_payment_method,
        description=description,
        items={
            "object": "list",
            "data": items,
            "has_more": False,
            "total_count": len(items),
            "url": f"/v1/subscription_items?subscription={subscription_id}",
        },
        livemode=ctx.livemode,
        metadata=metadata or {},
        start_date=ctx.now,
        status=status,
        trial_end=trial_end,
        trial_start=ctx.now if trial_end else None,
    )
    echo_legacy_plan(subscription)
    debited = {item["id"]: cost(tx, ctx, item["price"], item.get("quantity")) for item in items}
    tx.insert(ctx, subscription, {"debited": debited})
    for item in items:
        tx.insert(ctx, item)
    plan_ahead(tx, ctx, subscription)
    return subscription


def set_payment_settings(subscription: Object, wanted: Object) -> None:
    """Apply the payment_settings parameter. Raises: StripeError 400 for what would do nothing here."""
    supported(wanted, {"payment_method_types", "save_default_payment_method"}, "payment_settings")
    subscription["payment_settings"] |= {name: value or None for name, value in wanted.items()}


def echo_legacy_plan(subscription: Object) -> None:
    """Keep the plan and quantity that this version still shows at the top of subscriptions with one item."""
    items = subscription["items"]["data"]
    subscription["plan"] = items[0]["plan"] if len(items) == 1 else None
    subscription["quantity"] = items[0].get("quantity") if len(items) == 1 else None


def save(tx: Tx, ctx: Context, subscription: Object) -> Object:
    """Write a subscription and its items back, and plan what time will do to it."""
    items = subscription["items"]["data"]
    subscription["items"]["total_count"] = len(items)
    echo_legacy_plan(subscription)
    tx.save(ctx, subscription)
    kept = {item["id"] for item in items}
    for old in tx.find_by(ctx, "subscription_item", "subscription", subscription["id"]):
        if old["id"] not in kept:
            tx.mark_deleted(ctx, "subscription_item", old["id"])
    for item in items:
        if tx.get(ctx, "subscription_item", item["id"]) is None:
            tx.insert(ctx, item)
        else:
            tx.save(ctx, item)
    plan_ahead(tx, ctx, subscription)
    return subscription


def plan_ahead(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Say when time will next change this subscription."""
    ahead = agenda.moments(tx, ctx, subscription)
    tx.schedule(ctx, "subscription", subscription["id"], ahead[0][0] if ahead else None)


def give_trial_notice(tx: Tx, ctx: Context, journal: Journal, subscription: Object) -> bool:
    """Announce the end of a trial once, when it is near enough; tells whether it did."""
    notice = trial_notice_at(subscription)
    private = tx.private(ctx, "subscription", subscription["id"])
    if notice is None or notice > ctx.now or private.get("trial_notice"):
        return False
    tx.save_private(ctx, "subscription", subscription["id"], {**private, "trial_notice": ctx.now})
    plan_ahead(tx, ctx, subscription)
    journal.add("customer.subscription.trial_will_end", subscription)
    return True


def refresh_price(tx: Tx, ctx: Context, price: Object) -> None:
    """Show a changed price in the subscriptions that hold it."""
    for subscription in tx.find(ctx, "subscription", " AND json LIKE ?", (f'%"{price["id"]}"%',)):
        for item in subscription["items"]["data"]:
            if item["price"]["id"] == price["id"]:
                item["price"] = price
                item["plan"] = plan_of(price)
        save(tx, ctx, subscription)
