"""The invoice that a one-time checkout makes of what was paid, where its session asks for one (invoice_creation)."""

from __future__ import annotations

from typing import Any

from ..events import Journal
from ..fields import merged_metadata, supported
from ..store import Context, Tx
from . import invoicing, lines

Object = dict[str, Any]


def settings(wanted: Object | None) -> Object:
    """Show the `invoice_creation` of a one-time session. Raises: StripeError 400 for what would do nothing here."""
    data = (wanted or {}).get("invoice_data") or {}
    supported(data, {"description", "footer", "metadata"}, "invoice_creation[invoice_data]")
    return {
        "enabled": bool((wanted or {}).get("enabled")),
        "invoice_data": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": data.get("description"),
            "footer": data.get("footer"),
            "issuer": None,
            "metadata": merged_metadata({}, data.get("metadata")),
            "rendering_options": None,
        },
    }


def is_wanted(session: Object) -> bool:
    """Tell whether the purchase is to have an invoice."""
    return bool((session["invoice_creation"] or {}).get("enabled"))


def make(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    session: Object,
    private: Object,
    customer: Object,
    intent: Object | None,
    discount_ids: list[str],
) -> None:
    """Bill what the session sold, which is paid already or being paid. The customer's balance has no part in it."""
    data = session["invoice_creation"]["invoice_data"]
    invoice = invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=session["currency"],
        lines=[_line(tx, ctx, item, customer) for item in private["line_items"]],
        billing_reason="manual",
        period=(ctx.now, ctx.now),
        metadata=data["metadata"],
        automatic_tax=session["automatic_tax"]["enabled"],
        discount_ids=discount_ids,
    )
    invoice |= {"description": data["description"], "footer": data["footer"]}
    balance, customer["balance"] = customer["balance"], 0
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    customer["balance"] = balance
    tx.save(ctx, customer)
    session["invoice"] = invoice["id"]
    if intent is not None:
        invoicing.link_payment(tx, ctx, invoice, intent)
    if intent is not None and intent["status"] == "processing":
        tx.save(ctx, invoice | {"attempted": True})
    else:
        invoicing.mark_paid(tx, ctx, journal, invoice, intent)


def _line(tx: Tx, ctx: Context, item: Object, customer: Object) -> Object:
    sold = lines.new_item(
        ctx,
        customer=customer["id"],
        amount=item["amount_subtotal"],
        currency=item["currency"],
        description=item["description"],
        period=(ctx.now, ctx.now),
        price=item["price"],
        quantity=item["quantity"],
        unit_amount_decimal=item["price"]["unit_amount_decimal"],
    )
    tx.insert(ctx, sold)
    return lines.line_of_item(ctx, sold)
