"""What a checkout session comes to: its lines less discounts plus tax, worked out as its invoice will be."""

from __future__ import annotations

from typing import Any

from ..errors import StripeError
from ..store import Context, Tx
from . import discounts, totals

Object = dict[str, Any]


def total_up(tx: Tx, ctx: Context, session: Object, private: Object) -> None:
    """Write amounts, discounts and tax into a session and its lines; the caller saves both.

    Raises: StripeError 400 for a discount that cannot be redeemed (any more).
    """
    # Recurring lines first, as the invoice has them, so that remainders of rounding fall on the same lines.
    items = sorted(private["line_items"], key=lambda item: item["price"]["recurring"] is None)
    customer = tx.get(ctx, "customer", session["customer"] or "")
    taxed = session["automatic_tax"]["enabled"]
    lines = [
        totals.Priced(
            0 if private.get("trial_days") and item["price"]["recurring"] else item["amount_subtotal"],
            item["price"]["product"],
            inclusive=item["price"]["tax_behavior"] == "inclusive",
        )
        for item in items
    ]
    subtotal = sum(line.amount for line in lines)
    sources = sources_of(tx, ctx, session, private, customer)
    off = totals.discounted(lines, [source.coupon for source in sources])
    exempt = customer["tax_exempt"] if customer else "none"
    added = contained = 0
    for index, (item, line) in enumerate(zip(items, lines, strict=True)):
        less = sum(parts[index] for parts in off)
        tax = 0
        if taxed:
            tax = totals.tax_entry(line.amount - less, inclusive=line.inclusive, exempt=exempt)["amount"]
        added, contained = (added, contained + tax) if line.inclusive else (added + tax, contained)
        item |= {
            "amount_discount": less,
            "amount_tax": tax,
            "amount_total": item["amount_subtotal"] - less + (0 if line.inclusive else tax),
        }
    session |= {
        "amount_subtotal": subtotal,
        "amount_total": subtotal - sum(map(sum, off)) + added,
        "discounts": [
            {
                "coupon": None if source.promotion_code else source.coupon["id"],
                "promotion_code": source.promotion_code["id"] if source.promotion_code else None,
            }
            for source in sources
        ],
        "total_details": {
            "amount_discount": sum(map(sum, off)),
            "amount_shipping": 0,
            "amount_tax": added + contained,
        },
    }


def sources_of(
    tx: Tx, ctx: Context, session: Object, private: Object, customer: Object | None
) -> list[discounts.Source]:
    """Read what the session redeems. Raises: StripeError 400 when that is no longer possible."""
    return discounts.checked(
        tx,
        ctx,
        private.get("discounts"),
        customer=customer,
        currency=session["currency"],
        amount=sum(item["amount_subtotal"] for item in private["line_items"]),
        own_intent=private.get("intent") or "",
    )


def use_code(tx: Tx, ctx: Context, session: Object, private: Object, code: Object | None) -> None:
    """Put a promotion code on an open session in the place of another, or take it off. Raises: StripeError 400."""
    if not session["allow_promotion_codes"]:
        raise StripeError("This Checkout Session takes no promotion codes.")
    private["discounts"] = [{"promotion_code": code["id"]}] if code else []
    total_up(tx, ctx, session, private)
    tx.save(ctx, session)
    tx.save_private(ctx, "checkout.session", session["id"], private)
