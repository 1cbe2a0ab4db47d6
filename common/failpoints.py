"""Places where a test may kill the process or hold it: FAIL_AT names one, and FAIL_ONCE_FILE makes it happen a single time.

They do nothing unless FAILPOINTS is on, which the settings allow in the demo and in tests only.
"""

import os
import signal
import time
from pathlib import Path

from django.conf import settings

HELD_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02


def failpoint(name: str) -> None:
    """Kill this very process (SIGKILL, as a crash would), or hold it until the file FAIL_HOLD_UNTIL is there."""
    if not settings.FAILPOINTS or os.environ.get("FAIL_AT") != name:
        return
    once = os.environ.get("FAIL_ONCE_FILE", "")
    if once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
    if held_until := os.environ.get("FAIL_HOLD_UNTIL", ""):
        _hold(Path(held_until))
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _hold(until: Path) -> None:
    """Wait for a file, so that a test can hurt something else at this very place; bounded, so that nothing hangs."""
    give_up_at = time.monotonic() + HELD_SECONDS_MAX
    while not until.exists() and time.monotonic() < give_up_at:
        time.sleep(POLL_SECONDS)
