"""What restricted keys may do: a permission per kind of resource, `read` or `write` (which includes reading).

Source of the refusal's wording: https://github.com/tylerjrichards/st-paywall/issues/36. The grouping of URLs under
permissions is from the Dashboard's list of resources; see docs/sandbox.md.
"""

from __future__ import annotations

from .errors import StripeError

# The start of a path, longest first, and the permission that it asks for.
RESOURCES = {
    "balance": "balance",
    "balance_transactions": "balance_transaction_source",
    "billing/meter_event_adjustments": "billing_meter_event_adjustment",
    "billing/meter_events": "billing_meter_event",
    "billing/meters": "billing_meter",
    "billing_portal": "customer_portal",
    "charges": "charge",
    "checkout/sessions": "checkout_session",
    "coupons": "coupon",
    "customers": "customer",
    "disputes": "dispute",
    "events": "event",
    "invoice_payments": "invoice",
    "invoiceitems": "invoice",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "prices": "plan",
    "products": "product",
    "promotion_codes": "promotion_code",
    "radar/early_fraud_warnings": "charge",
    "refunds": "charge",
    "setup_attempts": "setup_intent",
    "setup_intents": "setup_intent",
    "subscription_items": "subscription",
    "subscriptions": "subscription",
    "tax_ids": "tax_id",
    "test_helpers/test_clocks": "test_clock",
    "webhook_endpoints": "webhook",
}
NAMES = tuple(sorted(set(RESOURCES.values())))
LEVELS = ("none", "read", "write")


def resource_of(path: str) -> str | None:
    """Name the resource that a path belongs to; None for what no permission opens (the account itself)."""
    segments = path.removeprefix("/v1/").split("/")
    return RESOURCES.get("/".join(segments[:2])) or RESOURCES.get(segments[0])


def check(granted: dict[str, str], method: str, path: str, shown_key: str, account_id: str) -> None:
    """Let a request of a restricted key pass. Raises: StripeError 403 naming the permission that it lacks."""
    resource = resource_of(path)
    level = "read" if method == "GET" else "write"
    held = granted.get(resource or "", "none")
    if resource is not None and LEVELS.index(held) >= LEVELS.index(level):
        return
    wanted = f"the 'rak_{resource}_{level}' permission" if resource else "more permissions"
    raise StripeError(
        f"The provided key '{shown_key}' does not have the required permissions for this endpoint on account "
        f"'{account_id}'. Having {wanted} would allow this request to continue.",
        http_status=403,
    )
