"""Invoices at /i/INVOICE (and their PDF) and receipts at /receipts/CHARGE; whoever has the link may read."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue

from .. import clock
from ..errors import missing
from ..store import Context, Object, Store
from .money import format_amount, format_date
from .pdf import Document

LINES_MAX = 500


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the routes of documents."""

    @pages.get("/i/<invoice_id>")
    def show_invoice(invoice_id: str) -> ResponseReturnValue:
        invoice, charges = _invoice_with_charges(store, invoice_id)
        return render_template("hosted/invoice.html", invoice=invoice, charges=charges, lines=_lines(invoice))

    @pages.get("/i/<invoice_id>/pdf")
    def download_invoice(invoice_id: str) -> ResponseReturnValue:
        invoice, _ = _invoice_with_charges(store, invoice_id)
        name = f"Invoice-{invoice['number'] or invoice['id']}.pdf"
        headers = {"Content-Disposition": f'attachment; filename="{_file_name(name)}"'}
        return Response(write_invoice(invoice), content_type="application/pdf", headers=headers)

    @pages.get("/receipts/<charge_id>")
    def show_receipt(charge_id: str) -> ResponseReturnValue:
        charge = _find(store, "charge", charge_id)
        if charge["status"] != "succeeded":
            raise missing("charge", charge_id)
        with store.read() as tx:
            row = tx.execute(
                "SELECT accounts.name FROM accounts JOIN objects ON objects.account = accounts.id WHERE objects.id = ?",
                (charge_id,),
            ).fetchone()
        card = charge["payment_method_details"]["card"]
        return render_template("hosted/receipt.html", charge=charge, card=card, account_name=row["name"])


def _find(store: Store, object_type: str, object_id: str) -> Object:
    with store.read() as tx:
        owner = tx.owner_of(object_type, object_id)
        found = tx.get(Context(owner[0], owner[1], clock.now()), object_type, object_id) if owner else None
    if found is None:
        raise missing(object_type, object_id)
    return found


def _invoice_with_charges(store: Store, invoice_id: str) -> tuple[Object, list[Object]]:
    """Read an invoice that has been sent out, with the charges that paid it.

    Raises: StripeError 404; a draft has no page, as at Stripe.
    """
    invoice = _find(store, "invoice", invoice_id)
    if invoice["status"] == "draft":
        raise missing("invoice", invoice_id)
    with store.read() as tx:
        owner = tx.owner_of("invoice", invoice_id)
        if owner is None:
            raise missing("invoice", invoice_id)
        ctx = Context(owner[0], owner[1], clock.now())
        charges = []
        for payment in tx.find_by(ctx, "invoice_payment", "invoice", invoice_id):
            intent = tx.get(ctx, "payment_intent", (payment["payment"] or {}).get("payment_intent") or "")
            charge = tx.get(ctx, "charge", intent["latest_charge"]) if intent and intent["latest_charge"] else None
            if charge and charge["status"] == "succeeded":
                charges.append(charge)
    return invoice, charges


def _lines(invoice: Object) -> list[dict[str, Any]]:
    return [
        {
            "description": line["description"] or "",
            "quantity": line["quantity"],
            "period": f"{format_date(line['period']['start'])} – {format_date(line['period']['end'])}",
            "amount": line["amount"],
            "currency": line["currency"],
        }
        for line in invoice["lines"]["data"][:LINES_MAX]
    ]


def write_invoice(invoice: Object) -> bytes:
    """Write the invoice as a PDF file."""
    currency = invoice["currency"]
    page = Document(f"Invoice {invoice['number'] or ''}")
    page.row("Invoice", invoice["account_name"] or "", size=20, bold=True)
    page.space(12)
    page.row("Invoice number", invoice["number"] or "")
    page.row("Date", format_date(invoice["created"]))
    page.row("Status", str(invoice["status"]).capitalize())
    page.row("Bill to", invoice["customer_name"] or invoice["customer_email"] or "")
    if invoice["customer_name"] and invoice["customer_email"]:
        page.row("", invoice["customer_email"])
    for part in _address_lines(invoice["customer_address"]):
        page.row("", part)
    page.space(16)
    page.row(f"{format_amount(invoice['amount_due'], currency)} due", size=16, bold=True)
    page.space(8)
    page.row("Description", "Amount", bold=True)
    page.rule()
    for line in _lines(invoice):
        page.row(line["description"], format_amount(line["amount"], line["currency"]))
        page.row(line["period"], size=8)
    page.rule()
    page.row("Subtotal", format_amount(invoice["subtotal"], currency))
    page.row("Total", format_amount(invoice["total"], currency), bold=True)
    if invoice["starting_balance"]:
        page.row("Applied balance", format_amount(invoice["amount_due"] - invoice["total"], currency))
    page.row("Amount due", format_amount(invoice["amount_due"], currency))
    page.row("Amount paid", format_amount(invoice["amount_paid"], currency))
    page.space(24)
    page.row("Sandbox — no real money. This is not a tax document.", size=8)
    return page.to_bytes()


def _address_lines(address: Object | None) -> list[str]:
    if not address:
        return []
    city = " ".join(part for part in (address.get("postal_code"), address.get("city"), address.get("state")) if part)
    return [part for part in (address.get("line1"), address.get("line2"), city, address.get("country")) if part]


def _file_name(name: str) -> str:
    return "".join(
        character for character in name if character.isascii() and (character.isalnum() or character in "-._")
    )
