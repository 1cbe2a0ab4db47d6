"""How the pages write amounts."""

from django import template

from common.money import money_text

register = template.Library()


@register.filter
def money(amount_cents: int | None, currency: str) -> str:
    """Write an amount in minor units of a currency: 12.50 USD, 500 JPY; "" when there is none."""
    return "" if amount_cents is None else money_text(amount_cents, currency)
