"""Promotion codes: what customers type to redeem a coupon, with restrictions of their own."""

from __future__ import annotations

import copy
import re
import secrets
import string
from typing import Any

from .. import ids
from ..billing.discounts import check_coupon
from ..errors import invalid, requires
from ..events import changes, emit
from ..fields import merged_metadata, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

CREATABLE = {
    "active", "code", "customer", "expires_at", "max_redemptions", "metadata", "promotion", "restrictions",
}  # fmt: skip
CODE = re.compile(r"[A-Za-z0-9_-]{1,500}")
RESTRICTIONS = {"first_time_transaction", "minimum_amount", "minimum_amount_currency"}


def find_by_code(tx: Tx, ctx: Context, typed: str) -> Object | None:
    """Find the promotion code behind what a customer typed (in any case); an active one goes before others."""
    wanted = typed.strip().upper()
    found = tx.find(ctx, "promotion_code", " AND upper(json_extract(json, '$.code')) = ?", (wanted,))
    return next((code for code in found if code["active"]), found[-1] if found else None)


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/promotion_codes."""
    supported(params, CREATABLE)
    promotion = params["promotion"]
    if not promotion.get("coupon"):
        raise requires("promotion[coupon]")
    coupon = referred(tx, ctx, "coupon", promotion["coupon"], "promotion[coupon]")
    check_coupon(ctx, coupon, coupon["currency"] or "", "promotion[coupon]")
    code = params.get("code") or "".join(secrets.choice(string.ascii_uppercase + string.digits) for _ in range(8))
    if not CODE.fullmatch(code):
        raise invalid("A promotion code can only have letters, digits, dashes and underscores.", "code")
    holder = find_by_code(tx, ctx, code)
    if holder is not None and holder["active"] and holder["customer"] in (None, params.get("customer")):
        raise invalid("An active promotion code with `code: " + code + "` already exists.", "code")
    customer = existing(tx, ctx, params["customer"])["id"] if params.get("customer") else None
    most, expires = params.get("max_redemptions"), params.get("expires_at")
    if most is not None and most < 1:
        raise invalid("Invalid positive integer", "max_redemptions", "parameter_invalid_integer")
    if most is not None and coupon["max_redemptions"] is not None and most > coupon["max_redemptions"]:
        raise invalid("max_redemptions cannot be more than that of the coupon.", "max_redemptions")
    if expires is not None and expires <= ctx.now:
        raise invalid("expires_at must be in the future.", "expires_at")
    if expires is not None and coupon["redeem_by"] is not None and expires > coupon["redeem_by"]:
        raise invalid("expires_at cannot be later than the coupon's redeem_by.", "expires_at")
    promotion_code: Object = {
        "id": ids.new_id("promotion_code"),
        "object": "promotion_code",
        "active": params.get("active", True),
        "code": code,
        "created": ctx.now,
        "customer": customer,
        "customer_account": None,
        "expires_at": expires,
        "livemode": ctx.livemode,
        "max_redemptions": most,
        "metadata": merged_metadata({}, params.get("metadata")),
        "promotion": {"coupon": coupon["id"], "type": "coupon"},
        "restrictions": _restrictions(params.get("restrictions") or {}),
        "times_redeemed": 0,
    }
    tx.insert(ctx, promotion_code)
    emit(tx, ctx, "promotion_code.created", promotion_code)
    return promotion_code


def _restrictions(wanted: Object) -> Object:
    supported(wanted, RESTRICTIONS, "restrictions")
    minimum, currency = wanted.get("minimum_amount"), wanted.get("minimum_amount_currency")
    if (minimum is None) != (not currency):
        raise requires(f"restrictions[{'minimum_amount' if minimum is None else 'minimum_amount_currency'}]")
    return {
        "first_time_transaction": bool(wanted.get("first_time_transaction", False)),
        "minimum_amount": minimum,
        "minimum_amount_currency": currency.lower() if currency else None,
    }


def shown(tx: Tx, ctx: Context, code: Object) -> Object:
    """Give a code as it is read: once it cannot be redeemed any more it is no longer active."""
    expired = code["expires_at"] is not None and code["expires_at"] <= ctx.now
    used_up = code["max_redemptions"] is not None and code["times_redeemed"] >= code["max_redemptions"]
    return {**code, "active": code["active"] and not expired and not used_up}


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/promotion_codes/{id}."""
    return shown(tx, ctx, find_one(tx, ctx, "promotion_code", id))


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/promotion_codes/{id}: active and metadata."""
    supported(params, {"active", "metadata"})
    code = find_one(tx, ctx, "promotion_code", id)
    before = copy.deepcopy(code)
    if "metadata" in params:
        code["metadata"] = merged_metadata(code["metadata"], params["metadata"])
    if params.get("active") and not shown(tx, ctx, {**code, "active": True})["active"]:
        raise invalid("This promotion code has expired or been used up and cannot be activated.", "active")
    code["active"] = params.get("active", code["active"])
    tx.save(ctx, code)
    previous = changes(before, code)
    if previous:
        emit(tx, ctx, "promotion_code.updated", code, previous)
    return code


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/promotion_codes."""
    supported(params, {"active", "code", "coupon", "created", "customer", "limit", "starting_after", "ending_before"})
    equal = {"customer": params.get("customer"), "promotion.coupon": params.get("coupon")}
    where, values = "", []
    if params.get("code"):
        where, values = " AND upper(json_extract(json, '$.code')) = ?", [params["code"].upper()]
    if params.get("active") is not None:
        where += f" AND json_extract(json, '$.active') = {int(params['active'])}"
    found = page(tx, ctx, "promotion_code", params, "/v1/promotion_codes", equal, where, values)
    found["data"] = [shown(tx, ctx, code) for code in found["data"]]
    return found


ROUTES = [
    ("POST", "/v1/promotion_codes", create),
    ("GET", "/v1/promotion_codes", list_all),
    ("GET", "/v1/promotion_codes/{id}", retrieve),
    ("POST", "/v1/promotion_codes/{id}", update),
]
