"""Updates of a subscription: items with proration, planned ends, and the plain fields."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError, invalid, not_simulated
from ..events import Journal, changes
from ..fields import apply_simple, merged_metadata, supported
from ..store import Context, Tx
from . import cancellation, cards, changing, settlement, subscribing

Object = dict[str, Any]

UPDATABLE = {
    "automatic_tax", "billing_cycle_anchor", "cancel_at", "cancel_at_period_end", "cancellation_details",
    "collection_method", "default_payment_method", "description", "items", "metadata", "off_session",
    "pause_collection", "payment_behavior", "payment_settings", "proration_behavior", "proration_date",
}  # fmt: skip
AFTER_THE_END = {"cancellation_details", "metadata"}
ORDER = (
    "invoiceitem.created",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalized",
    "charge.succeeded",
    "charge.failed",
    "payment_intent.created",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "customer.updated",
    "invoice_payment.paid",
)


def update(tx: Tx, ctx: Context, subscription: Object, params: Object) -> Object:
    """Apply the parameters of an update. Raises: StripeError 400; CardError 402 with error_if_incomplete."""
    if subscription["status"] in subscribing.TERMINAL and set(params) - AFTER_THE_END:
        raise StripeError(
            "A canceled subscription can only update its cancellation_details and metadata.",
            code="invalid_canceled_subscription_fields",
        )
    supported(params, UPDATABLE)
    _refuse_switches(params)
    before = copy.deepcopy(subscription)
    journal = Journal()
    _plain_fields(tx, ctx, subscription, params)
    _planned_end(ctx, subscription, params)
    swaps = changing.swap_items(tx, ctx, subscription, params["items"]) if params.get("items") else []
    restart = params.get("billing_cycle_anchor") == "now" or changing.restarts_cycle(swaps)
    if swaps or restart:
        _bill_change(tx, ctx, journal, before, subscription, swaps, params, restart=restart)
    subscribing.save(tx, ctx, subscription)
    previous = changes(before, subscription)
    if previous:
        journal.add("customer.subscription.updated", subscription, previous)
    journal.release(tx, ctx, ORDER)
    return subscription


def _refuse_switches(params: Object) -> None:
    if params.get("payment_behavior") in ("default_incomplete", "pending_if_incomplete"):
        raise not_simulated("payment_behavior")
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise not_simulated("collection_method")
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise not_simulated("automatic_tax")
    if params.get("billing_cycle_anchor") not in (None, "now", "unchanged"):
        raise invalid("Invalid billing_cycle_anchor: must be one of now or unchanged", "billing_cycle_anchor")
    if params.get("cancel_at") and params.get("cancel_at_period_end") is not None:
        raise invalid("You may only specify one of these parameters: cancel_at, cancel_at_period_end.")


def _plain_fields(tx: Tx, ctx: Context, subscription: Object, params: Object) -> None:
    apply_simple(subscription, params, ("description",))
    if "metadata" in params:
        subscription["metadata"] = merged_metadata(subscription["metadata"], params["metadata"])
    if "default_payment_method" in params:
        wanted = params["default_payment_method"]
        subscription["default_payment_method"] = (
            cards.attached(tx, ctx, wanted, subscription["customer"], "default_payment_method")["id"]
            if wanted
            else None
        )
    if "payment_settings" in params:
        supported(
            params["payment_settings"], {"payment_method_types", "save_default_payment_method"}, "payment_settings"
        )
        subscription["payment_settings"] |= params["payment_settings"]
    if "pause_collection" in params:
        pause = params["pause_collection"]
        if pause and pause.get("resumes_at"):
            raise not_simulated("pause_collection[resumes_at]")
        subscription["pause_collection"] = {"behavior": pause["behavior"], "resumes_at": None} if pause else None


def _planned_end(ctx: Context, subscription: Object, params: Object) -> None:
    cancellation.set_details(subscription, params.get("cancellation_details"))
    if params.get("cancel_at_period_end") is True and not subscription["cancel_at_period_end"]:
        cancellation.schedule_end(ctx, subscription, "max_period_end", at_period_end=True)
    elif params.get("cancel_at_period_end") is False:
        cancellation.schedule_end(ctx, subscription, None, at_period_end=False)
    if "cancel_at" in params:
        cancellation.schedule_end(ctx, subscription, params["cancel_at"] or None, at_period_end=False)


def proration_date(ctx: Context, subscription: Object, params: Object) -> int:
    """Give the moment from which a change counts. Raises: StripeError 400 outside the current period."""
    at = params.get("proration_date")
    if at is None:
        return ctx.now
    start, end = subscribing.period_of(subscription)
    if not start <= at <= end:
        raise invalid(
            "Invalid proration_date: it must be within the current period of the subscription.", "proration_date"
        )
    return int(at)


def _bill_change(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    before: Object,
    subscription: Object,
    swaps: list[changing.Swap],
    params: Object,
    *,
    restart: bool,
) -> None:
    behavior = params.get("proration_behavior") or "create_prorations"
    at = proration_date(ctx, before, params)
    start = subscribing.period_of(before)[0]
    in_trial = subscription["status"] == "trialing"
    pending: list[Object] = []
    if behavior != "none" and not in_trial:
        if restart:
            swaps = _all_items(before, subscription)
        pending = changing.proration_items(tx, ctx, before, swaps, at, credits_only=restart)
    if restart and not in_trial:
        changing.restart_cycle(ctx, subscription)
    if in_trial or not (restart or behavior == "always_invoice"):
        # Recorded for pending items only: an invoice that is made at once comes without their events.
        for item in pending:
            journal.add("invoiceitem.created", item)
        return
    customer_before = tx.get(ctx, "customer", subscription["customer"])
    result = changing.invoice_now(tx, ctx, journal, subscription, whole_period=restart, start=start)
    if result is not None and result.kind != "paid":
        if params.get("payment_behavior") == "error_if_incomplete":
            settlement.refuse_unpaid(
                result,
                "subscription_payment_intent_requires_action",
                f"subscription {subscription['id']}",
                keep_effects=False,
            )
        # The price is changed all the same; the subscription owes.
        subscription["status"] = settlement.AFTER_FAILURE.get(subscription["status"], subscription["status"])
    customer_after = tx.get(ctx, "customer", subscription["customer"])
    if customer_before and customer_after:
        journal.add_updated("customer.updated", customer_before, customer_after, ignore=("next_invoice_sequence",))


def _all_items(before: Object, after: Object) -> list[changing.Swap]:
    """Pair every item with what became of it: a new period credits all of the old one."""
    new = {item["id"]: item for item in after["items"]["data"]}
    pairs = [changing.Swap(item, new.pop(item["id"], None)) for item in before["items"]["data"]]
    return pairs + [changing.Swap(None, item) for item in new.values()]
