"""Invoice payments: what ties payment intents to invoices, since neither names the other."""

from __future__ import annotations

from typing import Any

from ..fields import supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/invoice_payments/{id}."""
    return find_one(tx, ctx, "invoice_payment", id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/invoice_payments."""
    supported(params, {"created", "invoice", "limit", "starting_after", "ending_before", "payment", "status"})
    payment = params.get("payment") or {}
    equal = {
        "invoice": params.get("invoice"),
        "status": params.get("status"),
        "payment.payment_intent": payment.get("payment_intent"),
        "payment.type": payment.get("type"),
    }
    return page(tx, ctx, "invoice_payment", params, "/v1/invoice_payments", equal)


ROUTES = [
    ("GET", "/v1/invoice_payments", list_all),
    ("GET", "/v1/invoice_payments/{id}", retrieve),
]
