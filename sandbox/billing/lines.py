"""Builds invoice lines and pending invoice items. Amounts are minor units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .. import ids
from ..fields import money
from ..store import Context, Tx
from . import usage
from .catalog import cost, is_metered

Object = dict[str, Any]


def product_name(tx: Tx, ctx: Context, price: Object) -> str:
    """Name the product of a price."""
    product = tx.get(ctx, "product", price["product"], deleted=True)
    return str(product["name"]) if product else "Subscription"


def recurring_line(
    tx: Tx,
    ctx: Context,
    subscription: Object,
    item: Object,
    period: tuple[int, int],
    *,
    trial: bool = False,
    used: tuple[int, int] | None = None,
) -> Object:
    """Make the line for one whole period of an item, free during a trial.

    A metered item has the usage of the period that is over (`used`), and nothing where none is over yet.
    """
    price, quantity = item["price"], item.get("quantity", 1)
    amount = 0 if trial else cost(tx, ctx, price, quantity)
    if is_metered(price):
        quantity = 0
        if used and not trial:
            period = used
            quantity, amount = usage.billed(tx, ctx, price, subscription["customer"], *used)
    name = product_name(tx, ctx, price)
    every = price["recurring"]["interval"]
    if price["recurring"]["interval_count"] > 1:
        every = f"{price['recurring']['interval_count']} {every}s"
    text = f"{quantity} × {name} (at {unit_price(price)} / {every})"
    if trial:
        text = f"Free trial for {quantity} × {name}"
    return _line(
        ctx,
        amount=amount,
        currency=price["currency"],
        description=text,
        discountable=True,
        metadata=subscription["metadata"],
        parent=_item_parent(subscription["id"], item["id"], None, proration=False, credited=None),
        period=period,
        price=price,
        unit_amount_decimal="0" if trial else price["unit_amount_decimal"],
        quantity=quantity,
        subscription=subscription["id"],
    )


def unit_price(price: Object) -> str:
    """Write what one unit costs, also where that is less than the currency's smallest unit."""
    if price["billing_scheme"] == "tiered":
        return "tiered price"
    if price["unit_amount"] is not None:
        return money(price["unit_amount"], price["currency"])
    return f"{price['unit_amount_decimal']} × {money(1, price['currency'])}"


def _item_parent(subscription: str, item: str, invoice_item: str | None, *, proration: bool, credited: Any) -> Object:
    return {
        "invoice_item_details": None,
        "subscription_item_details": {
            "invoice_item": invoice_item,
            "proration": proration,
            "proration_details": {"credited_items": credited},
            "subscription": subscription,
            "subscription_item": item,
        },
        "type": "subscription_item_details",
    }


def line_of_item(ctx: Context, invoice_item: Object) -> Object:
    """Make the invoice line of a pending invoice item."""
    details = (invoice_item["parent"] or {}).get("subscription_details")
    if details and details.get("subscription_item"):
        parent = _item_parent(
            details["subscription"],
            details["subscription_item"],
            invoice_item["id"],
            proration=invoice_item["proration"],
            credited=_credited_lines(invoice_item),
        )
    else:
        parent = {
            "invoice_item_details": {
                "invoice_item": invoice_item["id"],
                "proration": invoice_item["proration"],
                "proration_details": {"credited_items": None},
                "subscription": details["subscription"] if details else None,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        }
    line = _line(
        ctx,
        amount=invoice_item["amount"],
        currency=invoice_item["currency"],
        description=invoice_item["description"],
        discountable=invoice_item["discountable"],
        metadata=invoice_item["metadata"] or {},
        parent=parent,
        period=(invoice_item["period"]["start"], invoice_item["period"]["end"]),
        price=None,
        unit_amount_decimal=None,
        quantity=invoice_item["quantity"],
        subscription=details["subscription"] if details else None,
    )
    line["pricing"] = invoice_item["pricing"]
    return line


def _credited_lines(invoice_item: Object) -> Object | None:
    """Show what a credit gives back the way that lines do, which is not the way of invoice items."""
    credited = (invoice_item.get("proration_details") or {}).get("credited_items")
    return credited.get("invoice_line_item_details") if credited else None


def _line(
    ctx: Context,
    *,
    amount: int,
    currency: str,
    description: str | None,
    discountable: bool,
    metadata: Object,
    parent: Object,
    period: tuple[int, int],
    price: Object | None,
    unit_amount_decimal: str | None,
    quantity: int,
    subscription: str | None,
) -> Object:
    return {
        "id": ids.new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": currency,
        "description": description,
        "discount_amounts": [],
        "discountable": discountable,
        "discounts": [],
        "invoice": None,
        "livemode": ctx.livemode,
        "metadata": metadata,
        "parent": parent,
        "period": {"start": period[0], "end": period[1]},
        "pretax_credit_amounts": [],
        "pricing": _pricing(price, unit_amount_decimal) if price else None,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": subscription,
        "subtotal": amount,
        "taxes": [],
    }


def _pricing(price: Object, unit_amount_decimal: str | None) -> Object:
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": unit_amount_decimal,
    }


def new_item(
    ctx: Context,
    *,
    customer: str,
    amount: int,
    currency: str,
    description: str | None,
    period: tuple[int, int],
    price: Object | None = None,
    quantity: int = 1,
    proration: bool = False,
    discountable: bool = True,
    subscription: str | None = None,
    subscription_item: str | None = None,
    metadata: Object | None = None,
    unit_amount_decimal: str | None = None,
) -> Object:
    """Make a pending invoice item; the caller inserts it."""
    details: Object | None = None
    if subscription:
        details = {"subscription": subscription}
        if subscription_item:
            details["subscription_item"] = subscription_item
    return {
        "id": ids.new_id("invoiceitem"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": ctx.now,
        "description": description,
        "discountable": discountable,
        "discounts": [],
        "invoice": None,
        "livemode": ctx.livemode,
        "metadata": metadata or {},
        "net_amount": amount,
        "parent": {"subscription_details": details, "type": "subscription_details"} if details else None,
        "period": {"start": period[0], "end": period[1]},
        "pricing": _pricing(price, unit_amount_decimal) if price else None,
        "proration": proration,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": None,
    }


def day(at: int) -> str:
    """Write a date as line descriptions do: 05 Nov 2026."""
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %Y")
