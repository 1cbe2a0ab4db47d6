"""Rate limits that count exactly: moving windows in Redis, and in this process's memory while Redis is away.

A limit must not become an outage: when Redis does not answer within its time-out, counting goes on per process, and Redis
is asked again a few seconds later.
"""

import functools
import logging
import time
from dataclasses import dataclass

from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from common.errors import TooManyRequests

logger = logging.getLogger(__name__)
REDIS_RETRY_SECONDS = 5


@dataclass(frozen=True)
class RateLimit:
    """At most `amount` calls in any `seconds` seconds, counted apart per key."""

    name: str
    amount: int
    seconds: int

    def item(self) -> RateLimitItem:
        """The same in the words of the library."""
        return RateLimitItemPerSecond(self.amount, self.seconds, namespace=f"payments-{self.name}")


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
    """Count one call against a limit. Raises TooManyRequests (429) with Retry-After and the X-RateLimit headers."""
    _refuse_unless(limit, *_limiters(settings.REDIS_URL).hit(limit.item(), key))


def check_calls(limit: RateLimit, key: str) -> None:
    """Refuse when a limit is used up, without counting. For limits on failures, which are counted once they happened."""
    _refuse_unless(limit, *_limiters(settings.REDIS_URL).peek(limit.item(), key))


def _refuse_unless(limit: RateLimit, passed: bool, remaining: int, reset_at: float) -> None:
    if passed:
        return
    wait_seconds = max(1, int(reset_at - time.time()) + 1)
    raise TooManyRequests(
        f"Too many requests. Try again in {wait_seconds} seconds.",
        retry_after_seconds=wait_seconds,
        headers={
            "X-RateLimit-Limit": str(limit.amount),
            "X-RateLimit-Remaining": str(max(0, remaining)),
            "X-RateLimit-Reset": str(int(reset_at)),
        },
    )


def forget_calls(limit: RateLimit, key: str) -> None:
    """Give a key its whole allowance back, for instance after a successful sign-in."""
    _limiters(settings.REDIS_URL).clear(limit.item(), key)
