"""The API's resume: a paused subscription is billed first, and becomes active when that is paid.

Source: https://docs.stripe.com/api/subscriptions/resume (an unpaid invoice leaves it paused with a pending update).
"""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError
from ..events import BILLED_AT_ONCE, Journal
from ..lookup import retrieve as find_one
from ..store import Context, Tx
from . import cards, changing, pending, pending_setup, subscribing
from .periods import period_after

Object = dict[str, Any]

# Where an event stands among the others is a guess.
ORDER = (
    "invoiceitem.created",
    *BILLED_AT_ONCE,
    "customer.subscription.updated",
    "customer.subscription.resumed",
)


def resume(tx: Tx, ctx: Context, subscription_id: str, params: Object) -> Object:
    """Resume a paused subscription. Raises: StripeError 400 for any other status."""
    subscription = find_one(tx, ctx, "subscription", subscription_id)
    if subscription["status"] != "paused":
        raise StripeError(
            f"You can only resume subscriptions with status `paused`. This subscription is {subscription['status']}."
        )
    journal = Journal()
    if subscription["pending_update"]:
        pending.drop(tx, ctx, journal, subscription)
    before = copy.deepcopy(subscription)
    debited = copy.deepcopy(tx.private(ctx, "subscription", subscription["id"]).get("debited", {}))
    whole = params.get("billing_cycle_anchor", "now") == "now"
    billed = _begin(tx, ctx, subscription, params, whole=whole)
    subscription["status"] = "active"
    result = None
    if billed:
        start = subscribing.period_of(before)[0]
        result = changing.invoice_now(
            tx, ctx, journal, subscription, whole_period=whole, start=start, reason="subscription_cycle"
        )
    if result is None or result.accepted:
        journal.add("customer.subscription.resumed", subscription, {"status": "paused"})
    else:
        pending.hold_back(tx, ctx, before, subscription, debited, subscription["latest_invoice"])
        customer = tx.get(ctx, "customer", subscription["customer"])
        if subscription["pending_setup_intent"] is None and customer:
            pending_setup.offer(tx, ctx, journal, subscription, cards.default_of(tx, ctx, customer, subscription))
        journal.add_updated("customer.subscription.updated", before, subscription)
    subscribing.save(tx, ctx, subscription)
    journal.release(tx, ctx, ORDER)
    return subscription


def _begin(tx: Tx, ctx: Context, subscription: Object, params: Object, *, whole: bool) -> bool:
    """Set the period that the resumed subscription is in; tells whether something is to be billed for it."""
    if whole:
        changing.restart_cycle(ctx, subscription)
        return True
    old = subscribing.period_of(subscription)
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    start, end = period_after(subscription["billing_cycle_anchor"], recurring, ctx.now)
    if (start, end) == old:
        # The running period has been billed already.
        return False
    for item in subscription["items"]["data"]:
        item |= {"current_period_start": start, "current_period_end": end}
    if params.get("proration_behavior", "create_prorations") == "none":
        return False
    swaps = [changing.Swap(None, item) for item in subscription["items"]["data"]]
    changing.proration_items(tx, ctx, subscription, swaps, ctx.now, credits_only=False)
    return True
