"""Invoice items: amounts that wait for a customer's next invoice."""

from __future__ import annotations

import copy
from typing import Any

from ..billing import invoice_totals, lines
from ..errors import StripeError, invalid, requires
from ..events import changes, emit
from ..fields import merged_metadata, required, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/invoiceitems: an amount with a currency, or a one-time price with a quantity; on a draft, when one is named."""
    supported(
        params,
        {"amount", "currency", "customer", "description", "invoice", "metadata", "period", "pricing", "quantity",
         "subscription"},
    )  # fmt: skip
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
    draft = _draft(tx, ctx, params["invoice"], customer) if params.get("invoice") else None
    if draft is not None:
        subscription = ((draft["parent"] or {}).get("subscription_details") or {}).get("subscription")
    span = params.get("period") or {}
    item = lines.new_item(
        ctx,
        customer=customer["id"],
        amount=amount,
        currency=currency,
        description=params.get("description") or (lines.product_name(tx, ctx, price) if price else None),
        period=(span.get("start", ctx.now), span.get("end", ctx.now)),
        price=price,
        quantity=quantity,
        subscription=subscription,
        metadata=merged_metadata({}, params.get("metadata")),
        unit_amount_decimal=price["unit_amount_decimal"] if price else None,
    )
    if draft is not None and draft["currency"] != currency:
        raise invalid(f"The currency of the invoice item must be that of the invoice: {draft['currency']}.", "currency")
    tx.insert(ctx, item)
    emit(tx, ctx, "invoiceitem.created", item)
    if draft is not None:
        item = _put_on_draft(tx, ctx, item, draft, customer)
    return item


def _draft(tx: Tx, ctx: Context, invoice_id: str, customer: Object) -> Object:
    """Read the invoice that an item is to go on. Raises: StripeError 400 unless it is a draft of the customer's."""
    invoice = referred(tx, ctx, "invoice", invoice_id, "invoice")
    if invoice["customer"] != customer["id"]:
        raise invalid("The invoice belongs to another customer.", "invoice")
    if invoice["status"] != "draft":
        raise invalid("You can only add invoice items to a draft invoice.", "invoice")
    return invoice


def _put_on_draft(tx: Tx, ctx: Context, item: Object, invoice: Object, customer: Object) -> Object:
    before = copy.deepcopy(invoice)
    line = {**lines.line_of_item(ctx, item), "invoice": invoice["id"]}
    held = invoice["lines"]
    held |= {"data": [*held["data"], line], "total_count": held["total_count"] + 1}
    item = {**item, "invoice": invoice["id"]}
    tx.save(ctx, item)
    invoice_totals.total_up(tx, ctx, invoice, customer, list(invoice["discounts"]))
    tx.save(ctx, invoice)
    previous = changes(before, invoice)
    if previous:
        emit(tx, ctx, "invoice.updated", invoice, previous)
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
