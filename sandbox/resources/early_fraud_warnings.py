"""Early fraud warnings: what issuers report about charges; they are read only."""

from __future__ import annotations

from typing import Any

from ..fields import supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]

TYPE = "radar.early_fraud_warning"


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/radar/early_fraud_warnings/{id}."""
    return find_one(tx, ctx, TYPE, id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/radar/early_fraud_warnings."""
    supported(params, {"charge", "created", "limit", "starting_after", "ending_before", "payment_intent"})
    equal = {name: params.get(name) for name in ("charge", "payment_intent")}
    return page(tx, ctx, TYPE, params, "/v1/radar/early_fraud_warnings", equal)


ROUTES = [
    ("GET", "/v1/radar/early_fraud_warnings", list_all),
    ("GET", "/v1/radar/early_fraud_warnings/{id}", retrieve),
]
