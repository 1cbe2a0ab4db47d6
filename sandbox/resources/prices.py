"""Prices: how much of what, once or again and again. They cannot be deleted, only made inactive."""

from __future__ import annotations

import copy
from decimal import Decimal, InvalidOperation
from typing import Any

from .. import ids
from ..billing import subscribing, tiers
from ..billing.catalog import new_product, plan_of
from ..errors import StripeError, invalid, not_simulated, requires
from ..events import changes, emit
from ..fields import merged_metadata, required, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]

CREATABLE = {
    "active", "billing_scheme", "currency", "lookup_key", "metadata", "nickname", "product", "product_data",
    "recurring", "tax_behavior", "tiers", "tiers_mode", "transfer_lookup_key", "transform_quantity", "unit_amount",
    "unit_amount_decimal",
}  # fmt: skip
UPDATABLE = {"active", "lookup_key", "metadata", "nickname", "tax_behavior", "transfer_lookup_key"}
INTERVAL_DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/prices."""
    supported(params, CREATABLE)
    price = new_price(tx, ctx, params)
    emit(tx, ctx, "price.created", price)
    if price["type"] == "recurring":
        emit(tx, ctx, "plan.created", plan_of(price))
    return price


def new_price(tx: Tx, ctx: Context, params: Object, *, active: bool = True) -> Object:
    """Add a price without its events (inline prices of checkout are inactive from the start)."""
    currency = str(required(params, "currency")).lower()
    recurring = _recurring(tx, ctx, params.get("recurring"))
    amounts, steps = _charges(params, recurring)
    product_id = _product_of(tx, ctx, params)
    price: Object = {
        "id": ids.new_id("price"),
        "object": "price",
        "active": params.get("active", active),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": ctx.now,
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": ctx.livemode,
        "lookup_key": None,
        "metadata": merged_metadata({}, params.get("metadata")),
        "nickname": params.get("nickname") or None,
        "product": product_id,
        "recurring": recurring,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": params.get("tiers_mode"),
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if recurring else "one_time",
        "unit_amount": amounts[0],
        "unit_amount_decimal": amounts[1],
    }
    _take_lookup_key(tx, ctx, price, params)
    return tx.insert(ctx, price, {"tiers": steps})


def _charges(params: Object, recurring: Object | None) -> tuple[tuple[int | None, str | None], list[Object]]:
    """Read what a unit costs, or the tiers that say it instead. Raises: StripeError 400 for both at once, or neither."""
    if params.get("billing_scheme", "per_unit") == "per_unit":
        for name in ("tiers", "tiers_mode"):
            if params.get(name):
                raise invalid(f"`{name}` can only be set if `billing_scheme` is `tiered`.", name)
        if params.get("transform_quantity") and params["transform_quantity"]["divide_by"] < 1:
            raise invalid("Invalid positive integer", "transform_quantity[divide_by]", "parameter_invalid_integer")
        return _amount(params, metered=bool(recurring and recurring["meter"])), []
    for name in ("transform_quantity", "unit_amount", "unit_amount_decimal"):
        if params.get(name) is not None:
            raise invalid(f"`{name}` cannot be set if `billing_scheme` is `tiered`.", name)
    if recurring is None:
        raise invalid("Only recurring prices can be tiered.", "billing_scheme")
    required(params, "tiers_mode")
    return (None, None), tiers.checked(params.get("tiers"))


def _amount(params: Object, *, metered: bool) -> tuple[int | None, str]:
    if params.get("unit_amount") is not None and params.get("unit_amount_decimal") is not None:
        raise invalid("You may only specify one of these parameters: unit_amount, unit_amount_decimal.", "unit_amount")
    if params.get("unit_amount") is not None:
        amount = int(params["unit_amount"])
        if amount < 0:
            raise invalid("Invalid non-negative integer", "unit_amount", "parameter_invalid_integer")
        return amount, str(amount)
    if params.get("unit_amount_decimal") is None:
        raise requires("unit_amount")
    try:
        exact = Decimal(str(params["unit_amount_decimal"]))
    except InvalidOperation:
        raise invalid("Invalid decimal", "unit_amount_decimal") from None
    if exact != exact.to_integral_value() and metered and exact > 0:
        return None, str(exact)
    if exact != exact.to_integral_value():
        raise not_simulated("unit_amount_decimal")
    return int(exact), str(int(exact))


def _product_of(tx: Tx, ctx: Context, params: Object) -> str:
    if params.get("product") and params.get("product_data"):
        raise invalid("You may only specify one of these parameters: product, product_data.", "product")
    if params.get("product_data"):
        return str(new_product(tx, ctx, params["product_data"])["id"])
    return str(referred(tx, ctx, "product", required(params, "product"), "product")["id"])


def _recurring(tx: Tx, ctx: Context, wanted: Object | None) -> Object | None:
    if not wanted:
        return None
    supported(wanted, {"interval", "interval_count", "meter", "usage_type", "trial_period_days"}, "recurring")
    metered = wanted.get("usage_type") == "metered"
    if metered and not wanted.get("meter"):
        raise invalid("Metered prices must be backed by a meter.", "recurring[meter]")
    if wanted.get("meter") and not metered:
        raise invalid("A meter can only be set with `usage_type=metered`.", "recurring[meter]")
    if metered and referred(tx, ctx, "billing.meter", wanted["meter"], "recurring[meter]")["status"] != "active":
        raise invalid("The meter is not active.", "recurring[meter]")
    if wanted.get("trial_period_days"):
        raise not_simulated("recurring[trial_period_days]")
    if not wanted.get("interval"):
        raise requires("recurring[interval]")
    count = int(wanted.get("interval_count", 1))
    if count < 1 or count * INTERVAL_DAYS[wanted["interval"]] > 3 * 366:
        raise invalid("The maximum interval is three years.", "recurring[interval_count]")
    return {
        "interval": wanted["interval"],
        "interval_count": count,
        "meter": wanted["meter"] if metered else None,
        "trial_period_days": None,
        "usage_type": "metered" if metered else "licensed",
    }


def _take_lookup_key(tx: Tx, ctx: Context, price: Object, params: Object) -> None:
    wanted = params.get("lookup_key")
    if not wanted:
        return
    holders = [other for other in tx.find_by(ctx, "price", "lookup_key", wanted) if other["id"] != price["id"]]
    for holder in holders:
        if not params.get("transfer_lookup_key"):
            raise invalid(f"A price (`{holder['id']}`) already uses that lookup key.", "lookup_key")
        holder["lookup_key"] = None
        tx.save(ctx, holder)
        emit(tx, ctx, "price.updated", holder, {"lookup_key": wanted})
    price["lookup_key"] = wanted


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/prices/{id}."""
    supported(params, UPDATABLE)
    price = find_one(tx, ctx, "price", id)
    before = copy.deepcopy(price)
    for name in ("active", "tax_behavior"):
        if name in params:
            price[name] = params[name]
    if "nickname" in params:
        price["nickname"] = params["nickname"] or None
    if "metadata" in params:
        price["metadata"] = merged_metadata(price["metadata"], params["metadata"])
    if params.get("lookup_key") == "":
        price["lookup_key"] = None
    _take_lookup_key(tx, ctx, price, params)
    tx.save(ctx, price)
    previous = changes(before, price)
    if previous:
        subscribing.refresh_price(tx, ctx, price)
        emit(tx, ctx, "price.updated", price, previous)
        plan_fields = {key: value for key, value in previous.items() if key in ("active", "metadata", "nickname")}
        if price["type"] == "recurring" and plan_fields:
            emit(tx, ctx, "plan.updated", plan_of(price), plan_fields)
    return price


