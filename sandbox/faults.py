"""Faults on demand: answers that fail, connections that break or never answer, before or after the effect."""

from __future__ import annotations

import fnmatch
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from .errors import StripeError

MAX_SECONDS = 120
ACTIONS = ("timeout_after_effect", "reset", "reset_after_effect", "hang")


class FaultRefused(ValueError):
    """A fault description that makes no sense; answers 400."""


@dataclass
class Fault:
    """One rule: the nth to (nth+times-1)th request that matches is treated as `do` says."""

    id: int
    account_id: str | None
    match: str
    nth: int
    times: int
    do: str
    seconds: float
    seen: int = 0

    def applies(self, account_id: str, request_line: str) -> bool:
        """Count a request and tell whether it is one of the faulty ones."""
        if self.account_id not in (None, account_id) or not fnmatch.fnmatchcase(request_line, self.match):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


class Faults:
    """The rules in force; they end with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._next_id = 1
        self.stopping = threading.Event()

    def add(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Add a rule. Raises: FaultRefused."""
        unknown = set(wanted) - {"account_id", "match", "nth", "times", "do", "seconds"}
        if unknown:
            raise FaultRefused(f"unknown field {sorted(unknown)[0]}")
        do = str(wanted.get("do", ""))
        kind, _, number = do.partition(":")
        if do not in ACTIONS and not (kind == "status" and number.isdigit() and 400 <= int(number) <= 599):
            raise FaultRefused(f"do must be status:CODE (400 to 599) or one of {', '.join(ACTIONS)}")
        if not isinstance(wanted.get("match"), str):
            raise FaultRefused("match must be 'METHOD /path' ('*' stands for anything)")
        nth, times = int(wanted.get("nth", 1)), int(wanted.get("times", 1))
        seconds = float(wanted.get("seconds", 30))
        if nth < 1 or times < 1 or not 0 <= seconds <= MAX_SECONDS:
            raise FaultRefused(f"nth and times start at 1; seconds is at most {MAX_SECONDS}")
        with self._lock:
            rule = Fault(self._next_id, wanted.get("account_id"), wanted["match"], nth, times, do, seconds)
            self._next_id += 1
            self._rules.append(rule)
            return asdict(rule)

    def list(self) -> list[dict[str, Any]]:
        """Give the rules with how many requests each has seen."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def clear(self, account_id: str | None = None) -> None:
        """Drop all rules, or those of one account."""
        with self._lock:
            self._rules = [rule for rule in self._rules if account_id and rule.account_id != account_id]

    def pick(self, account_id: str, method: str, path: str) -> Fault | None:
        """Find the fault for this request, if any; every rule that matches counts it."""
        with self._lock:
            hits = [rule for rule in self._rules if rule.applies(account_id, f"{method} {path}")]
        return hits[0] if hits else None

    def wait(self, seconds: float) -> None:
        """Keep a request waiting; ends early when the sandbox stops."""
        self.stopping.wait(seconds)


def error_of(fault: Fault) -> StripeError:
    """Make the answer of a status fault, as Stripe words it."""
    status = int(fault.do.partition(":")[2])
    if status == 429:
        return StripeError(
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
            http_status=429,
            code="rate_limit",
        )
    if status == 401:
        return StripeError("Invalid API Key provided: sk_test_****", http_status=401)
    if status == 402:
        return StripeError(
            "Your card was declined.",
            http_status=402,
            type="card_error",
            code="card_declined",
            extra={"decline_code": "generic_decline"},
        )
    if status >= 500:
        return StripeError(
            "An unknown error occurred. If you have any questions, please contact us at "
            "https://support.stripe.com/contact.",
            http_status=status,
            type="api_error",
        )
    return StripeError("This request was refused on purpose.", http_status=status)


class RequestLog:
    """The last requests, without secrets; ends with the process."""

    MAX_ENTRIES = 2000
    SECRET_WORDS = ("number", "cvc", "secret", "client_secret")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[dict[str, Any]] = []

    def add(self, entry: dict[str, Any]) -> None:
        """Append one request."""
        entry["at"] = time.time()
        entry["params"] = self._clean(entry.get("params"))
        with self._lock:
            self._entries.append(entry)
            del self._entries[: -self.MAX_ENTRIES]

    def list(self, account_id: str | None = None) -> list[dict[str, Any]]:
        """Give the requests, oldest first."""
        with self._lock:
            return [entry for entry in self._entries if account_id in (None, entry["account"])]

    def clear(self) -> None:
        """Forget all requests."""
        with self._lock:
            self._entries.clear()

    def _clean(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: "***" if k in self.SECRET_WORDS else self._clean(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return value
