"""Subscription items, read and changed by themselves: each change is one of their subscription, with its proration."""

from __future__ import annotations

from typing import Any

from ..billing import updating
from ..errors import StripeError, missing
from ..fields import required, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page_of
from ..store import Context, Tx

Object = dict[str, Any]

# What belongs to the item; the other parameters say how the subscription is billed for the change.
OF_THE_ITEM = ("clear_usage", "metadata", "price", "quantity")
CHANGEABLE = {
    "clear_usage", "metadata", "off_session", "payment_behavior", "price", "proration_behavior", "proration_date",
    "quantity",
}  # fmt: skip


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/subscription_items: another price on a subscription."""
    supported(params, CHANGEABLE | {"subscription"})
    subscription = referred(tx, ctx, "subscription", required(params, "subscription"), "subscription")
    required(params, "price")
    known = {item["id"] for item in subscription["items"]["data"]}
    after = _change(tx, ctx, subscription, params)
    added: Object = next(item for item in after["items"]["data"] if item["id"] not in known)
    return added


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/subscription_items/{id}."""
    found = tx.get(ctx, "subscription_item", id)
    if found is None:
        raise missing("subscription_item", id, "item")
    return found


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/subscription_items/{id}: another price or quantity, or metadata."""
    supported(params, CHANGEABLE)
    item = retrieve(tx, ctx, {}, id)
    after = _change(tx, ctx, find_one(tx, ctx, "subscription", item["subscription"]), params, id=id)
    # An update that waits for its payment leaves the item as it was.
    return next(found for found in after["items"]["data"] if found["id"] == id)


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/subscription_items/{id}: not the last one of its subscription."""
    supported(params, CHANGEABLE - {"metadata", "price", "quantity"})
    item = retrieve(tx, ctx, {}, id)
    _change(tx, ctx, find_one(tx, ctx, "subscription", item["subscription"]), params, id=id, deleted=True)
    return {"id": id, "object": "subscription_item", "deleted": True}


def _change(tx: Tx, ctx: Context, subscription: Object, params: Object, **more: Any) -> Object:
    """Update the subscription with this one item. Raises: StripeError, naming parameters as this request has them."""
    entry = {name: params[name] for name in OF_THE_ITEM if name in params} | more
    how = {name: value for name, value in params.items() if name not in (*OF_THE_ITEM, "subscription")}
    try:
        return updating.update(tx, ctx, subscription, {"items": [entry], **how})
    except StripeError as error:
        if error.param and error.param.startswith("items[0]["):
            error.param = error.param.removeprefix("items[0][").removesuffix("]")
        raise


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/subscription_items: of one subscription."""
    subscription = referred(tx, ctx, "subscription", required(params, "subscription"), "subscription")
    return page_of(subscription["items"]["data"], params, "/v1/subscription_items")


ROUTES = [
    ("POST", "/v1/subscription_items", create),
    ("GET", "/v1/subscription_items", list_all),
    ("GET", "/v1/subscription_items/{id}", retrieve),
    ("POST", "/v1/subscription_items/{id}", update),
    ("DELETE", "/v1/subscription_items/{id}", delete),
]
