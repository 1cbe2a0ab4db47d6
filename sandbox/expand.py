"""Expands references into objects, following the published schema for what can be expanded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import schema
from .billing import tiers
from .errors import invalid
from .paging import whole_list
from .store import Context, Tx

Object = dict[str, Any]
MAX_DEPTH = 4


def apply(tx: Tx, ctx: Context, body: Object, paths: list[str]) -> Object:
    """Expand each dotted path in an answer. Raises: StripeError 400 for what cannot be expanded."""
    for path in paths:
        keys = path.split(".")
        if len(keys) > MAX_DEPTH:
            raise invalid(f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}", "expand")
        _walk(tx, ctx, body, None, keys, path)
    return body


def _refused(path: str, value: Object) -> Exception:
    hint = f" You may want to try expanding 'data.{path}' instead." if value.get("object") == "list" else ""
    return invalid(f"This property cannot be expanded ({path}).{hint}", "expand")


def _definition(value: Object, declared: Object | None) -> Object | None:
    refs = schema.spec()["by_object"].get(value.get("object"))
    if refs:
        return schema.resolve(refs[0])
    return declared


def _alternatives(node: Object) -> list[Object]:
    found: list[Object] = []
    for part in node.get("anyOf") or node.get("oneOf") or [node]:
        found += _alternatives(part) if "anyOf" in part or "oneOf" in part else [part]
    return found


def _object_types(node: Object) -> list[str]:
    """Name the types that a declared field may hold besides its id; empty when it holds no id."""
    parts = _alternatives(node)
    if not any(part.get("type") == "string" for part in parts):
        return []
    types: list[str] = []
    for part in parts:
        if "$ref" in part:
            named = schema.resolve(part).get("properties", {}).get("object", {})
            named = schema.resolve(named)
            types += [name for name in named.get("enum", []) if name not in types]
    return types


def _walk(tx: Tx, ctx: Context, value: Object, declared: Object | None, keys: list[str], path: str) -> None:
    key, rest = keys[0], keys[1:]
    if value.get("object") in ("list", "search_result"):
        if key != "data" or not rest:
            raise _refused(path, value)
        for element in value["data"]:
            _walk(tx, ctx, element, None, rest, path)
        return
    definition = _definition(value, declared)
    field = (definition or {}).get("properties", {}).get(key)
    if field is None:
        raise _refused(path, value)
    include = INCLUDED.get((value.get("object", ""), key))
    if include and not value.get(key):
        value[key] = include(tx, ctx, value)
        if rest:
            _descend(tx, ctx, value[key], None, rest, path)
        return
    items = next((part for part in _alternatives(field) if part.get("type") == "array"), None)
    if items is not None:
        _walk_array(tx, ctx, value, key, items["items"], rest, path)
        return
    types = _object_types(field)
    if not types:
        if not rest and not include:
            raise _refused(path, value)
        inner = next((schema.resolve(part) for part in _alternatives(field) if "$ref" in part), None)
        _descend(tx, ctx, value.get(key), inner, rest, path)
        return
    value[key] = _loaded(tx, ctx, value.get(key), types)
    _descend(tx, ctx, value[key], None, rest, path)


def _walk_array(tx: Tx, ctx: Context, value: Object, key: str, declared: Object, rest: list[str], path: str) -> None:
    types = _object_types(declared)
    if not types and not rest:
        raise _refused(path, value)
    if types:
        value[key] = [_loaded(tx, ctx, element, types) for element in value.get(key) or []]
    for element in value.get(key) or []:
        _descend(tx, ctx, element, schema.resolve(declared), rest, path)


def _descend(tx: Tx, ctx: Context, value: Any, declared: Object | None, rest: list[str], path: str) -> None:
    if rest and isinstance(value, dict):
        _walk(tx, ctx, value, declared, rest, path)


def _loaded(tx: Tx, ctx: Context, value: Any, types: list[str]) -> Any:
    if not isinstance(value, str):
        return value
    for object_type in types:
        obj = tx.get(ctx, object_type, value)
        if obj is not None:
            # Left out unless it is expanded itself.
            return {key: part for key, part in obj.items() if (object_type, key) != ("coupon", "applies_to")}
        if tx.get(ctx, object_type, value, deleted=True) is not None:
            return {"id": value, "object": object_type, "deleted": True}
    return value


def _newest_first(tx: Tx, ctx: Context, object_type: str, field: str, value: str) -> list[Object]:
    return list(reversed(tx.find_by(ctx, object_type, field, value)))


def _refunds(tx: Tx, ctx: Context, charge: Object) -> Object:
    refunds = _newest_first(tx, ctx, "refund", "charge", charge["id"])
    return whole_list(refunds, f"/v1/charges/{charge['id']}/refunds")


def _payments(tx: Tx, ctx: Context, invoice: Object) -> Object:
    return whole_list(_newest_first(tx, ctx, "invoice_payment", "invoice", invoice["id"]), "/v1/invoice_payments")


def _subscriptions(tx: Tx, ctx: Context, customer: Object) -> Object:
    found = _newest_first(tx, ctx, "subscription", "customer", customer["id"])
    current = [subscription for subscription in found if subscription["status"] != "canceled"]
    return whole_list(current, f"/v1/customers/{customer['id']}/subscriptions")


def _line_items(tx: Tx, ctx: Context, session: Object) -> Object:
    items = tx.private(ctx, "checkout.session", session["id"]).get("line_items", [])
    return whole_list(items, f"/v1/checkout/sessions/{session['id']}/line_items")


def _empty(url: str) -> Callable[[Tx, Context, Object], Object]:
    return lambda tx, ctx, value: whole_list([], url.format(id=value["id"]))


def _confirmation_secret(tx: Tx, ctx: Context, invoice: Object) -> Object | None:
    for payment in reversed(tx.find_by(ctx, "invoice_payment", "invoice", invoice["id"])):
        intent = tx.get(ctx, "payment_intent", payment["payment"].get("payment_intent", ""))
        if intent:
            return {"client_secret": intent["client_secret"], "type": "payment_intent"}
    return None


def _tax_ids(tx: Tx, ctx: Context, customer: Object) -> Object:
    found = _newest_first(tx, ctx, "tax_id", "customer", customer["id"])
    return whole_list(found, f"/v1/customers/{customer['id']}/tax_ids")


def _applies_to(tx: Tx, ctx: Context, coupon: Object) -> Object:
    stored = tx.get(ctx, "coupon", coupon["id"]) or {}
    found: Object = stored.get("applies_to") or {"products": []}
    return found


def _tiers(tx: Tx, ctx: Context, price: Object) -> list[Object]:
    return tiers.tiers_of(tx, ctx, price)


# Fields that Stripe leaves out unless they are expanded.
INCLUDED: dict[tuple[str, str], Callable[[Tx, Context, Object], Any]] = {
    ("coupon", "applies_to"): _applies_to,
    ("charge", "refunds"): _refunds,
    ("checkout.session", "line_items"): _line_items,
    ("customer", "sources"): _empty("/v1/customers/{id}/sources"),
    ("customer", "subscriptions"): _subscriptions,
    ("customer", "tax_ids"): _tax_ids,
    ("invoice", "confirmation_secret"): _confirmation_secret,
    ("invoice", "payments"): _payments,
    ("plan", "tiers"): _tiers,
    ("price", "tiers"): _tiers,
}
