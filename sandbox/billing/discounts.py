"""Discounts: what a coupon or a promotion code becomes when a customer redeems it.

A discount keeps the coupon as it was. One that lasts once leaves its subscription with the first invoice that it
lowers, a repeating one when its months are over. The invoice keeps its id, and it can still be expanded there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import ids
from ..errors import StripeError, invalid
from ..events import Journal
from ..fields import money
from ..lookup import no_such
from ..store import Context, Tx
from .catalog import cost
from .periods import add_interval
from .totals import Priced, discounted

Object = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """What is redeemed: a coupon, by itself or through a promotion code; or a discount that is there already."""

    coupon: Object
    promotion_code: Object | None = None
    existing: Object | None = None


def is_valid(ctx: Context, coupon: Object) -> bool:
    """Tell whether a coupon can still be redeemed."""
    expired = coupon["redeem_by"] is not None and coupon["redeem_by"] <= ctx.now
    used_up = coupon["max_redemptions"] is not None and coupon["times_redeemed"] >= coupon["max_redemptions"]
    return not expired and not used_up


def shown(ctx: Context, coupon: Object) -> Object:
    """Give a coupon as it is read: valid or not by now; applies_to comes only when expanded."""
    return {**{key: value for key, value in coupon.items() if key != "applies_to"}, "valid": is_valid(ctx, coupon)}


def checked(
    tx: Tx,
    ctx: Context,
    wanted: Any,
    *,
    customer: Object | None,
    currency: str,
    amount: int,
    param: str = "discounts",
    own_intent: str = "",
) -> list[Source]:
    """Read the `discounts` parameter. Raises: StripeError 400 for what cannot be redeemed (now, here, by them).

    `own_intent` pays for what is discounted: that payment is no earlier one.
    """
    found = []
    for index, entry in enumerate(wanted or []):
        path = f"{param}[{index}]"
        if sum(bool(entry.get(name)) for name in ("coupon", "promotion_code", "discount")) != 1:
            raise invalid(f"You must specify exactly one of `coupon` or `promotion_code` in `{path}`.", path)
        if entry.get("coupon"):
            coupon = tx.get(ctx, "coupon", entry["coupon"])
            if coupon is None:
                raise no_such(tx, ctx, "coupon", entry["coupon"], f"{path}[coupon]", 400)
            found.append(Source(check_coupon(ctx, coupon, currency, f"{path}[coupon]")))
        elif entry.get("promotion_code"):
            code = tx.get(ctx, "promotion_code", entry["promotion_code"])
            where = f"{path}[promotion_code]"
            if code is None:
                raise no_such(tx, ctx, "promotion_code", entry["promotion_code"], where, 400)
            source = check_code(
                tx, ctx, code, customer=customer, currency=currency, amount=amount, param=where, own_intent=own_intent
            )
            found.append(source)
        else:
            discount = tx.get(ctx, "discount", entry["discount"])
            if discount is None:
                raise no_such(tx, ctx, "discount", entry["discount"], f"{path}[discount]", 400)
            found.append(Source(coupon_of(tx, ctx, discount), existing=discount))
    if len({source.coupon["id"] for source in found}) < len(found):
        raise invalid("The same coupon cannot be applied more than once.", param)
    return found


def check_coupon(ctx: Context, coupon: Object, currency: str, param: str) -> Object:
    """Refuse a coupon that is expired, used up or in another currency."""
    if coupon["redeem_by"] is not None and coupon["redeem_by"] <= ctx.now:
        raise invalid(f"Coupon expired: {coupon['id']}", param, "coupon_expired")
    if not is_valid(ctx, coupon):
        raise invalid(f"Coupon has been used the maximum number of times: {coupon['id']}", param, "coupon_expired")
    if coupon["amount_off"] is not None and coupon["currency"] != currency:
        raise invalid(
            f"The coupon's currency ({coupon['currency']}) does not match the currency of what it is applied to "
            f"({currency}).",
            param,
        )
    return coupon


def check_code(
    tx: Tx,
    ctx: Context,
    code: Object,
    *,
    customer: Object | None,
    currency: str,
    amount: int,
    param: str,
    own_intent: str = "",
) -> Source:
    """Refuse a promotion code that this customer cannot redeem on this amount now."""
    coupon = tx.get(ctx, "coupon", code["promotion"]["coupon"])
    expired = code["expires_at"] is not None and code["expires_at"] <= ctx.now
    used_up = code["max_redemptions"] is not None and code["times_redeemed"] >= code["max_redemptions"]
    if expired:
        raise invalid("This promotion code has expired.", param, "promotion_code_expired")
    if used_up:
        raise invalid("This promotion code has been redeemed too often.", param, "promotion_code_max_redemptions")
    if not code["active"] or coupon is None:
        raise invalid("This promotion code is not active.", param, "promotion_code_inactive")
    check_coupon(ctx, coupon, currency, param)
    if code["customer"] and (customer is None or customer["id"] != code["customer"]):
        raise invalid("This promotion code cannot be redeemed by this customer.", param)
    restrictions = code["restrictions"]
    if restrictions["first_time_transaction"] and customer and has_paid(tx, ctx, customer["id"], own_intent):
        raise invalid(
            "This promotion code cannot be redeemed because the associated customer has prior transactions.", param
        )
    minimum = restrictions["minimum_amount"]
    if minimum is not None and (restrictions["minimum_amount_currency"] != currency or amount < minimum):
        least = money(minimum, restrictions["minimum_amount_currency"])
        raise invalid(f"This promotion code cannot be redeemed: the order must come to at least {least}.", param)
    return Source(coupon, code)


def has_paid(tx: Tx, ctx: Context, customer_id: str, own_intent: str = "") -> bool:
    """Tell whether a customer has a payment or a paid invoice behind them, other than the one under way."""
    charges = tx.find_by(ctx, "charge", "customer", customer_id)
    invoices = tx.find_by(ctx, "invoice", "customer", customer_id)
    return any(
        charge["paid"] and not (own_intent and charge["payment_intent"] == own_intent) for charge in charges
    ) or any(invoice["status"] == "paid" and invoice["total"] > 0 for invoice in invoices)


def coupon_of(tx: Tx, ctx: Context, discount: Object) -> Object:
    """Read the coupon of a discount, also when it has been deleted since: that ends no running discount."""
    coupon: Object = tx.private(ctx, "discount", discount["id"])["coupon"]
    return coupon


def redeem(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    sources: list[Source],
    *,
    customer: str | None,
    subscription: str | None = None,
    invoice: str | None = None,
    checkout_session: str | None = None,
) -> list[str]:
    """Make discounts of what is redeemed, counting the redemptions; gives their ids."""
    found = []
    for source in sources:
        if source.existing is not None:
            found.append(source.existing["id"])
            continue
        coupon = source.coupon
        months = coupon["duration_in_months"] if coupon["duration"] == "repeating" else None
        discount: Object = {
            "id": ids.new_id("discount"),
            "object": "discount",
            "checkout_session": checkout_session,
            "customer": customer,
            "customer_account": None,
            "end": add_interval(ctx.now, "month", months) if months else None,
            "invoice": invoice,
            "invoice_item": None,
            "promotion_code": source.promotion_code["id"] if source.promotion_code else None,
            "source": {"coupon": coupon["id"], "type": "coupon"},
            "start": ctx.now,
            "subscription": subscription,
            "subscription_item": None,
        }
        tx.insert(ctx, discount, {"coupon": coupon})
        _count(tx, ctx, journal, coupon, "coupon")
        if source.promotion_code:
            _count(tx, ctx, journal, source.promotion_code, "promotion_code")
        if subscription:
            journal.add("customer.discount.created", discount)
        found.append(discount["id"])
    return found


def _count(tx: Tx, ctx: Context, journal: Journal, obj: Object, noun: str) -> None:
    before = {"times_redeemed": obj["times_redeemed"]}
    obj["times_redeemed"] += 1
    if noun == "coupon":
        obj["valid"] = is_valid(ctx, obj)
    tx.save(ctx, obj)
    journal.add(f"{noun}.updated", shown(ctx, obj) if noun == "coupon" else obj, before)


def running(tx: Tx, ctx: Context, discount_ids: list[str]) -> list[tuple[str, Object]]:
    """Give the discounts that are still in force with their coupons."""
    found = []
    for discount_id in discount_ids:
        discount = tx.get(ctx, "discount", discount_id, deleted=True)
        if discount is not None and (discount["end"] is None or discount["end"] > ctx.now):
            found.append((discount_id, coupon_of(tx, ctx, discount)))
    return found


def end_those_over(tx: Tx, ctx: Context, journal: Journal, subscription: Object, invoice: Object) -> None:
    """Take off a subscription what ran out, and what lasts once and has just lowered an invoice."""
    lowered = {entry["discount"] for entry in invoice["total_discount_amounts"] if entry["amount"]}
    in_force = dict(running(tx, ctx, subscription["discounts"]))
    for discount_id in list(subscription["discounts"]):
        coupon = in_force.get(discount_id)
        if coupon is None or (coupon["duration"] == "once" and discount_id in lowered):
            remove(tx, ctx, journal, subscription, discount_id, told=coupon is None)


def remove(
    tx: Tx, ctx: Context, journal: Journal, subscription: Object, discount_id: str, *, told: bool = True
) -> Object:
    """Take a discount off a subscription; `told` says whether there is an event for it."""
    subscription["discounts"] = [each for each in subscription["discounts"] if each != discount_id]
    discount = tx.get(ctx, "discount", discount_id)
    if discount is None:
        raise StripeError(f"No active discount for subscription: {subscription['id']}", http_status=404)
    tx.mark_deleted(ctx, "discount", discount_id)
    if told:
        journal.add("customer.discount.deleted", discount)
    return discount


def net_of(tx: Tx, ctx: Context, subscription: Object, items: list[Object]) -> dict[str, int]:
    """Give what a whole period of each item costs after the discounts that are in force.

    Prorations hold discounts in themselves (flexible billing), so both of their sides start from these figures.
    """
    coupons = [coupon for _, coupon in running(tx, ctx, subscription["discounts"])]
    lines = [Priced(cost(tx, ctx, item["price"], item.get("quantity")), item["price"]["product"]) for item in items]
    off = discounted(lines, coupons)
    return {
        item["id"]: line.amount - sum(parts[index] for parts in off)
        for index, (item, line) in enumerate(zip(items, lines, strict=True))
    }
