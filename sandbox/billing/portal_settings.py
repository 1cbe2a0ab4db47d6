"""Configurations of the billing portal: what customers may do there, and with which prices."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..store import Context, Tx
from .catalog import is_metered

Object = dict[str, Any]


def new_configuration(tx: Tx, ctx: Context, *, is_default: bool) -> Object:
    """Add a configuration that allows what this sandbox's portal can do.

    The real portal has no default until someone saves one in the Dashboard; here it comes into being when needed.
    """
    return tx.insert(
        ctx,
        {
            "id": ids.new_id("billing_portal.configuration"),
            "object": "billing_portal.configuration",
            "active": True,
            "application": None,
            "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
            "created": ctx.now,
            "default_return_url": None,
            "features": {
                "customer_update": {"allowed_updates": [], "enabled": False},
                "invoice_history": {"enabled": True},
                "payment_method_update": {"enabled": True, "payment_method_configuration": None},
                "subscription_cancel": {
                    "cancellation_reason": {
                        "enabled": True,
                        "feedback_options": [],
                        "options": ["too_expensive", "missing_features", "switched_service", "unused", "other"],
                    },
                    "enabled": True,
                    "mode": "at_period_end",
                    "proration_behavior": "none",
                },
                "subscription_update": {
                    "billing_cycle_anchor": None,
                    "default_allowed_updates": ["price"],
                    "enabled": True,
                    "products": [],
                    "proration_behavior": "create_prorations",
                    "schedule_at_period_end": {"conditions": []},
                    "trial_update_behavior": "end_trial",
                },
            },
            "is_default": is_default,
            "livemode": ctx.livemode,
            "login_page": {"enabled": False, "url": None},
            "metadata": {},
            "name": None,
            "updated": ctx.now,
        },
    )


def default_configuration(tx: Tx, ctx: Context) -> Object:
    """Give the account's default configuration, made on first use."""
    found = [each for each in tx.find(ctx, "billing_portal.configuration") if each["is_default"]]
    return found[0] if found else new_configuration(tx, ctx, is_default=True)


def switchable_prices(tx: Tx, ctx: Context, configuration: Object, subscription: Object) -> list[Object]:
    """Find the active prices that a subscription may be moved to.

    A configuration without products allows every active recurring price in the currency (a convenience of this sandbox).
    """
    settings = configuration["features"]["subscription_update"]
    is_open = settings["enabled"] and "price" in settings["default_allowed_updates"]
    if len(subscription["items"]["data"]) != 1 or not is_open:
        return []
    current = subscription["items"]["data"][0]["price"]["id"]
    products = settings["products"] or []
    allowed = {price for product in products for price in product["prices"]}
    return [
        price
        for price in tx.find_by(ctx, "price", "currency", subscription["currency"])
        if price["active"]
        and price["type"] == "recurring"
        and price["id"] != current
        and (price["id"] in allowed if products else True)
    ]


def is_quantity_open(configuration: Object, subscription: Object) -> bool:
    """Tell whether a subscription's quantity may be changed."""
    settings = configuration["features"]["subscription_update"]
    items = subscription["items"]["data"]
    return bool(
        settings["enabled"]
        and "quantity" in settings["default_allowed_updates"]
        and len(items) == 1
        and not is_metered(items[0]["price"])
        and subscription["cancel_at"] is None
    )
