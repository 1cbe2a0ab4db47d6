"""Subscriptions whose cycle begins later than they do: the time until then is a short first period.

A guess: no recording shows the first invoice of one.
Source: https://docs.stripe.com/billing/subscriptions/billing-cycle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import invalid, not_simulated
from ..store import Context, Tx
from . import discounts, lines, proration
from .catalog import cost, is_metered
from .periods import period_after

Object = dict[str, Any]


@dataclass(frozen=True)
class Anchor:
    """Where the cycle begins, the whole period that the first one is a part of, and whether that part is charged."""

    at: int
    begins: int
    is_charged: bool

    def part_of(self, amount: int, now: int) -> int:
        """Give what the short first period costs."""
        return proration.remaining_charge(amount, 1, self.at - now, self.at - self.begins) if self.is_charged else 0


def wanted(ctx: Context, params: Object, recurring: Object) -> Anchor | None:
    """Read billing_cycle_anchor of a new subscription. Raises: StripeError 400 outside the next period."""
    at = params.get("billing_cycle_anchor")
    if at is None:
        return None
    if params.get("trial_end") or params.get("trial_period_days"):
        raise not_simulated("billing_cycle_anchor (together with a trial)")
    if at <= ctx.now:
        raise invalid("billing_cycle_anchor must be in the future.", "billing_cycle_anchor")
    begins, end = period_after(at, recurring, ctx.now)
    if end != at or begins > ctx.now:
        latest = period_after(ctx.now, recurring, ctx.now)[1]
        raise invalid(
            f"billing_cycle_anchor cannot be later than next natural billing date ({latest}) for plan.",
            "billing_cycle_anchor",
        )
    return Anchor(int(at), begins, params.get("proration_behavior") != "none")


def first_line(tx: Tx, ctx: Context, subscription: Object, item: Object, anchor: Anchor) -> Object:
    """Make the line for the short first period of an item."""
    line = lines.recurring_line(tx, ctx, subscription, item, (ctx.now, anchor.at))
    if is_metered(item["price"]):
        return line
    amount = anchor.part_of(cost(tx, ctx, item["price"], item["quantity"]), ctx.now)
    line["parent"]["subscription_item_details"]["proration"] = True
    line["pricing"]["unit_amount_decimal"] = None
    return {**line, "amount": amount, "subtotal": amount}


def note_debits(tx: Tx, ctx: Context, subscription: Object, anchor: Anchor) -> None:
    """Keep what a whole period of each item would have cost: a credit of the first one is a part of it."""
    items = subscription["items"]["data"]
    net = discounts.net_of(tx, ctx, subscription, items)
    private = tx.private(ctx, "subscription", subscription["id"])
    private["debited"] = {item["id"]: net[item["id"]] if anchor.is_charged else 0 for item in items}
    tx.save_private(ctx, "subscription", subscription["id"], private)
