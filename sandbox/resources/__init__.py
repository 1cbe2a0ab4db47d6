"""One file per noun of Stripe's API; each has ROUTES with the schema's path templates."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Route = tuple[str, str, Callable[..., dict[str, Any]]]

MODULES = (
    "account",
    "balance",
    "billing_portal",
    "charges",
    "checkout_sessions",
    "customers",
    "events",
    "invoice_items",
    "invoice_payments",
    "invoices",
    "payment_intents",
    "payment_methods",
    "prices",
    "products",
    "refunds",
    "subscription_items",
    "subscriptions",
    "webhook_endpoints",
)


def all_routes() -> list[Route]:
    """Gather every (method, template, handler)."""
    return [route for name in MODULES for route in import_module(f"{__name__}.{name}").ROUTES]
