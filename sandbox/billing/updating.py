"""Updates of a subscription: items with proration, planned ends, and the plain fields."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError, invalid, not_simulated
from ..events import BILLED_AT_ONCE, Journal, changes
from ..fields import apply_simple, merged_metadata, supported
from ..store import Context, Tx
from . import cancellation, cards, changing, discounts, pending, settlement, subscribing, tax, trials
from .catalog import cost

Object = dict[str, Any]

UPDATABLE = {
    "automatic_tax", "billing_cycle_anchor", "cancel_at", "cancel_at_period_end", "cancellation_details",
    "collection_method", "default_payment_method", "description", "discounts", "items", "metadata", "off_session",
    "pause_collection", "payment_behavior", "payment_settings", "proration_behavior", "proration_date", "trial_end",
    "trial_settings",
}  # fmt: skip
# Source: https://docs.stripe.com/billing/subscriptions/pending-updates-reference
WITH_PENDING = {
    "billing_cycle_anchor", "items", "off_session", "payment_behavior", "proration_behavior", "proration_date",
    "trial_end",
}  # fmt: skip
AFTER_THE_END = {"cancellation_details", "metadata"}
ORDER = (
    "invoiceitem.created",
    "customer.subscription.updated",
    *BILLED_AT_ONCE,
    "customer.subscription.paused",
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
    _reductions(tx, ctx, journal, subscription, params)
    swaps = changing.swap_items(tx, ctx, subscription, params["items"]) if params.get("items") else []
    trial = trials.change(tx, ctx, journal, subscription, params["trial_end"]) if params.get("trial_end") else None
    if trial == trials.CANCELED:
        journal.release(tx, ctx, ORDER)
        return cancellation.end_now(tx, ctx, subscription)
    restart = params.get("billing_cycle_anchor") == "now" or changing.restarts_cycle(swaps)
    if swaps or restart or trial in (trials.ENDED, trials.STARTED):
        if subscription["pending_update"]:
            pending.drop(tx, ctx, journal, subscription)
        _bill_change(tx, ctx, journal, before, subscription, swaps, params, restart=restart, trial=trial)
    if trial == trials.PAUSED:
        subscription["status"] = "paused"
        journal.add("customer.subscription.paused", subscription, {"status": before["status"]})
    subscribing.save(tx, ctx, subscription)
    previous = changes(before, subscription)
    if previous and trial != trials.PAUSED:
        journal.add("customer.subscription.updated", subscription, previous)
    subscribing.give_trial_notice(tx, ctx, journal, subscription)
    journal.release(tx, ctx, ORDER)
    return subscription


def _reductions(tx: Tx, ctx: Context, journal: Journal, subscription: Object, params: Object) -> None:
    """Apply automatic_tax and discounts: a list takes the place of the old one, an empty text takes all off."""
    customer = tx.get(ctx, "customer", subscription["customer"])
    assert customer is not None
    if "automatic_tax" in params:
        if params["automatic_tax"]["enabled"]:
            tax.switch_on(subscription, customer)
        else:
            tax.switch_off(subscription)
    if "discounts" not in params:
        return
    items = subscription["items"]["data"]
    whole = sum(cost(tx, ctx, item["price"], item.get("quantity")) for item in items)
    sources = discounts.checked(
        tx, ctx, params["discounts"], customer=customer, currency=subscription["currency"], amount=whole
    )
    kept = {source.existing["id"] for source in sources if source.existing}
    for discount_id in [each for each in subscription["discounts"] if each not in kept]:
        discounts.remove(tx, ctx, journal, subscription, discount_id)
    subscription["discounts"] = discounts.redeem(
        tx, ctx, journal, sources, customer=subscription["customer"], subscription=subscription["id"]
    )


def _refuse_switches(params: Object) -> None:
    if params.get("payment_behavior") == "pending_if_incomplete" and set(params) - WITH_PENDING:
        raise invalid(
            "When `payment_behavior` is set to `pending_if_incomplete`, you can only pass supported params: "
            f"{', '.join(sorted(WITH_PENDING))}.",
            min(set(params) - WITH_PENDING),
        )
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise not_simulated("collection_method")
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
        subscribing.set_payment_settings(subscription, params["payment_settings"])
    if "pause_collection" in params:
        pause = params["pause_collection"]
        resumes_at = pause.get("resumes_at") if pause else None
        if resumes_at is not None and resumes_at <= ctx.now:
            raise invalid("The `resumes_at` timestamp must be in the future.", "pause_collection[resumes_at]")
        subscription["pause_collection"] = {"behavior": pause["behavior"], "resumes_at": resumes_at} if pause else None
    trials.set_settings(subscription, params.get("trial_settings"))


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
    trial: str | None = None,
) -> None:
    behavior = params.get("proration_behavior") or "create_prorations"
    at = proration_date(ctx, before, params)
    start = subscribing.period_of(before)[0]
    debited = copy.deepcopy(tx.private(ctx, "subscription", subscription["id"]).get("debited", {}))
    in_trial = subscription["status"] == "trialing" and trial is None
    whole = restart or trial is not None
    made: list[Object] = []
    if behavior != "none" and before["status"] != "trialing":
        if whole:
            swaps = _all_items(before, subscription)
        made = changing.proration_items(tx, ctx, before, swaps, at, credits_only=whole)
    if restart and not in_trial and trial is None:
        changing.restart_cycle(ctx, subscription)
    if in_trial or not (whole or behavior == "always_invoice"):
        # Recorded for pending items only: an invoice that is made at once comes without their events.
        for item in made:
            journal.add("invoiceitem.created", item)
        return
    customer_before = tx.get(ctx, "customer", subscription["customer"])
    result = changing.invoice_now(
        tx,
        ctx,
        journal,
        subscription,
        whole_period=whole,
        start=start,
        trial=trial == trials.STARTED,
        wait=params.get("payment_behavior") == "default_incomplete",
    )
    if result is not None and not result.accepted:
        if params.get("payment_behavior") == "error_if_incomplete":
            settlement.refuse_unpaid(
                result,
                "subscription_payment_intent_requires_action",
                f"subscription {subscription['id']}",
                keep_effects=False,
            )
        if params.get("payment_behavior") == "pending_if_incomplete":
            pending.hold_back(tx, ctx, before, subscription, debited, subscription["latest_invoice"])
        else:
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
