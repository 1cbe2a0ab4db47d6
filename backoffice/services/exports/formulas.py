"""Keeps what users typed from being run as a formula by the program that opens an export (S31)."""

import datetime as dt
import re
import uuid
from decimal import Decimal
from typing import Any

# What spreadsheets take for the beginning of a formula, in ASCII and in the wide forms that some read as the same.
STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00", "＝", "＋", "－", "＠", "|", "%")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
# The most that a cell holds: https://support.microsoft.com/office/excel-specifications-and-limits
CELL_CHARS_MAX = 32_000


def guarded(text: str) -> str:
    """Return text that no spreadsheet runs: what would begin a formula gets an apostrophe, control characters go."""
    plain = _CONTROL.sub("", text)[:CELL_CHARS_MAX]
    # Before and after: what a control character hid comes first once that is gone.
    is_formula = any(one.startswith(STARTS_FORMULA) for one in (text, text.lstrip(), plain, plain.lstrip()))
    return f"'{plain}" if is_formula else plain


def cell(value: Any) -> str | int:
    """Return a value as it stands in a cell: whole numbers as they are, everything else as guarded text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return value
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dt.date | uuid.UUID | Decimal):
        return str(value)
    return guarded(str(value))
