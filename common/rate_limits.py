"""Rate limits that count exactly: moving windows in Redis, and in this process's memory while Redis is away.

A limit must not become an outage: when Redis does not answer within its time-out, counting goes on per process, and Redis
is asked again a few seconds later. Every limit has a name, by which an operator changes it (RATE_LIMITS, docs/operations.md).
"""

import functools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from common.errors import TooManyRequests
from common.metrics import RATE_LIMITED

logger = logging.getLogger(__name__)
REDIS_RETRY_SECONDS = 5

_declared: dict[str, "RateLimit"] = {}


@dataclass(frozen=True)
class RateLimit:
    """At most `amount` calls in any `seconds` seconds, counted apart per key, unless the operator says otherwise."""

    name: str
    amount: int
    seconds: int

    def __post_init__(self) -> None:
        _declared[self.name] = self

    def item(self) -> RateLimitItem:
        """What is in force, in the words of the library."""
        amount, seconds = settings.RATE_LIMITS.get(self.name, (self.amount, self.seconds))
        return RateLimitItemPerSecond(amount, seconds, namespace=f"payments-{self.name}")


def declared_limits() -> list[RateLimit]:
    """Return every limit of the service, as declared."""
    return sorted(_declared.values(), key=lambda limit: limit.name)


@dataclass
class Window:
    """Where a caller stands with the limit that leaves them least."""

    amount: int
    remaining: int
    reset_at: float

    def headers(self) -> dict[str, str]:
        """Say it as the contract does, and in the words of the IETF's draft (RateLimit-Reset is in seconds from now).

        Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-06
        """
        remaining = str(max(0, self.remaining))
        return {
            "X-RateLimit-Limit": str(self.amount),
            "X-RateLimit-Remaining": remaining,
            "X-RateLimit-Reset": str(int(self.reset_at)),
            "RateLimit-Limit": str(self.amount),
            "RateLimit-Remaining": remaining,
            "RateLimit-Reset": str(_wait_seconds(self.reset_at)),
        }


@dataclass
class Counted:
    """What was counted while a request was answered."""

    tightest: Window | None = field(default=None)

    def note(self, window: Window) -> None:
        """Keep the window that leaves least."""
        if self.tightest is None or window.remaining < self.tightest.remaining:
            self.tightest = window


_counted: ContextVar[Counted | None] = ContextVar("rate_limits_counted", default=None)


@contextmanager
def watching_limits() -> Iterator[Counted]:
    """Collect what is counted in this context, for the headers of its answer."""
    counted = Counted()
    token = _counted.set(counted)
    try:
        yield counted
    finally:
        _counted.reset(token)


class _Limiters:
    """Redis first; memory while Redis is away."""

    def __init__(self, redis_url: str) -> None:
        timeout = settings.REDIS_SOCKET_TIMEOUT_SECONDS
        self._redis = MovingWindowRateLimiter(
            RedisStorage(redis_url, socket_timeout=timeout, socket_connect_timeout=timeout)
        )
        self._memory = MovingWindowRateLimiter(MemoryStorage())
        self._redis_asleep_until = 0.0

    def hit(self, item: RateLimitItem, key: str) -> tuple[bool, int, float]:
        """Count one call; return whether it may pass, how many are left, and when the window moves (Unix time)."""
        if time.monotonic() >= self._redis_asleep_until:
            try:
                return self._count(self._redis, item, key)
            except (RedisError, OSError):
                self._fall_asleep()
        return self._count(self._memory, item, key)

    def peek(self, item: RateLimitItem, key: str) -> tuple[bool, int, float]:
        """Say the same without counting."""
        if time.monotonic() >= self._redis_asleep_until:
            try:
                return self._look(self._redis, item, key)
            except (RedisError, OSError):
                self._fall_asleep()
        return self._look(self._memory, item, key)

    def clear(self, item: RateLimitItem, key: str) -> None:
        """Forget the calls counted for the key."""
        self._memory.clear(item, key)
        if time.monotonic() >= self._redis_asleep_until:
            try:
                self._redis.clear(item, key)
            except (RedisError, OSError):
                self._fall_asleep()

    def _fall_asleep(self) -> None:
        self._redis_asleep_until = time.monotonic() + REDIS_RETRY_SECONDS
        logger.warning("Redis does not answer; rate limits are counted per process for now.")

    @staticmethod
    def _look(limiter: MovingWindowRateLimiter, item: RateLimitItem, key: str) -> tuple[bool, int, float]:
        stats = limiter.get_window_stats(item, key)
        return stats.remaining > 0, stats.remaining, stats.reset_time

    @staticmethod
    def _count(limiter: MovingWindowRateLimiter, item: RateLimitItem, key: str) -> tuple[bool, int, float]:
        passed = limiter.hit(item, key)
        stats = limiter.get_window_stats(item, key)
        return passed, stats.remaining, stats.reset_time


@functools.lru_cache(maxsize=4)
def _limiters(redis_url: str) -> _Limiters:
    return _Limiters(redis_url)


def count_call(limit: RateLimit, key: str) -> None:
    """Count one call against a limit. Raises TooManyRequests (429) with Retry-After and the headers of rate limits."""
    item = limit.item()
    passed, remaining, reset_at = _limiters(settings.REDIS_URL).hit(item, key)
    window = Window(item.amount, remaining, reset_at)
    if (counted := _counted.get()) is not None:
        counted.note(window)
    _refuse_unless(passed, limit, window)


def check_calls(limit: RateLimit, key: str) -> None:
    """Refuse when a limit is used up, without counting. For limits on failures, which are counted once they happened."""
    item = limit.item()
    passed, remaining, reset_at = _limiters(settings.REDIS_URL).peek(item, key)
    _refuse_unless(passed, limit, Window(item.amount, remaining, reset_at))


def _refuse_unless(passed: bool, limit: RateLimit, window: Window) -> None:
    if passed:
        return
    RATE_LIMITED.labels(limit=limit.name).inc()
    wait_seconds = _wait_seconds(window.reset_at)
    raise TooManyRequests(
        f"Too many requests. Try again in {wait_seconds} seconds.",
        retry_after_seconds=wait_seconds,
        headers=window.headers(),
    )


def _wait_seconds(reset_at: float) -> int:
    return max(1, int(reset_at - time.time()) + 1)


def forget_calls(limit: RateLimit, key: str) -> None:
    """Give a key its whole allowance back, for instance after a successful sign-in."""
    _limiters(settings.REDIS_URL).clear(limit.item(), key)