def remove(tx: Tx, ctx: Context, price: Object) -> Object:
    """Delete a price that was never used, as only the Dashboard can. Raises: StripeError 400."""
    used = tx.execute(
        "SELECT 1 FROM objects WHERE account = ? AND livemode = ? AND type IN ('subscription', 'invoice', 'invoiceitem')"
        " AND instr(json, ?) LIMIT 1",
        (ctx.account_id, int(ctx.livemode), price["id"]),
    ).fetchone()
    if used:
        raise StripeError("This price has been used and cannot be deleted: make it inactive.")
    for product in tx.find_by(ctx, "product", "default_price", price["id"]):
        tx.save(ctx, {**product, "default_price": None})
    tx.mark_deleted(ctx, "price", price["id"])
    emit(tx, ctx, "price.deleted", {**price, "active": False})
    if price["type"] == "recurring":
        emit(tx, ctx, "plan.deleted", {**plan_of(price), "active": False})
    return price


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/prices/{id}."""
    return find_one(tx, ctx, "price", id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/prices."""
    supported(
        params,
        {"active", "created", "currency", "limit", "starting_after", "ending_before", "lookup_keys", "product",
         "recurring", "type"},
    )  # fmt: skip
    equal = {name: params.get(name) for name in ("active", "currency", "product", "type")}
    equal["recurring.interval"] = (params.get("recurring") or {}).get("interval")
    keys = list(params.get("lookup_keys") or [])
    where = f" AND json_extract(json, '$.lookup_key') IN ({','.join('?' * len(keys))})" if keys else ""
    return page(tx, ctx, "price", params, "/v1/prices", equal, where, keys)


ROUTES = [
    ("POST", "/v1/prices", create),
    ("GET", "/v1/prices", list_all),
    ("GET", "/v1/prices/{id}", retrieve),
    ("POST", "/v1/prices/{id}", update),
]
