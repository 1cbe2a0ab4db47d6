"""How many requests a token may make: so many in an hour (primary), and so many changes in a minute (secondary).

Source: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

HOUR, MINUTE = 3600, 60


@dataclass
class _Use:
    until: float = 0.0
    used: int = 0
    changes: list[float] = field(default_factory=list)


class Limits:
    """Counts requests; ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[str, _Use] = {}

    def count(self, token: str, *, changes: bool, per_hour: int, changes_per_minute: int) -> tuple[str, dict[str, str]]:
        """Count one request; give "" or the limit that refuses it (primary, secondary), and the headers that tell about it."""
        now = time.time()
        with self._lock:
            use = self._uses.setdefault(token, _Use())
            if use.until <= now:
                use.until, use.used = now + HOUR, 0
            use.changes = [at for at in use.changes if at > now - MINUTE]
            refused = "primary" if use.used >= per_hour else ""
            if not refused and changes and len(use.changes) >= changes_per_minute:
                refused = "secondary"
            if not refused:
                use.used += 1
                use.changes += [now] if changes else []
            headers = {
                "X-RateLimit-Limit": str(per_hour),
                "X-RateLimit-Remaining": str(max(per_hour - use.used, 0)),
                "X-RateLimit-Used": str(use.used),
                "X-RateLimit-Reset": str(int(use.until)),
                "X-RateLimit-Resource": "core",
            }
            if refused == "secondary":
                headers["Retry-After"] = str(int(use.changes[0] + MINUTE - now) + 1)
        return refused, headers
