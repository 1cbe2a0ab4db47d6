"""How an amount is written for people. Amounts themselves are integers in minor units everywhere."""

# Source: https://docs.stripe.com/currencies#zero-decimal, where UGX stands too: see below.
ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
# Have no decimals any more, and Stripe takes them in hundredths all the same: 5 UGX is 500, and 550 is refused.
# Source: https://docs.stripe.com/currencies#special-cases
WHOLE_IN_HUNDREDTHS = frozenset(["isk", "ugx"])
# Stripe wants the last digit to be 0: https://docs.stripe.com/currencies#three-decimal
THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])


def decimals_of(currency: str) -> int:
    """Return how many decimals Stripe's minor unit of a currency stands for."""
    code = currency.lower()
    return 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2


def step_of(currency: str) -> int:
    """Return what an amount must be a multiple of for Stripe to take it. Units: minor units."""
    code = currency.lower()
    return 100 if code in WHOLE_IN_HUNDREDTHS else 10 if code in THREE_DECIMAL else 1


def money_text(amount_cents: int, currency: str) -> str:
    """Write an amount in minor units as people read it: 12.50 USD, 500 JPY, 1.250 KWD."""
    decimals = decimals_of(currency)
    whole, rest = divmod(abs(amount_cents), 10**decimals)
    fraction = f".{rest:0{decimals}}" if decimals else ""
    return f"{'-' if amount_cents < 0 else ''}{whole:,}{fraction} {currency.upper()}"
