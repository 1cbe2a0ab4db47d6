"""Products: what is sold."""

from __future__ import annotations

import copy
from typing import Any

from ..billing.catalog import SIMPLE_PRODUCT_FIELDS, new_product
from ..errors import StripeError
from ..events import changes, emit
from ..fields import apply_simple, merged_metadata, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from . import prices

Object = dict[str, Any]

WRITABLE = {*SIMPLE_PRODUCT_FIELDS, "metadata", "marketing_features", "default_price"}


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/products."""
    supported(params, {*WRITABLE, "id", "type", "default_price_data"})
    product = new_product(tx, ctx, params)
    if params.get("default_price_data"):
        price = prices.create(tx, ctx, {**params["default_price_data"], "product": product["id"]})
        product["default_price"] = price["id"]
        tx.save(ctx, product)
    return product


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/products/{id}."""
    supported(params, WRITABLE)
    product = find_one(tx, ctx, "product", id)
    before = copy.deepcopy(product)
    apply_simple(product, params, SIMPLE_PRODUCT_FIELDS)
    if "metadata" in params:
        product["metadata"] = merged_metadata(product["metadata"], params["metadata"])
    if "marketing_features" in params:
        product["marketing_features"] = params["marketing_features"] or []
    if "default_price" in params:
        product["default_price"] = referred(tx, ctx, "price", params["default_price"], "default_price")["id"]
    if product["images"] is None:
        product["images"] = []
    if changes(before, product):
        product["updated"] = ctx.now
        tx.save(ctx, product)
        emit(tx, ctx, "product.updated", product, changes(before, product))
    return product


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/products/{id}: only products without prices. The event shows the product as inactive."""
    product = find_one(tx, ctx, "product", id)
    if tx.find_by(ctx, "price", "product", id):
        raise StripeError(
            "This product cannot be deleted because it has one or more user-created prices.", http_status=400
        )
    tx.mark_deleted(ctx, "product", id)
    emit(tx, ctx, "product.deleted", {**product, "active": False})
    return {"id": id, "object": "product", "deleted": True}


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/products/{id}."""
    return find_one(tx, ctx, "product", id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/products."""
    supported(params, {"active", "ids", "created", "limit", "starting_after", "ending_before", "shippable", "url"})
    where, values = "", list(params.get("ids") or [])
    if values:
        where = f" AND id IN ({','.join('?' * len(values))})"
    equal = {name: params.get(name) for name in ("active", "shippable", "url")}
    return page(tx, ctx, "product", params, "/v1/products", equal, where, values)


ROUTES = [
    ("POST", "/v1/products", create),
    ("GET", "/v1/products", list_all),
    ("GET", "/v1/products/{id}", retrieve),
    ("POST", "/v1/products/{id}", update),
    ("DELETE", "/v1/products/{id}", delete),
]
