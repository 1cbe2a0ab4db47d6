"""What part of a period costs: to the second, each line rounded by itself.

Rounding: nearest, ties toward minus infinity. No published rule is known; this one fits every recorded case
(see docs/sandbox.md).
"""

from __future__ import annotations


def prorated(amount: int, seconds_left: int, seconds_whole: int) -> int:
    """Give amount × left ÷ whole, rounded to the nearest unit with ties toward minus infinity.

    Units: minor units of the currency, signed.
    """
    doubled = 2 * amount * seconds_left
    # ceil(x - 1/2) in whole numbers.
    return -((seconds_whole - doubled) // (2 * seconds_whole))


def unused_credit(unit_amount: int, quantity: int, seconds_left: int, seconds_whole: int) -> int:
    """Give the (negative) credit for time that was paid and will not be used."""
    return prorated(-unit_amount * quantity, seconds_left, seconds_whole)


def remaining_charge(unit_amount: int, quantity: int, seconds_left: int, seconds_whole: int) -> int:
    """Give the charge for the rest of a period."""
    return prorated(unit_amount * quantity, seconds_left, seconds_whole)
