"""How mails write amounts and days. A value of another kind is left out: a mail never fails over a missing detail."""

import datetime as dt
from typing import Any

from django import template

from common.money import money_text

register = template.Library()


@register.filter
def money(amount_cents: Any, currency: Any) -> str:
    """Write an amount in minor units: 12.50 USD; "" when there is none."""
    if not isinstance(amount_cents, int) or isinstance(amount_cents, bool) or not isinstance(currency, str):
        return ""
    return money_text(amount_cents, currency)


@register.filter
def day(moment: Any) -> str:
    """Write the day of a moment given in Unix seconds or ISO-8601, in UTC: 1 January 2026; "" when there is none."""
    try:
        if isinstance(moment, str):
            at = dt.datetime.fromisoformat(moment)
        elif isinstance(moment, int) and not isinstance(moment, bool):
            at = dt.datetime.fromtimestamp(moment, tz=dt.UTC)
        else:
            return ""
        at = at.astimezone(dt.UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{at.day} {at:%B %Y}"
