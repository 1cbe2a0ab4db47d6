"""The sandbox's clock: whole seconds, as Stripe's timestamps are. Every operation reads it once, through its Context."""

from __future__ import annotations

import time


def now() -> int:
    """Give the current time in whole seconds since the epoch."""
    return int(time.time())
