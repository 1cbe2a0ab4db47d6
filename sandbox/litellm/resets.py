"""When budgets begin anew: aligned to the days, weeks and months of UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_DURATION = re.compile(r"([1-9]\d{0,5})(s|m|h|d|w|mo)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def is_duration(text: str) -> bool:
    """Say whether a text is a duration."""
    return _DURATION.fullmatch(text) is not None


def reset_after(duration: str, now: float) -> float:
    """Give the moment at which a budget of this duration next begins anew.

    Seen on a proxy: a day ends at midnight, a week on Monday, 30 days and a month on the first. The rest is a guess.
    """
    found = _DURATION.fullmatch(duration)
    if found is None:
        raise ValueError(f"not a duration: {duration}")
    number, unit = int(found.group(1)), found.group(2)
    moment = datetime.fromtimestamp(now, UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if (number, unit) in ((1, "d"), (24, "h")):
        return (midnight + timedelta(days=1)).timestamp()
    if (number, unit) in ((7, "d"), (1, "w")):
        return (midnight + timedelta(days=7 - midnight.weekday())).timestamp()
    if (number, unit) in ((30, "d"), (1, "mo")):
        return _first_of_next_month(midnight).timestamp()
    if unit == "mo":
        for _ in range(number):
            midnight = _first_of_next_month(midnight)
        return midnight.timestamp()
    return now + number * _SECONDS[unit]


def _first_of_next_month(day: datetime) -> datetime:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
