"""How fast an account is asked: measured for each account and mode, and limited where that was switched on.

Stripe counts requests a second, for a whole account in a mode and for each endpoint; how it counts within the second is
not published. Here it is a sliding second of what was let through. All of it ends with the process.
Source: https://docs.stripe.com/rate-limits.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .errors import invalid

WINDOW_SECONDS = 1.0
RATE_MAX = 100_000
GLOBAL, ENDPOINT = "global-rate", "endpoint-rate"
FIELDS = {"per_second": GLOBAL, "endpoint_per_second": ENDPOINT}
# A segment that is an id, not a word of the API: all of its own words are in small letters.
ID = re.compile(r"(?<=/)(?=[^/]*[A-Z0-9])[^/]+")


@dataclass
class Gauge:
    """Requests of one account and mode, or of one of its endpoints."""

    requests: int = 0
    limited: int = 0
    peak: int = 0
    arrived: deque[float] = field(default_factory=deque)
    passed: deque[float] = field(default_factory=deque)

    def note(self, now: float) -> None:
        """Count a request that came."""
        self.requests += 1
        self.arrived.append(now)
        _forget(self.arrived, now)
        self.peak = max(self.peak, len(self.arrived))

    def is_full(self, now: float, limit: int | None) -> bool:
        """Say whether one more would be too fast."""
        _forget(self.passed, now)
        return limit is not None and len(self.passed) >= limit

    def shown(self) -> dict[str, Any]:
        """Give the figures for people and tests."""
        return {"requests": self.requests, "limited": self.limited, "peak_per_second": self.peak}


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - WINDOW_SECONDS:
        times.popleft()


def endpoint_of(method: str, path: str) -> str:
    """Name the endpoint that a request is for: its path with * in the place of ids."""
    return f"{method} /v1{ID.sub('*', path.removeprefix('/v1'))}"


class Rates:
    """The gauges and limits of all accounts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gauges: dict[tuple[str, bool], dict[str, Gauge]] = {}
        self._limits: dict[str, dict[str, int | None]] = {}

    def pass_through(self, account_id: str, livemode: bool, method: str, path: str) -> str | None:
        """Count a request; gives the reason of Stripe's 429 when it exceeds a limit, else None."""
        now = time.monotonic()
        with self._lock:
            gauges = self._gauges.setdefault((account_id, livemode), {})
            whole = gauges.setdefault("", Gauge())
            own = gauges.setdefault(endpoint_of(method, path), Gauge())
            limits = self._limits.get(account_id, {})
            whole.note(now)
            own.note(now)
            reason = GLOBAL if whole.is_full(now, limits.get(GLOBAL)) else None
            if own.is_full(now, limits.get(ENDPOINT)):
                reason = reason or ENDPOINT
            for gauge in (whole, own):
                gauge.limited += reason is not None
                if reason is None:
                    gauge.passed.append(now)
            return reason

    def limit(self, account_id: str, wanted: dict[str, Any]) -> None:
        """Set an account's limits, for each of its modes; null lifts one. Raises: StripeError 400."""
        unknown = set(wanted) - set(FIELDS)
        if unknown or not wanted:
            raise invalid(f"say {' or '.join(FIELDS)}" + (f", not {sorted(unknown)[0]}" if unknown else ""))
        for name, value in wanted.items():
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and 1 <= value <= RATE_MAX):
                raise invalid(f"{name} must be 1 to {RATE_MAX}, or null for no limit", name)
        with self._lock:
            held = self._limits.setdefault(account_id, {})
            held.update({FIELDS[name]: value for name, value in wanted.items()})

    def reset(self, account_id: str) -> None:
        """Measure an account anew; its limits stay."""
        with self._lock:
            for key in [key for key in self._gauges if key[0] == account_id]:
                del self._gauges[key]

    def shown(self, account_id: str) -> dict[str, Any]:
        """Give an account's limits and, by mode, what was measured: in all and for each endpoint."""
        with self._lock:
            limits = self._limits.get(account_id, {})
            answer: dict[str, Any] = {name: limits.get(reason) for name, reason in FIELDS.items()}
            for livemode in (False, True):
                gauges = self._gauges.get((account_id, livemode), {})
                endpoints = {name: gauge.shown() for name, gauge in sorted(gauges.items()) if name}
                answer["live" if livemode else "test"] = {
                    **gauges.get("", Gauge()).shown(), "endpoints": endpoints
                }  # fmt: skip
            return answer
