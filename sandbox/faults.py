"""Faults on demand: answers that fail, connections that break or never answer, before or after the effect."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import StripeError

MAX_SECONDS = 120
ACTIONS = ("timeout_after_effect", "reset", "reset_after_effect", "hang")
FIELDS = {"account_id", "mode", "match", "nth", "times", "do", "seconds"}
# Source: https://docs.stripe.com/rate-limits; a lock time-out is a 429 without such a reason.
RATE_REASONS = ("global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency", "resource-specific")
LOCK_TIMEOUT = "lock_timeout"
SAME_KEY_OTHER_PARAMETERS = "idempotency_error"
REASONS = {"429": (*RATE_REASONS, LOCK_TIMEOUT), "400": (SAME_KEY_OTHER_PARAMETERS,)}
FOREVER = 1_000_000_000


class FaultRefused(ValueError):
    """A fault description that makes no sense; answers 400."""


@dataclass
class Fault:
    """One rule: the nth to (nth+times-1)th request that matches is treated as `do` says."""

    id: int
    account_id: str | None
    mode: str | None
    match: str
    nth: int
    times: int
    do: str
    seconds: float
    seen: int = 0
    struck: int = 0
    # When the requests of the last second came, for a rate limit.
    recent: list[float] = field(default_factory=list, repr=False)

    def applies(self, account_id: str, mode: str, request_line: str) -> bool:
        """Count a request and tell whether it is one of the faulty ones."""
        if self.account_id not in (None, account_id) or self.mode not in (None, mode):
            return False
        if not fnmatch.fnmatchcase(request_line, self.match):
            return False
        self.seen += 1
        hit = self.nth <= self.seen < self.nth + self.times and (not self.limit or self._is_too_fast())
        self.struck += hit
        return hit

    @property
    def limit(self) -> int:
        """How many requests a second pass, for a rate limit; 0 for other faults."""
        return int(self.do.partition(":")[2]) if self.do.startswith("limit:") else 0

    def _is_too_fast(self) -> bool:
        now = time.monotonic()
        self.recent = [at for at in self.recent if at > now - 1]
        if len(self.recent) >= self.limit:
            return True
        self.recent.append(now)
        return False

    def shown(self) -> dict[str, Any]:
        """Give the rule for people and tests."""
        return {name: value for name, value in asdict(self).items() if name != "recent"}


def _checked_do(do: str) -> str:
    kind, _, rest = do.partition(":")
    number, _, reason = rest.partition(":")
    if do in ACTIONS or (kind == "limit" and number.isdigit() and int(number) >= 1 and not reason):
        return do
    if kind == "status" and number.isdigit() and 400 <= int(number) <= 599:
        if not reason or reason in REASONS.get(number, ()):
            return do
        raise FaultRefused(f"status:{number} knows these reasons: {', '.join(REASONS.get(number, ())) or 'none'}")
    raise FaultRefused(f"do must be status:CODE (400 to 599), limit:REQUESTS (a second) or one of {', '.join(ACTIONS)}")


def _number(wanted: dict[str, Any], name: str, default: float) -> float:
    value = wanted.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise FaultRefused(f"{name} must be a number")
    return value


class Faults:
    """The rules in force; they end with the process."""

    def __init__(self, checked_do: Callable[[str], str] = _checked_do) -> None:
        self._checked_do = checked_do
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._next_id = 1
        self.stopping = threading.Event()

    def add(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Add a rule. Raises: FaultRefused."""
        unknown = set(wanted) - FIELDS
        if unknown:
            raise FaultRefused(f"unknown field {sorted(unknown)[0]}")
        do = self._checked_do(str(wanted.get("do", "")))
        if not isinstance(wanted.get("match"), str) or not wanted["match"]:
            raise FaultRefused("match must be 'METHOD /path' ('*' stands for anything)")
        if wanted.get("mode") not in (None, "test", "live"):
            raise FaultRefused("mode must be test or live")
        # A limit is a state rather than an incident: it lasts until it is lifted.
        nth, times = (
            int(_number(wanted, "nth", 1)),
            int(_number(wanted, "times", FOREVER if do.startswith("limit:") else 1)),
        )
        seconds = float(_number(wanted, "seconds", 30))
        if nth < 1 or times < 1 or not 0 <= seconds <= MAX_SECONDS:
            raise FaultRefused(f"nth and times start at 1; seconds is at most {MAX_SECONDS}")
        with self._lock:
            rule = Fault(
                self._next_id, wanted.get("account_id"), wanted.get("mode"), wanted["match"], nth, times, do, seconds
            )
            self._next_id += 1
            self._rules.append(rule)
            return rule.shown()

    def list(self, account_id: str | None = None) -> list[dict[str, Any]]:
        """Give the rules (those that may hit one account) with how many requests each has seen and struck."""
        with self._lock:
            return [rule.shown() for rule in self._rules if account_id is None or rule.account_id in (None, account_id)]

    def clear(self, account_id: str | None = None) -> None:
        """Drop all rules, or those of one account."""
        with self._lock:
            self._rules = [rule for rule in self._rules if account_id and rule.account_id != account_id]

    def remove(self, rule_id: int) -> bool:
        """Drop one rule; False when there is none of that number."""
        with self._lock:
            before = len(self._rules)
            self._rules = [rule for rule in self._rules if rule.id != rule_id]
            return len(self._rules) < before

    def pick(self, account_id: str, livemode: bool, method: str, path: str) -> Fault | None:
        """Find the fault for this request, if any; every rule that matches counts it."""
        mode = "live" if livemode else "test"
        with self._lock:
            hits = [rule for rule in self._rules if rule.applies(account_id, mode, f"{method} {path}")]
        return hits[0] if hits else None

    def wait(self, seconds: float) -> None:
        """Keep a request waiting; ends early when the sandbox stops."""
        self.stopping.wait(seconds)


