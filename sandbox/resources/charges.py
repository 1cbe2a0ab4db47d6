"""Charges: made by payment intents, read here."""

from __future__ import annotations

import copy
from typing import Any

from ..events import changes, emit
from ..fields import apply_simple, merged_metadata, supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/charges/{id}."""
    return find_one(tx, ctx, "charge", id)


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/charges/{id}: description, receipt_email and metadata."""
    supported(params, {"description", "metadata", "receipt_email"})
    charge = find_one(tx, ctx, "charge", id)
    before = copy.deepcopy(charge)
    apply_simple(charge, params, ("description", "receipt_email"))
    if "metadata" in params:
        charge["metadata"] = merged_metadata(charge["metadata"], params["metadata"])
    tx.save(ctx, charge)
    previous = changes(before, charge)
    if previous:
        emit(tx, ctx, "charge.updated", charge, previous)
    return charge


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/charges."""
    supported(params, {"created", "customer", "limit", "starting_after", "ending_before", "payment_intent"})
    equal = {name: params.get(name) for name in ("customer", "payment_intent")}
    return page(tx, ctx, "charge", params, "/v1/charges", equal)


ROUTES = [
    ("GET", "/v1/charges", list_all),
    ("GET", "/v1/charges/{id}", retrieve),
    ("POST", "/v1/charges/{id}", update),
]
