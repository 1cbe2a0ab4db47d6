"""What a price asks for a quantity: per unit, by the package, or in tiers (graduated or volume).

Source: https://docs.stripe.com/products-prices/pricing-models
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from ..errors import invalid, requires
from ..store import Context, Tx
from .totals import rounded

Object = dict[str, Any]

TIER_AMOUNTS = ("unit_amount", "flat_amount")


def amount_of(tx: Tx, ctx: Context, price: Object, quantity: int) -> int:
    """Give what a quantity costs, in minor units."""
    if price["billing_scheme"] == "tiered":
        return rounded(_tiered(tiers_of(tx, ctx, price), price["tiers_mode"], quantity))
    return rounded(_packages(price["transform_quantity"], quantity) * Decimal(price["unit_amount_decimal"]))


def tiers_of(tx: Tx, ctx: Context, price: Object) -> list[Object]:
    """Read a price's tiers, which are shown only where they are expanded; none for prices without."""
    found: list[Object] = tx.private(ctx, "price", price["id"]).get("tiers", [])
    return found


def _packages(transform: Object | None, quantity: int) -> int:
    if transform is None:
        return quantity
    whole, rest = divmod(quantity, transform["divide_by"])
    return whole + (1 if rest and transform["round"] == "up" else 0)


def _tiered(tiers: list[Object], mode: str, quantity: int) -> Decimal:
    """Add up every tier that the quantity reaches into, or charge all of it as the one tier that it ends in."""
    if mode == "volume":
        tier = next(tier for tier in tiers if tier["up_to"] is None or quantity <= tier["up_to"])
        return _cost(tier, quantity)
    total, below = Decimal(0), 0
    for tier in tiers:
        top = quantity if tier["up_to"] is None else min(quantity, tier["up_to"])
        # The first tier's flat amount is due whatever the quantity.
        if top > below or below == 0:
            total += _cost(tier, top - below)
        if tier["up_to"] is None or quantity <= tier["up_to"]:
            break
        below = tier["up_to"]
    return total


def _cost(tier: Object, quantity: int) -> Decimal:
    return Decimal(tier["flat_amount_decimal"] or 0) + quantity * Decimal(tier["unit_amount_decimal"] or 0)


def checked(wanted: list[Object] | None) -> list[Object]:
    """Read the `tiers` of a new price. Raises: StripeError 400 naming the tier that makes no sense."""
    if not wanted:
        raise requires("tiers")
    found = [_tier(entry, f"tiers[{index}]") for index, entry in enumerate(wanted)]
    bounds = [tier["up_to"] for tier in found]
    if bounds[-1] is not None:
        raise invalid("The last tier must have `up_to` set to `inf`.", f"tiers[{len(found) - 1}][up_to]")
    for index, (lower, upper) in enumerate(zip([0, *bounds[:-1]], bounds[:-1], strict=False)):
        if upper is None or lower is None or upper <= lower:
            raise invalid("Each tier's `up_to` must be greater than that of the tier before.", f"tiers[{index}][up_to]")
    return found


def _tier(entry: Object, path: str) -> Object:
    if entry.get("up_to") is None:
        raise requires(f"{path}[up_to]")
    tier: Object = {"up_to": None if entry["up_to"] == "inf" else int(entry["up_to"])}
    for name in TIER_AMOUNTS:
        whole, exact = entry.get(name), entry.get(f"{name}_decimal")
        if whole is not None and exact is not None:
            raise invalid(f"You may only specify one of these parameters: {name}, {name}_decimal.", f"{path}[{name}]")
        value = _decimal(exact if whole is None else whole, f"{path}[{name}_decimal]")
        is_whole = value is not None and value == value.to_integral_value()
        tier[name] = int(value) if value is not None and is_whole else None
        tier[f"{name}_decimal"] = None if value is None else str(int(value) if is_whole else value)
    if tier["unit_amount_decimal"] is None and tier["flat_amount_decimal"] is None:
        raise invalid("Each tier needs a `unit_amount` or a `flat_amount`.", path)
    return dict(sorted(tier.items()))


def _decimal(value: Any, param: str) -> Decimal | None:
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise invalid("Invalid decimal", param) from None
    if not found.is_finite() or found < 0:
        raise invalid("Invalid non-negative decimal", param)
    return found
