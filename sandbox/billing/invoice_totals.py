"""Puts discounts and taxes on drafts, and keeps what each item of a subscription really cost."""

from __future__ import annotations

from typing import Any

from ..events import Journal
from ..store import Context, Tx
from . import discounts, totals

Object = dict[str, Any]

TAXED: Object = {"enabled": True, "liability": {"type": "self"}, "provider": "stripe", "status": "complete"}


def total_up(tx: Tx, ctx: Context, invoice: Object, customer: Object, discount_ids: list[str]) -> None:
    """Work out a draft's discounts, taxes and totals."""
    coupons = discounts.running(tx, ctx, discount_ids)
    invoice["discounts"] = [discount_id for discount_id, _ in coupons]
    taxed = invoice["automatic_tax"]["enabled"]
    inclusive = [taxed and _holds_tax(tx, ctx, line) for line in invoice["lines"]["data"]]
    totals.settle(invoice, coupons, inclusive, customer["tax_exempt"])
    invoice |= {"amount_due": max(invoice["total"], 0), "amount_remaining": max(invoice["total"], 0)}


def _holds_tax(tx: Tx, ctx: Context, line: Object) -> bool:
    details = (line["pricing"] or {}).get("price_details") or {}
    price = tx.get(ctx, "price", details.get("price") or "")
    return price is not None and price["tax_behavior"] == "inclusive"


def discount(tx: Tx, ctx: Context, journal: Journal, invoice: Object, customer: Object, wanted: list[Object]) -> None:
    """Lower an invoice that belongs to no subscription. Raises: StripeError 400."""
    sources = discounts.checked(
        tx, ctx, wanted, customer=customer, currency=invoice["currency"], amount=invoice["subtotal"]
    )
    found = discounts.redeem(tx, ctx, journal, sources, customer=customer["id"], invoice=invoice["id"])
    total_up(tx, ctx, invoice, customer, found)
    tx.save(ctx, invoice)


def note_debits(tx: Tx, ctx: Context, subscription: Object, invoice: Object) -> None:
    """Keep what each item really cost for its period: the credit of a later change starts from it."""
    private = tx.private(ctx, "subscription", subscription["id"])
    debited = private.setdefault("debited", {})
    for line in invoice["lines"]["data"]:
        details = (line["parent"] or {}).get("subscription_item_details")
        if details and not details["proration"] and line["amount"] > 0:
            off = sum(entry["amount"] for entry in line["discount_amounts"])
            debited[details["subscription_item"]] = line["amount"] - off
    tx.save_private(ctx, "subscription", subscription["id"], private)
