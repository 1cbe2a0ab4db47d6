"""How values are shown in the admin."""

import json
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from common.logs import redact
from payments.services.snapshot import without_client_secrets

# Currencies without a minor unit. Source: https://docs.stripe.com/currencies#zero-decimal
ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)


def money(amount_cents: int, currency: str) -> str:
    """Write an amount in minor units as people read it: 12.50 USD, 500 JPY."""
    if currency in ZERO_DECIMAL:
        return f"{amount_cents:,} {currency.upper()}"
    whole, cents = divmod(abs(amount_cents), 100)
    return f"{'-' if amount_cents < 0 else ''}{whole:,}.{cents:02} {currency.upper()}"


def pretty_json(value: Any) -> SafeString | str:
    """Show JSON without the secrets that Stripe puts into some objects."""
    if value is None:
        return "-"
    text = redact(json.dumps(without_client_secrets(value), indent=2, sort_keys=True, ensure_ascii=False))
    return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text)
