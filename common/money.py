"""How an amount is written for people. Amounts themselves are integers in minor units everywhere."""

# Source: https://docs.stripe.com/currencies#zero-decimal
ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)
# Source: https://docs.stripe.com/currencies#three-decimal
THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])


def decimals_of(currency: str) -> int:
    """Return how many decimals Stripe's minor unit of a currency stands for."""
    code = currency.lower()
    return 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2


def money_text(amount_cents: int, currency: str) -> str:
    """Write an amount in minor units as people read it: 12.50 USD, 500 JPY, 1.250 KWD."""
    decimals = decimals_of(currency)
    whole, rest = divmod(abs(amount_cents), 10**decimals)
    fraction = f".{rest:0{decimals}}" if decimals else ""
    return f"{'-' if amount_cents < 0 else ''}{whole:,}{fraction} {currency.upper()}"
