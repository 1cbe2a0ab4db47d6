"""From lines to a total: discounts first, then tax. Amounts are minor units; nothing here reads or writes storage.

Rounding: a discount is worked out on the sum of what it applies to, rounded to the nearest unit (half up), and spread
over the lines by their share, rounded down, with the remainder on the last line (documented for amounts off).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Object = dict[str, Any]

# A stub: one rate everywhere, unlike Stripe Tax, which knows places and kinds of products.
TAX_PERCENT = 10
TAX_RATE_ID = "txr_1sandboxfixedratestub0000"


@dataclass(frozen=True)
class Priced:
    """What a discount or a tax has to know of a line."""

    amount: int
    product: str | None = None
    discountable: bool = True
    inclusive: bool = False


def rounded(value: Decimal) -> int:
    """Round to whole minor units, half up."""
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def _applies(coupon: Object, line: Priced, left: int) -> bool:
    products = (coupon.get("applies_to") or {}).get("products")
    return line.discountable and left > 0 and (not products or line.product in products)


def spread(amount: int, shares: Sequence[int]) -> list[int]:
    """Divide an amount by shares: each part rounded down, the remainder on the last that has a share."""
    whole = sum(shares)
    if not whole:
        return [0] * len(shares)
    parts = [amount * share // whole for share in shares]
    last = max(index for index, share in enumerate(shares) if share)
    parts[last] += amount - sum(parts)
    return parts


def discounted(lines: Sequence[Priced], coupons: Sequence[Object]) -> list[list[int]]:
    """Give per coupon what it takes off each line; each coupon works on what the ones before it left."""
    left = [line.amount for line in lines]
    found = []
    for coupon in coupons:
        shares = [amount if _applies(coupon, line, amount) else 0 for line, amount in zip(lines, left, strict=True)]
        base = sum(shares)
        if coupon["percent_off"] is not None:
            off = rounded(Decimal(base) * Decimal(str(coupon["percent_off"])) / 100)
        else:
            off = min(int(coupon["amount_off"] or 0), base)
        parts = spread(off, shares)
        left = [amount - part for amount, part in zip(left, parts, strict=True)]
        found.append(parts)
    return found


def tax_on(amount: int, *, inclusive: bool) -> int:
    """Give the stub's tax on an amount, or the tax that is in it. Credits get their tax back."""
    share = Decimal(TAX_PERCENT) / (100 + TAX_PERCENT) if inclusive else Decimal(TAX_PERCENT) / 100
    return rounded(Decimal(amount) * share) if amount >= 0 else -rounded(Decimal(-amount) * share)


def tax_entry(amount: int, *, inclusive: bool, exempt: str) -> Object:
    """Write the tax of a line (or a whole invoice) as invoices show it; `exempt` is the customer's tax_exempt."""
    reasons = {"exempt": "customer_exempt", "reverse": "reverse_charge"}
    return {
        "amount": 0 if exempt in reasons else tax_on(amount, inclusive=inclusive),
        "tax_behavior": "inclusive" if inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": TAX_RATE_ID},
        "taxability_reason": reasons.get(exempt, "standard_rated"),
        "taxable_amount": amount,
        "type": "tax_rate_details",
    }


def sum_taxes(entries: Sequence[Object]) -> list[Object]:
    """Add up the taxes of lines, one entry for each behaviour."""
    found: dict[str, Object] = {}
    for entry in entries:
        whole = found.setdefault(entry["tax_behavior"], {**entry, "amount": 0, "taxable_amount": 0})
        whole["amount"] += entry["amount"]
        whole["taxable_amount"] += entry["taxable_amount"]
    return list(found.values())


def settle(invoice: Object, coupons: Sequence[tuple[str, Object]], inclusive: Sequence[bool], exempt: str) -> None:
    """Work out an invoice's discounts, taxes and total from its lines, and write them into it and into the lines.

    `coupons` are (id of the discount, coupon); `inclusive` says per line whether its price holds the tax already.
    """
    lines = invoice["lines"]["data"]
    priced = [
        Priced(line["amount"], _product(line), line["discountable"], within)
        for line, within in zip(lines, inclusive, strict=True)
    ]
    off = discounted(priced, [coupon for _, coupon in coupons])
    for index, line in enumerate(lines):
        line["discount_amounts"] = [
            {"amount": parts[index], "discount": discount}
            for (discount, _), parts in zip(coupons, off, strict=True)
            if parts[index]
        ]
        line["pretax_credit_amounts"] = [{**entry, "type": "discount"} for entry in line["discount_amounts"]]
        line["taxes"] = []
        if invoice["automatic_tax"]["enabled"]:
            net = line["amount"] - sum(parts[index] for parts in off)
            line["taxes"] = [tax_entry(net, inclusive=priced[index].inclusive, exempt=exempt)]
    subtotal = sum(line["amount"] for line in lines)
    taxes = sum_taxes([entry for line in lines for entry in line["taxes"]])
    reduced = subtotal - sum(sum(parts) for parts in off)
    added = sum(entry["amount"] for entry in taxes if entry["tax_behavior"] == "exclusive")
    within_lines = sum(
        entry["amount"] for line in lines for entry in line["taxes"] if entry["tax_behavior"] == "inclusive"
    )
    invoice |= {
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - sum(_tax_in(line, invoice) for line in lines),
        "total": reduced + added,
        "total_discount_amounts": [
            {"amount": sum(parts), "discount": discount} for (discount, _), parts in zip(coupons, off, strict=True)
        ],
        "total_excluding_tax": reduced - within_lines,
        "total_pretax_credit_amounts": [
            {"amount": sum(parts), "discount": discount, "type": "discount"}
            for (discount, _), parts in zip(coupons, off, strict=True)
        ],
        "total_taxes": taxes,
    }


def _tax_in(line: Object, invoice: Object) -> int:
    inclusive = any(entry["tax_behavior"] == "inclusive" for entry in line["taxes"])
    return tax_on(line["amount"], inclusive=True) if inclusive else 0


def _product(line: Object) -> str | None:
    details = (line["pricing"] or {}).get("price_details") or {}
    product: str | None = details.get("product")
    return product
