"""Test clocks: made, advanced and deleted, together with the customers on them."""

from __future__ import annotations

from typing import Any

from ..billing import clocks
from ..events import emit
from ..fields import required, supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from ..timeline import CLOCK
from . import customers

Object = dict[str, Any]


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/test_helpers/test_clocks."""
    supported(params, {"customer", "frozen_time", "name"})
    customer = customers.existing(tx, ctx, params["customer"]) if params.get("customer") else None
    return clocks.create(tx, ctx, required(params, "frozen_time"), name=params.get("name") or None, customer=customer)


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/test_helpers/test_clocks/{id}."""
    return find_one(tx, ctx, CLOCK, id)


def advance(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/test_helpers/test_clocks/{id}/advance: answers `advancing`; `ready` comes a moment later."""
    return clocks.start_advancing(tx, ctx, find_one(tx, ctx, CLOCK, id), required(params, "frozen_time"))


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/test_helpers/test_clocks/{id}: its customers go with it."""
    return remove(tx, ctx, find_one(tx, ctx, CLOCK, id))


def remove(tx: Tx, ctx: Context, clock: Object) -> Object:
    """Delete a clock, its customers and what would still have happened to them."""
    there = clocks.at(ctx, clock)
    for customer in tx.find_by(ctx, "customer", "test_clock", clock["id"]):
        customers.delete(tx, there, {}, customer["id"])
    tx.execute("DELETE FROM due WHERE clock = ? OR id = ?", (clock["id"], clock["id"]))
    tx.mark_deleted(ctx, CLOCK, clock["id"])
    emit(tx, ctx, "test_helpers.test_clock.deleted", clock)
    return {"id": clock["id"], "object": CLOCK, "deleted": True}


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/test_helpers/test_clocks."""
    return page(tx, ctx, CLOCK, params, "/v1/test_helpers/test_clocks")


ROUTES = [
    ("POST", "/v1/test_helpers/test_clocks", create),
    ("GET", "/v1/test_helpers/test_clocks", list_all),
    ("GET", "/v1/test_helpers/test_clocks/{id}", retrieve),
    ("DELETE", "/v1/test_helpers/test_clocks/{id}", delete),
    ("POST", "/v1/test_helpers/test_clocks/{id}/advance", advance),
]
