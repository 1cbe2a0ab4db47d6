"""Places where a test may kill the process: FAIL_AT names one, and FAIL_ONCE_FILE makes it happen a single time.

They do nothing unless FAILPOINTS is on, which the settings allow in the demo and in tests only.
"""

import os
import signal

from django.conf import settings


def failpoint(name: str) -> None:
    """Kill this very process (SIGKILL, as a crash would) when the environment asks for it here."""
    if not settings.FAILPOINTS or os.environ.get("FAIL_AT") != name:
        return
    once = os.environ.get("FAIL_ONCE_FILE", "")
    if once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
