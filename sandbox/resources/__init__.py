"""One file per noun of Stripe's API; each has ROUTES with the schema's path templates."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .. import timeline

Route = tuple[str, str, Callable[..., dict[str, Any]]]

MODULES = (
    "account",
    "balance",
    "billing_portal",
    "charges",
    "checkout_sessions",
    "coupons",
    "customers",
    "disputes",
    "early_fraud_warnings",
    "events",
    "invoice_items",
    "invoice_payments",
    "invoices",
    "meters",
    "payment_intents",
    "payment_methods",
    "prices",
    "products",
    "promotion_codes",
    "refunds",
    "setup_intents",
    "subscription_items",
    "subscriptions",
    "tax_ids",
    "test_clocks",
    "webhook_endpoints",
)


def all_routes() -> list[Route]:
    """Gather every (method, template, handler); handlers see the time of the objects that a request names."""
    found: list[Route] = [route for name in MODULES for route in import_module(f"{__name__}.{name}").ROUTES]
    return [(method, template, timeline.in_their_time(method, handler)) for method, template, handler in found]
