"""Subscription items, read by themselves; they are changed through their subscription."""

from __future__ import annotations

from typing import Any

from ..errors import missing
from ..fields import required
from ..lookup import referred
from ..paging import page_of
from ..store import Context, Tx

Object = dict[str, Any]


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/subscription_items/{id}."""
    found = tx.get(ctx, "subscription_item", id)
    if found is None:
        raise missing("subscription_item", id, "item")
    return found


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/subscription_items: of one subscription."""
    subscription = referred(tx, ctx, "subscription", required(params, "subscription"), "subscription")
    return page_of(subscription["items"]["data"], params, "/v1/subscription_items")


ROUTES = [
    ("GET", "/v1/subscription_items", list_all),
    ("GET", "/v1/subscription_items/{id}", retrieve),
]
