"""Small rules about request fields that every resource shares."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

from .errors import not_simulated, requires

Object = dict[str, Any]

# Without UGX, of which 5 are 500 at Stripe: https://docs.stripe.com/currencies#special-cases
ZERO_DECIMAL_CURRENCIES = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
# Source: https://docs.stripe.com/currencies#three-decimal
THREE_DECIMAL_CURRENCIES = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
# Source: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
SMALLEST_CHARGES = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "jpy": 50, "krw": 50,
    "mxn": 1000, "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
}  # fmt: skip
SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "cad": "CA$", "aud": "A$"}


def supported(params: Object, names: Collection[str], prefix: str = "") -> None:
    """Refuse parameters that Stripe has but that would have no effect here, instead of ignoring them."""
    for name in params:
        if name not in names:
            raise not_simulated(f"{prefix}[{name}]" if prefix else name)


def required(params: Object, name: str) -> Any:
    """Read a parameter that must be there. Raises: StripeError parameter_missing."""
    value = params.get(name)
    if value is None or value == "":
        raise requires(name)
    return value


def blank_to_none(value: Any) -> Any:
    """Turn the empty text, with which callers unset a field, into null."""
    return None if value == "" else value


def merged_metadata(old: Object | None, wanted: Any) -> Object:
    """Merge metadata as Stripe does: an empty value drops its key, an empty whole drops all."""
    if wanted is None:
        return dict(old or {})
    if wanted == "":
        return {}
    merged = {**(old or {}), **wanted}
    return {key: value for key, value in merged.items() if value != ""}


def money(amount: int, currency: str) -> str:
    """Write an amount in minor units for people, as Stripe's messages and line descriptions do."""
    symbol = SYMBOLS.get(currency)
    decimals = 0 if currency in ZERO_DECIMAL_CURRENCIES else 3 if currency in THREE_DECIMAL_CURRENCIES else 2
    whole, rest = divmod(abs(amount), 10**decimals)
    text = f"{whole:,}.{rest:0{decimals}d}" if decimals else f"{whole:,}"
    sign = "-" if amount < 0 else ""
    return f"{sign}{symbol}{text}" if symbol else f"{sign}{text} {currency.upper()}"


def smallest_charge(currency: str) -> int:
    """Give the least that can be charged, in minor units; 50 where Stripe lists nothing (a guess there)."""
    if currency in THREE_DECIMAL_CURRENCIES:
        return 500
    return SMALLEST_CHARGES.get(currency, 50)


def apply_simple(obj: Object, params: Object, names: Collection[str]) -> None:
    """Set fields whose parameter is the field; an empty text unsets."""
    for name in names:
        if name in params:
            obj[name] = blank_to_none(params[name])


def filled(blank: Object, **values: Any) -> Object:
    """Give a copy of an object's empty shape with values set, id and object first and the rest in order of name."""
    whole = {**copy.deepcopy(blank), **values}
    first: Object = {name: whole.pop(name) for name in ("id", "object") if name in whole}
    return {**first, **dict(sorted(whole.items()))}
