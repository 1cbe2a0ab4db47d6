"""Business time. Leases, signatures and idempotency windows use real (database) time, never this clock.

CLOCK_FILE names a file that holds an ISO-8601 instant; tests move time in subprocesses through it.
"""

import datetime as dt
from pathlib import Path

from django.conf import settings
from django.utils import timezone


def now() -> dt.datetime:
    """Return the current business time, in UTC."""
    clock_file = getattr(settings, "CLOCK_FILE", "")
    if clock_file:
        path = Path(clock_file)
        if path.exists():
            return dt.datetime.fromisoformat(path.read_text().strip()).astimezone(dt.UTC)
    return timezone.now()


def from_unix(seconds: int | None) -> dt.datetime | None:
    """Turn Stripe's Unix seconds into an aware UTC time; None stays None."""
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
