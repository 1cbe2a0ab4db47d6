"""Changes of a subscription's items: prices, quantities, and what the change costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import StripeError, invalid, not_simulated
from ..events import Journal
from ..fields import merged_metadata, supported
from ..lookup import referred
from ..store import Context, Tx
from . import discounts, invoicing, lines, proration, subscribing
from .catalog import cost, is_metered, plan_of
from .payments import Attempt
from .periods import period_after

Object = dict[str, Any]


@dataclass(frozen=True)
class Swap:
    """One item before and after; either side may be missing (added or removed)."""

    before: Object | None
    after: Object | None


def checked_price(tx: Tx, ctx: Context, price_id: str, param: str) -> Object:
    """Read a price that can be subscribed to. Raises: StripeError 400."""
    price = referred(tx, ctx, "price", price_id, param)
    if not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param)
    if price["type"] != "recurring":
        raise invalid(
            f"The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`. "
            f"Price: {price_id}",
            param,
        )
    return price


def swap_items(tx: Tx, ctx: Context, subscription: Object, wanted: list[Object]) -> list[Swap]:
    """Apply the `items` parameter and say what changed. Items that are not named stay as they are."""
    items = subscription["items"]["data"]
    swaps = []
    for index, entry in enumerate(wanted):
        path = f"items[{index}]"
        supported(entry, {"clear_usage", "deleted", "id", "metadata", "price", "quantity"}, path)
        if entry.get("id"):
            swaps.append(_change_item(tx, ctx, items, entry, path))
        else:
            swaps.append(Swap(None, _add_item(tx, ctx, subscription, entry, path)))
    if not items:
        raise StripeError("A subscription must have at least one active item.")
    _check_agreement(items, subscription)
    return [swap for swap in swaps if _differs(swap)]


def _differs(swap: Swap) -> bool:
    if swap.before is None or swap.after is None:
        return True
    old, new = swap.before, swap.after
    return bool(old["price"]["id"] != new["price"]["id"] or old.get("quantity") != new.get("quantity"))


def _change_item(tx: Tx, ctx: Context, items: list[Object], entry: Object, path: str) -> Swap:
    place = next((place for place, item in enumerate(items) if item["id"] == entry["id"]), None)
    if place is None:
        raise invalid(f"No such subscription_item: '{entry['id']}'", f"{path}[id]", "resource_missing")
    old = items[place]
    if entry.get("deleted"):
        del items[place]
        return Swap(old, None)
    new = dict(old)
    if entry.get("price"):
        new["price"] = checked_price(tx, ctx, entry["price"], f"{path}[price]")
        new["plan"] = plan_of(new["price"])
        if is_metered(new["price"]):
            new.pop("quantity", None)
        else:
            new.setdefault("quantity", 1)
    if entry.get("quantity") is not None:
        if is_metered(new["price"]):
            raise invalid(
                f"You cannot set the quantity for metered plans. Plan: {new['price']['id']}", f"{path}[quantity]"
            )
        if entry["quantity"] < 0:
            raise invalid("Invalid non-negative integer", f"{path}[quantity]", "parameter_invalid_integer")
        new["quantity"] = entry["quantity"]
    if "metadata" in entry:
        new["metadata"] = merged_metadata(old["metadata"], entry["metadata"])
    items[place] = new
    return Swap(old, new)


def _add_item(tx: Tx, ctx: Context, subscription: Object, entry: Object, path: str) -> Object:
    if not entry.get("price"):
        raise invalid(f"You must specify either `price` or `id` in `{path}`.", path)
    price = checked_price(tx, ctx, entry["price"], f"{path}[price]")
    if any(item["price"]["id"] == price["id"] for item in subscription["items"]["data"]):
        raise invalid(f"Cannot add multiple subscription items with the same plan: {price['id']}", f"{path}[price]")
    period = subscribing.period_of(subscription)
    item = subscribing.new_item(ctx, subscription["id"], price, entry.get("quantity", 1), period)
    item["metadata"] = merged_metadata({}, entry.get("metadata"))
    subscription["items"]["data"].append(item)
    return item


def _check_agreement(items: list[Object], subscription: Object) -> None:
    for item in items:
        if item["price"]["currency"] != subscription["currency"]:
            raise invalid(
                f"The price specified only supports `{item['price']['currency']}`. This doesn't match the expected "
                f"currency: `{subscription['currency']}`.",
                "items",
            )
    rhythms = {(i["price"]["recurring"]["interval"], i["price"]["recurring"]["interval_count"]) for i in items}
    if len(rhythms) > 1:
        raise not_simulated("items (prices with different intervals on one subscription)")


def rhythm(item: Object) -> tuple[str, int]:
    """Tell how often an item is billed."""
    recurring = item["price"]["recurring"]
    return recurring["interval"], recurring["interval_count"]


def restarts_cycle(swaps: list[Swap]) -> bool:
    """Tell whether the new prices are billed in another rhythm, which starts a new period at once."""
    return any(s.before and s.after and rhythm(s.before) != rhythm(s.after) for s in swaps)


def restart_cycle(ctx: Context, subscription: Object) -> None:
    """Begin a new period now."""
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    start, end = period_after(ctx.now, recurring, ctx.now)
    subscription["billing_cycle_anchor"] = start
    for item in subscription["items"]["data"]:
        item |= {"current_period_start": start, "current_period_end": end}


def proration_items(
    tx: Tx, ctx: Context, subscription: Object, swaps: list[Swap], at: int, *, credits_only: bool
) -> list[Object]:
    """Make the pending items of a change: per item the credit first, then the charge.

    `credits_only` is for changes that start a new period, whose charge is a whole one.
    """
    private = tx.private(ctx, "subscription", subscription["id"])
    debited = private.setdefault("debited", {})
    after = {item["id"]: item for item in subscription["items"]["data"]}
    after |= {swap.after["id"]: swap.after for swap in swaps if swap.after}
    net = discounts.net_of(tx, ctx, subscription, list(after.values()))
    found = []
    for swap in swaps:
        if swap.before and not is_metered(swap.before["price"]):
            found.append(_credit(tx, ctx, subscription, swap.before, debited.get(swap.before["id"]), at))
        if swap.after and not credits_only and not is_metered(swap.after["price"]):
            found.append(_charge(tx, ctx, subscription, swap.after, net[swap.after["id"]], at))
        if swap.after:
            debited[swap.after["id"]] = net[swap.after["id"]]
    for item in found:
        tx.insert(ctx, item)
    tx.save_private(ctx, "subscription", subscription["id"], private)
    return found


def _whole_period(subscription: Object, item: Object) -> tuple[int, int]:
    """Give the period of an item as its price means it, also where the first one is shorter."""
    start, end = item["current_period_start"], item["current_period_end"]
    natural = period_after(subscription["billing_cycle_anchor"], item["price"]["recurring"], end - 1)
    return natural if natural[1] == end else (start, end)


def _credit(tx: Tx, ctx: Context, subscription: Object, item: Object, debited: int | None, at: int) -> Object:
    start, end = _whole_period(subscription, item)
    # Flexible billing credits what was really debited, which a change without proration leaves as it was.
    whole = cost(tx, ctx, item["price"], item.get("quantity")) if debited is None else debited
    amount = proration.unused_credit(whole, 1, end - at, end - start)
    pending = _pending(tx, ctx, subscription, item, amount, (at, end), f"Unused time on {{}} after {lines.day(at)}")
    pending["proration_details"] = {
        "credited_items": _credited(tx, ctx, subscription, item),
        "discount_amounts": [],
    }
    return pending


def _credited(tx: Tx, ctx: Context, subscription: Object, item: Object) -> Object | None:
    """Point to the line that charged what is now credited, when the latest invoice has it."""
    invoice = tx.get(ctx, "invoice", subscription["latest_invoice"] or "")
    for line in invoice["lines"]["data"] if invoice else []:
        details = (line["parent"] or {}).get("subscription_item_details") or {}
        if details.get("subscription_item") == item["id"] and line["amount"] > 0:
            return {
                "invoice_line_item_details": {"invoice": line["invoice"], "invoice_line_items": [line["id"]]},
                "type": "invoice_line_items",
            }
    return None


def _charge(tx: Tx, ctx: Context, subscription: Object, item: Object, whole: int, at: int) -> Object:
    start, end = _whole_period(subscription, item)
    amount = proration.remaining_charge(whole, 1, end - at, end - start)
    return _pending(tx, ctx, subscription, item, amount, (at, end), f"Remaining time on {{}} after {lines.day(at)}")


def _pending(
    tx: Tx, ctx: Context, subscription: Object, item: Object, amount: int, period: tuple[int, int], text: str
) -> Object:
    many = f"{item['quantity']} × " if item["quantity"] > 1 else ""
    return lines.new_item(
        ctx,
        customer=subscription["customer"],
        amount=amount,
        currency=item["price"]["currency"],
        description=text.format(many + lines.product_name(tx, ctx, item["price"])),
        period=period,
        price=item["price"],
        quantity=item["quantity"],
        proration=True,
        discountable=False,
        subscription=subscription["id"],
        subscription_item=item["id"],
    )


def invoice_now(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    subscription: Object,
    *,
    whole_period: bool,
    start: int,
    trial: bool = False,
    wait: bool = False,
    reason: str = "subscription_update",
) -> Attempt | None:
    """Bill what is pending (and a whole new period where one begins), and try to collect it.

    `trial` makes the new period free; `wait` leaves the payment to the customer (default_incomplete).
    """
    customer = tx.get(ctx, "customer", subscription["customer"])
    assert customer is not None
    found = [lines.line_of_item(ctx, item) for item in invoicing.pending_items(tx, ctx, subscription)]
    if whole_period:
        period = subscribing.period_of(subscription)
        items = subscription["items"]["data"]
        found += [lines.recurring_line(tx, ctx, subscription, item, period, trial=trial) for item in items]
    if not found:
        return None
    invoice = invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=subscription["currency"],
        lines=found,
        billing_reason=reason,
        # Recorded: from the start of the period to the moment of the change.
        period=(start, ctx.now),
        subscription=subscription,
    )
    subscription["latest_invoice"] = invoice["id"]
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    payment_method = invoicing.payment_method_for(tx, ctx, invoice, subscription)
    if wait and invoice["amount_due"]:
        intent = invoicing.await_payment(tx, ctx, journal, invoice, payment_method, "Subscription update")
        return Attempt("unpaid", intent)
    return invoicing.collect(tx, ctx, journal, invoice, payment_method, description="Subscription update")
