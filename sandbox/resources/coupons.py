"""Coupons: how much off, for how long, and how often. Only their name and metadata can change."""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..billing.discounts import shown
from ..errors import invalid, missing, not_simulated, requires
from ..events import changes, emit
from ..fields import merged_metadata, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]

CREATABLE = {
    "amount_off", "applies_to", "currency", "duration", "duration_in_months", "id", "max_redemptions", "metadata",
    "name", "percent_off", "redeem_by",
}  # fmt: skip


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/coupons. Raises: StripeError 400 naming the parameter."""
    supported(params, CREATABLE)
    duration = params.get("duration", "once")
    _check_off(params)
    _check_duration(duration, params.get("duration_in_months"))
    if params.get("max_redemptions") is not None and params["max_redemptions"] < 1:
        raise invalid("Invalid positive integer", "max_redemptions", "parameter_invalid_integer")
    if params.get("redeem_by") is not None and params["redeem_by"] <= ctx.now:
        raise invalid("redeem_by must be in the future.", "redeem_by")
    coupon_id = params.get("id") or ids.random_text(8)
    if tx.get(ctx, "coupon", coupon_id) is not None:
        raise invalid("Coupon already exists.", "id", "resource_already_exists")
    products = (params.get("applies_to") or {}).get("products")
    for index, product in enumerate(products or []):
        referred(tx, ctx, "product", product, f"applies_to[products][{index}]")
    coupon: Object = {
        "id": coupon_id,
        "object": "coupon",
        "amount_off": params.get("amount_off"),
        "created": ctx.now,
        "currency": params["currency"].lower() if params.get("amount_off") is not None else None,
        "duration": duration,
        "duration_in_months": params.get("duration_in_months"),
        "livemode": ctx.livemode,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": merged_metadata({}, params.get("metadata")),
        "name": params.get("name") or None,
        "percent_off": params.get("percent_off"),
        "redeem_by": params.get("redeem_by"),
        "times_redeemed": 0,
        "valid": True,
    }
    if products:
        coupon["applies_to"] = {"products": products}
    # A deleted coupon's id may be used again; its row goes, its discounts have their own.
    tx.execute(
        "DELETE FROM objects WHERE account = ? AND livemode = ? AND type = 'coupon' AND id = ? AND deleted = 1",
        (ctx.account_id, int(ctx.livemode), coupon_id),
    )
    tx.insert(ctx, coupon)
    emit(tx, ctx, "coupon.created", shown(ctx, coupon))
    return shown(ctx, coupon)


def _check_off(params: Object) -> None:
    percent, amount = params.get("percent_off"), params.get("amount_off")
    if percent is None and amount is None:
        raise requires("percent_off")
    if percent is not None and amount is not None:
        raise invalid("You may only specify one of these parameters: amount_off, percent_off.", "amount_off")
    if percent is not None and not 0 < percent <= 100:
        raise invalid("percent_off must be greater than 0 and at most 100.", "percent_off")
    if amount is not None and amount < 1:
        raise invalid("Invalid positive integer", "amount_off", "parameter_invalid_integer")
    if amount is not None and not params.get("currency"):
        raise requires("currency")


def _check_duration(duration: str, months: int | None) -> None:
    if duration == "repeating" and months is None:
        raise requires("duration_in_months")
    if duration != "repeating" and months is not None:
        raise invalid("You can only set duration_in_months when duration is repeating.", "duration_in_months")
    if months is not None and not 1 <= months <= 36:
        raise (
            not_simulated("duration_in_months")
            if months > 36
            else invalid("Invalid positive integer", "duration_in_months", "parameter_invalid_integer")
        )


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/coupons/{id}."""
    return shown(ctx, find_one(tx, ctx, "coupon", id))


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/coupons/{id}: name and metadata."""
    supported(params, {"metadata", "name"})
    coupon = find_one(tx, ctx, "coupon", id)
    before = copy.deepcopy(coupon)
    if "metadata" in params:
        coupon["metadata"] = merged_metadata(coupon["metadata"], params["metadata"])
    if "name" in params:
        coupon["name"] = params["name"] or None
    tx.save(ctx, coupon)
    previous = changes(before, coupon)
    if previous:
        emit(tx, ctx, "coupon.updated", shown(ctx, coupon), previous)
    return shown(ctx, coupon)


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/coupons/{id}: discounts that run already keep running."""
    coupon = tx.get(ctx, "coupon", id)
    if coupon is None:
        raise missing("coupon", id, "coupon")
    tx.mark_deleted(ctx, "coupon", id)
    emit(tx, ctx, "coupon.deleted", {**shown(ctx, coupon), "valid": False})
    return {"id": id, "object": "coupon", "deleted": True}


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/coupons."""
    supported(params, {"created", "limit", "starting_after", "ending_before"})
    found = page(tx, ctx, "coupon", params, "/v1/coupons")
    found["data"] = [shown(ctx, coupon) for coupon in found["data"]]
    return found


ROUTES = [
    ("POST", "/v1/coupons", create),
    ("GET", "/v1/coupons", list_all),
    ("GET", "/v1/coupons/{id}", retrieve),
    ("POST", "/v1/coupons/{id}", update),
    ("DELETE", "/v1/coupons/{id}", delete),
]
