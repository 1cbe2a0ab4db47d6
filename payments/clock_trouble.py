"""Remembers that a delivery was refused for its time alone: this machine's clock is wrong, or somebody sends old ones again.

Stripe signs every attempt afresh, so a true signature of another time is worth an alarm. Stripe tries for days: nothing is lost
once the clock is right.
"""

import logging
import threading
import time
import uuid

logger = logging.getLogger(__name__)

SHOWN_SECONDS = 600
# One line a minute tells as much as one for every delivery.
LOG_PAUSE_SECONDS = 60.0

_lock = threading.Lock()
_last: tuple[float, float] | None = None
_logged_at: float | None = None


def note_refused_for_its_time(*, project_id: uuid.UUID, mode: str, seconds_off: float) -> None:
    """Raise the alarm: an ERROR in the log, and a line in this process's /readyz."""
    global _last, _logged_at
    now = time.monotonic()
    with _lock:
        _last = (now, seconds_off)
        silent = _logged_at is not None and now - _logged_at < LOG_PAUSE_SECONDS
        if not silent:
            _logged_at = now
    if not silent:
        logger.error("webhook_clock_skew project=%s mode=%s seconds_off=%.0f", project_id, mode, seconds_off)


def recent_seconds_off() -> float | None:
    """Return how far off the newest such delivery of the last ten minutes was; None without one.

    Units: seconds; positive when this machine's clock was ahead of Stripe's.
    """
    with _lock:
        if _last is None or time.monotonic() - _last[0] > SHOWN_SECONDS:
            return None
        return _last[1]
