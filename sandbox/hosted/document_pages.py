"""Invoices at /i/INVOICE (a form while they are open, and a PDF) and receipts at /receipts/CHARGE, for whoever has the link."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from .. import clock
from ..billing import invoice_page
from ..errors import StripeError, missing
from ..store import Context, Object, Store, Tx
from .card_form import read_card_form
from .checkout_pages import TEST_CARDS
from .money import format_amount, format_date
from .pdf import Document

LINES_MAX = 500


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the routes of documents."""

    @pages.get("/i/<invoice_id>")
    def show_invoice(invoice_id: str) -> ResponseReturnValue:
        return _invoice_page(store, invoice_id, {}, {})

    @pages.post("/i/<invoice_id>")
    def pay_invoice(invoice_id: str) -> ResponseReturnValue:
        form = read_card_form(request.form, needs_email=False, needs_address=False)
        if form.errors:
            return _invoice_page(store, invoice_id, form.values, form.errors), 400
        try:
            outcome = invoice_page.pay_with_card(
                store,
                invoice_id,
                form.card_number,
                form.exp_month,
                form.exp_year,
                form.cvc,
                form.values["billingName"],
            )
        except StripeError as error:
            if error.http_status == 404:
                raise
            # Paid or voided meanwhile: the page itself says so.
            return redirect(url_for("hosted.show_invoice", invoice_id=invoice_id), 303)
        if outcome.kind == "declined":
            return _invoice_page(store, invoice_id, form.values, {"cardNumber": outcome.message}), 402
        return redirect(url_for("hosted.show_invoice", invoice_id=invoice_id), 303)

    @pages.get("/i/<invoice_id>/pdf")
    def download_invoice(invoice_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            _, invoice = invoice_page.open_invoice(tx, invoice_id)
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
        card = charge["payment_method_details"].get("card") or {
            "brand": "SEPA debit",
            **charge["payment_method_details"].get("sepa_debit", {}),
        }
        return render_template("hosted/receipt.html", charge=charge, card=card, account_name=row["name"])


def _find(store: Store, object_type: str, object_id: str) -> Object:
    with store.read() as tx:
        owner = tx.owner_of(object_type, object_id)
        found = tx.get(Context(owner[0], owner[1], clock.now()), object_type, object_id) if owner else None
    if found is None:
        raise missing(object_type, object_id)
    return found


def _invoice_page(store: Store, invoice_id: str, values: dict[str, str], errors: dict[str, str]) -> str:
    with store.read() as tx:
        ctx, invoice = invoice_page.open_invoice(tx, invoice_id)
        waiting = invoice_page.waiting_intent(tx, ctx, invoice)
        charges = _charges(tx, ctx, invoice_id)
    return render_template(
        "hosted/invoice.html",
        invoice=invoice,
        charges=charges,
        lines=_lines(invoice),
        waiting=waiting,
        values=values,
        errors=errors,
        test_cards=TEST_CARDS,
    )


def _charges(tx: Tx, ctx: Context, invoice_id: str) -> list[Object]:
    """Read the charges that paid an invoice."""
    charges = []
    for payment in tx.find_by(ctx, "invoice_payment", "invoice", invoice_id):
        intent = tx.get(ctx, "payment_intent", (payment["payment"] or {}).get("payment_intent") or "")
        charge = tx.get(ctx, "charge", intent["latest_charge"]) if intent and intent["latest_charge"] else None
        if charge and charge["status"] == "succeeded":
            charges.append(charge)
    return charges


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
    currency, paid = invoice["currency"], invoice["status"] == "paid"
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
    page.row(f"{format_amount(invoice['amount_due'], currency)} {'paid' if paid else 'due'}", size=16, bold=True)
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
