"""Tax ids of customers: kept, shown on invoices, and verified a moment later by a stub."""

from __future__ import annotations

from typing import Any

from ..billing.tax_ids import new_tax_id
from ..errors import invalid
from ..events import emit
from ..fields import required, supported
from ..lookup import no_such
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/tax_ids: for a customer."""
    supported(params, {"owner", "type", "value"})
    owner = params.get("owner") or {}
    if owner.get("type") != "customer":
        raise invalid("The sandbox keeps tax IDs of customers only.", "owner[type]")
    return new_tax_id(
        tx, ctx, existing(tx, ctx, required(owner, "customer"), "owner[customer]"), params["type"], params["value"]
    )


def create_for_customer(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/customers/{id}/tax_ids."""
    supported(params, {"type", "value"})
    return new_tax_id(tx, ctx, find_one(tx, ctx, "customer", id), params["type"], params["value"])


def _find(tx: Tx, ctx: Context, tax_id: str, customer: str | None = None) -> Object:
    found = find_one(tx, ctx, "tax_id", tax_id)
    if customer is not None and found["customer"] != customer:
        raise no_such(tx, ctx, "tax_id", tax_id, "id", 404)
    return found


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/tax_ids/{id}."""
    return _find(tx, ctx, id)


def retrieve_for_customer(tx: Tx, ctx: Context, params: Object, customerId: str, id: str) -> Object:
    """GET /v1/customers/{customer}/tax_ids/{id}."""
    return _find(tx, ctx, id, customerId)


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/tax_ids/{id}."""
    found = _find(tx, ctx, id)
    tx.mark_deleted(ctx, "tax_id", id)
    emit(tx, ctx, "customer.tax_id.deleted", found)
    return {"id": id, "object": "tax_id", "deleted": True}


def delete_for_customer(tx: Tx, ctx: Context, params: Object, customerId: str, id: str) -> Object:
    """DELETE /v1/customers/{customer}/tax_ids/{id}."""
    _find(tx, ctx, id, customerId)
    return delete(tx, ctx, params, id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/tax_ids."""
    supported(params, {"limit", "owner", "starting_after", "ending_before"})
    owner = (params.get("owner") or {}).get("customer")
    return page(tx, ctx, "tax_id", params, "/v1/tax_ids", {"customer": owner})


def list_for_customer(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/customers/{id}/tax_ids."""
    find_one(tx, ctx, "customer", id)
    return page(tx, ctx, "tax_id", params, f"/v1/customers/{id}/tax_ids", {"customer": id})


ROUTES = [
    ("POST", "/v1/tax_ids", create),
    ("GET", "/v1/tax_ids", list_all),
    ("GET", "/v1/tax_ids/{id}", retrieve),
    ("DELETE", "/v1/tax_ids/{id}", delete),
    ("POST", "/v1/customers/{id}/tax_ids", create_for_customer),
    ("GET", "/v1/customers/{id}/tax_ids", list_for_customer),
    ("GET", "/v1/customers/{customerId}/tax_ids/{id}", retrieve_for_customer),
    ("DELETE", "/v1/customers/{customerId}/tax_ids/{id}", delete_for_customer),
]
