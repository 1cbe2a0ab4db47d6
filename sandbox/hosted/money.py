"""Writes amounts and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from ..fields import SYMBOLS, THREE_DECIMAL_CURRENCIES, ZERO_DECIMAL_CURRENCIES


def format_amount(amount: int | None, currency: str) -> str:
    """Write minor units with the currency's sign and decimals: 1299, usd → $12.99."""
    amount = amount or 0
    currency = currency.lower()
    decimals = 0 if currency in ZERO_DECIMAL_CURRENCIES else 3 if currency in THREE_DECIMAL_CURRENCIES else 2
    whole, part = divmod(abs(amount), 10**decimals)
    number = f"{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")
    symbol = SYMBOLS.get(currency, currency.upper() + "\u00a0")
    return f"{'-' if amount < 0 else ''}{symbol}{number}"


def format_interval(interval: str | None, interval_count: int | None) -> str:
    """Write how often a price is due: per month, every 3 months; nothing for one-time prices."""
    if not interval:
        return ""
    if not interval_count or interval_count == 1:
        return f"per {interval}"
    return f"every {interval_count} {interval}s"


def format_date(timestamp: int | None) -> str:
    """Write a day, in UTC as all of the sandbox's times are."""
    if timestamp is None:
        return "—"
    moment = datetime.fromtimestamp(timestamp, UTC)
    return f"{moment.day} {moment:%B %Y}"


def format_short_date(timestamp: int) -> str:
    """Write a day for narrow columns."""
    moment = datetime.fromtimestamp(timestamp, UTC)
    return f"{moment.day} {moment:%b %Y}"
