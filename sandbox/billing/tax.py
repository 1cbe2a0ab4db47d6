"""Automatic tax, as a stub: one rate everywhere (see totals.py), once it is known where the customer is."""

from __future__ import annotations

from typing import Any

from ..errors import StripeError

Object = dict[str, Any]


def require_location(customer: Object) -> None:
    """Refuse to tax someone whose country is not known. Raises: StripeError 400."""
    address = customer["address"] or (customer["shipping"] or {}).get("address") or {}
    if not address.get("country"):
        raise StripeError(
            "The customer's location isn't recognized. Set a valid customer address in order to automatically "
            "calculate tax.",
            code="customer_tax_location_invalid",
            param="automatic_tax[enabled]",
        )


def switch_on(subscription: Object, customer: Object) -> None:
    """Have all invoices of a subscription taxed from now on. Raises: StripeError 400 without an address."""
    require_location(customer)
    subscription["automatic_tax"] = {"disabled_reason": None, "enabled": True, "liability": {"type": "self"}}


def switch_off(subscription: Object) -> None:
    """Have the invoices of a subscription untaxed from now on."""
    subscription["automatic_tax"] = {"disabled_reason": None, "enabled": False, "liability": None}