def error_of(fault: Fault, *, livemode: bool = False) -> StripeError:
    """Make the answer of a status or limit fault, as Stripe words it."""
    if fault.limit:
        return too_many("global-rate")
    number, _, reason = fault.do.partition(":")[2].partition(":")
    status = int(number)
    if status == 429:
        return _locked() if reason == LOCK_TIMEOUT else too_many(reason or "global-rate")
    if status == 401:
        return StripeError(f"Invalid API Key provided: sk_{'live' if livemode else 'test'}_****", http_status=401)
    if status == 402:
        return StripeError(
            "Your card was declined.",
            http_status=402,
            type="card_error",
            code="card_declined",
            extra={"decline_code": "generic_decline"},
        )
    if status == 409:
        return StripeError(
            "There is currently another in-progress request using this Idempotent Key (that probably means you "
            "submitted twice, and the other request is still going through). Please try again later.",
            http_status=409,
            code="idempotency_key_in_use",
        )
    if status >= 500:
        return StripeError(
            "An unknown error occurred. If you have any questions, please contact us at "
            "https://support.stripe.com/contact.",
            http_status=status,
            type="api_error",
        )
    if reason == SAME_KEY_OTHER_PARAMETERS:
        return StripeError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            "Try using a different key if you meant to execute a different request.",
            type=SAME_KEY_OTHER_PARAMETERS,
        )
    return StripeError("This request was refused on purpose.", http_status=status)


def too_many(reason: str) -> StripeError:
    """Make the 429 of a rate limit."""
    return StripeError(
        "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        http_status=429,
        code="rate_limit",
        headers={"Stripe-Rate-Limited-Reason": reason},
    )


def _locked() -> StripeError:
    return StripeError(
        "This object cannot be accessed right now because another API request or Stripe process is currently "
        "accessing it. If you see this error intermittently, retry the request.",
        http_status=429,
        code=LOCK_TIMEOUT,
        # The SDKs name lock time-outs as the case in which they are told to try again.
        headers={"Stripe-Should-Retry": "true"},
    )


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
