"""Invoice items: amounts that wait for a customer's next invoice."""

from __future__ import annotations

from typing import Any

from ..billing import lines
from ..errors import StripeError, invalid, requires
from ..events import emit
from ..fields import merged_metadata, required, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/invoiceitems: an amount with a currency, or a one-time price with a quantity."""
    supported(
        params, {"amount", "currency", "customer", "description", "metadata", "pricing", "quantity", "subscription"}
    )
    customer = existing(tx, ctx, required(params, "customer"))
    quantity = params.get("quantity", 1)
    price: Object | None = None
    if params.get("pricing"):
        price = referred(tx, ctx, "price", params["pricing"].get("price", ""), "pricing[price]")
        if price["type"] != "one_time":
            raise invalid("The price specified must be a one-time price.", "pricing[price]")
        amount, currency = price["unit_amount"] * quantity, price["currency"]
    elif params.get("amount") is None:
        raise requires("amount")
    else:
        amount, currency = params["amount"], str(required(params, "currency")).lower()
    subscription = params.get("subscription")
    if subscription:
        referred(tx, ctx, "subscription", subscription, "subscription")
    item = lines.new_item(
        ctx,
        customer=customer["id"],
        amount=amount,
        currency=currency,
        description=params.get("description") or (lines.product_name(tx, ctx, price) if price else None),
        period=(ctx.now, ctx.now),
        price=price,
        quantity=quantity,
        subscription=subscription,
        metadata=merged_metadata({}, params.get("metadata")),
        unit_amount_decimal=price["unit_amount_decimal"] if price else None,
    )
    tx.insert(ctx, item)
    emit(tx, ctx, "invoiceitem.created", item)
    return item


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/invoiceitems/{id}."""
    return find_one(tx, ctx, "invoiceitem", id)


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/invoiceitems/{id}: only while it is pending."""
    item = find_one(tx, ctx, "invoiceitem", id)
    if item["invoice"]:
        raise StripeError("You can't delete an invoice item that is attached to an invoice.")
    tx.mark_deleted(ctx, "invoiceitem", id)
    emit(tx, ctx, "invoiceitem.deleted", item)
    return {"id": id, "object": "invoiceitem", "deleted": True}


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/invoiceitems."""
    supported(params, {"created", "customer", "invoice", "limit", "starting_after", "ending_before", "pending"})
    equal = {"customer": params.get("customer"), "invoice": params.get("invoice")}
    where = ""
    if params.get("pending") is not None:
        where = f" AND json_extract(json, '$.invoice') IS {'' if params['pending'] else 'NOT '}NULL"
    return page(tx, ctx, "invoiceitem", params, "/v1/invoiceitems", equal, where)


ROUTES = [
    ("POST", "/v1/invoiceitems", create),
    ("GET", "/v1/invoiceitems", list_all),
    ("GET", "/v1/invoiceitems/{id}", retrieve),
    ("DELETE", "/v1/invoiceitems/{id}", delete),
]
