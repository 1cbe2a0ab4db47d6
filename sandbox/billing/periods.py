"""Calendar arithmetic of billing periods: counted from the anchor, so that the 31st comes back after a short month."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

from ..store import Object

DAY_SECONDS = 24 * 3600


def add_interval(anchor: int, interval: str, count: int) -> int:
    """Give the time `count` intervals after the anchor; days of the month are clipped to the month's length."""
    if interval in ("day", "week"):
        return anchor + count * DAY_SECONDS * (7 if interval == "week" else 1)
    start = datetime.fromtimestamp(anchor, UTC)
    months = start.year * 12 + start.month - 1 + count * (12 if interval == "year" else 1)
    year, month = divmod(months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_after(anchor: int, recurring: Object, start: int) -> tuple[int, int]:
    """Give the period that begins at or before `start` and ends after it, on boundaries counted from the anchor."""
    interval, step = recurring["interval"], recurring["interval_count"]
    seconds = {"day": 1, "week": 7, "month": 28, "year": 365}[interval] * DAY_SECONDS * step
    # A lower bound for the number of whole periods since the anchor; the loop walks up the remaining few.
    turn = max(0, (start - anchor) // (seconds + 4 * DAY_SECONDS * step) - 1) if start >= anchor else -1
    while add_interval(anchor, interval, (turn + 1) * step) <= start:
        turn += 1
    return add_interval(anchor, interval, turn * step), add_interval(anchor, interval, (turn + 1) * step)
