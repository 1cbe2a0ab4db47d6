"""How fast this service asks Stripe: one budget per account and mode, shared by all processes through Redis.

Invariant: in any second the background sends fewer calls to an account than Stripe lets through (100 in live mode, 25 in a
sandbox, 25 to one endpoint), and what a user waits for goes first. A bucket holds what may come at once and fills with the rest,
so that burst and flow together stay within the figure. Without Redis every process keeps buckets of its own, at half the flow.
Source: https://docs.stripe.com/rate-limits
"""

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
from django.conf import settings

from common.modes import LIVE

logger = logging.getLogger(__name__)

# The share of a second's calls that may come at once.
BURST_SHARE = 0.25
# What the background leaves in a bucket for somebody who waits for an answer, as far as the bucket holds more than one call.
RESERVED_CALLS = 1.0
USER_WAITS_SECONDS_MAX = 0.5
BACKGROUND_WAITS_SECONDS_MAX = 10.0
SLOWER_SECONDS = 15
REDIS_RETRY_SECONDS = 5.0
LOCAL_BUCKETS_MAX = 1000
LOCAL_SHARE = 0.5

# How long the calls of this thread may wait for their turn; None = somebody waits for the answer.
_patience_seconds: ContextVar[float | None] = ContextVar("stripe_patience_seconds", default=None)


@dataclass(frozen=True)
class Pace:
    """How many calls may come at once, and how many a second on top of that."""

    burst: float
    per_second: float

    @classmethod
    def within(cls, calls_per_second: float) -> "Pace":
        """Stay within so many calls in any second."""
        burst = max(1.0, calls_per_second * BURST_SHARE)
        return cls(burst, max(calls_per_second - burst, 0.5))


# One round trip: both buckets fill by the time that passed, and pay only when both can. Answers how many seconds to wait, "0" = go.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local slower = tonumber(redis.call('GET', KEYS[3]) or '1')
local floor = tonumber(ARGV[5])
local wait, left = 0, {}
for place = 1, 2 do
  local burst, flow = tonumber(ARGV[place * 2 - 1]), tonumber(ARGV[place * 2]) * slower
  local held = redis.call('HMGET', KEYS[place], 'calls', 'at')
  local calls = math.min(burst, tonumber(held[1] or burst) + math.max(0, now - tonumber(held[2] or now)) * flow)
  left[place] = calls
  local least = math.min(floor, burst)
  if floor < 0 then least = -burst end
  if calls < least then wait = math.max(wait, (least - calls) / flow) end
end
if wait == 0 then
  for place = 1, 2 do
    redis.call('HSET', KEYS[place], 'calls', string.format('%.6f', left[place] - 1), 'at', string.format('%.6f', now))
    redis.call('PEXPIRE', KEYS[place], 60000)
  end
end
return string.format('%.6f', wait)
"""
_SLOWER = """
local factor = math.max(0.1, tonumber(redis.call('GET', KEYS[1]) or '1') / 2)
redis.call('SET', KEYS[1], string.format('%.3f', factor), 'EX', ARGV[1])
return 1
"""


@contextmanager
def background_calls(*, wait_seconds: float = BACKGROUND_WAITS_SECONDS_MAX) -> Iterator[None]:
    """Let the calls of this thread wait for their turn, each at most so long, behind those that somebody waits for."""
    before = _patience_seconds.set(wait_seconds)
    try:
        yield
    finally:
        _patience_seconds.reset(before)


def await_turn(*, account: str, mode: str, endpoint: str) -> bool:
    """Wait until one more call to an account may be sent; False when its turn has not come in time.

    A call that a user waits for is held for half a second at most, and then sent all the same.
    """
    paces = _paces(mode)
    if paces is None:
        return True
    patience = _patience_seconds.get()
    in_background = patience is not None
    give_up_at = time.monotonic() + (patience if patience is not None else USER_WAITS_SECONDS_MAX)
    while True:
        wait = _budget(settings.REDIS_URL).take(f"{account}:{mode}", endpoint, paces, in_background=in_background)
        if wait <= 0:
            return True
        if time.monotonic() + wait > give_up_at:
            return not in_background
        # Those who wait together must not all come back at the same moment.
        time.sleep(wait * random.uniform(1.0, 1.2))


def slow_down(*, account: str, mode: str) -> None:
    """Halve an account's flow for a while, since Stripe has answered 429. Repeated, it goes down to a tenth."""
    _budget(settings.REDIS_URL).slow_down(f"{account}:{mode}")


def _paces(mode: str) -> tuple[Pace, Pace] | None:
    calls = settings.STRIPE_CALLS_PER_SECOND_LIVE if mode == LIVE else settings.STRIPE_CALLS_PER_SECOND_TEST
    if not calls:
        return None
    return Pace.within(calls), Pace.within(min(calls, settings.STRIPE_CALLS_PER_SECOND_ENDPOINT or calls))


class _Budget:
    """Redis first; this process's memory while Redis is away."""

    def __init__(self, url: str) -> None:
        timeout = settings.REDIS_SOCKET_TIMEOUT_SECONDS
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        client = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once)
        self._take: Any = client.register_script(_TAKE)
        self._slower: Any = client.register_script(_SLOWER)
        self._local = _LocalBuckets()
        self._redis_asleep_until = 0.0

    def take(self, account: str, endpoint: str, paces: tuple[Pace, Pace], *, in_background: bool) -> float:
        """Take one call, or say how many seconds to wait."""
        if time.monotonic() >= self._redis_asleep_until:
            keys = [f"stripe-budget:{{{account}}}", f"stripe-budget:{{{account}}}:{endpoint}", _slower_key(account)]
            floor = 1.0 + RESERVED_CALLS if in_background else -1.0
            values = [paces[0].burst, paces[0].per_second, paces[1].burst, paces[1].per_second, floor]
            try:
                return float(self._take(keys=keys, args=values))
            except (redis.RedisError, OSError):
                self._fall_asleep()
        return self._local.take(account, endpoint, paces, in_background=in_background)

    def slow_down(self, account: str) -> None:
        """Halve an account's flow for a while."""
        self._local.slow_down(account)
        if time.monotonic() >= self._redis_asleep_until:
            try:
                self._slower(keys=[_slower_key(account)], args=[SLOWER_SECONDS])
            except (redis.RedisError, OSError):
                self._fall_asleep()

    def _fall_asleep(self) -> None:
        self._redis_asleep_until = time.monotonic() + REDIS_RETRY_SECONDS
        logger.warning("Redis does not answer; calls to Stripe are counted per process for now.")


class _LocalBuckets:
    """The same buckets in this process's memory, a bounded number of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._slow_until: dict[str, float] = {}

    def take(self, account: str, endpoint: str, paces: tuple[Pace, Pace], *, in_background: bool) -> float:
        """Take one call, or say how many seconds to wait."""
        now = time.monotonic()
        with self._lock:
            share = LOCAL_SHARE * (0.5 if self._slow_until.get(account, 0.0) > now else 1.0)
            wait, left = 0.0, {}
            for key, pace in zip((account, f"{account}:{endpoint}"), paces, strict=True):
                flow = pace.per_second * share
                calls, at = self._buckets.get(key, (pace.burst, now))
                left[key] = min(pace.burst, calls + (now - at) * flow)
                least = min(1.0 + RESERVED_CALLS, pace.burst) if in_background else -pace.burst
                wait = max(wait, (least - left[key]) / flow)
            if wait > 0:
                return wait
            for key, calls in left.items():
                self._buckets[key] = (calls - 1, now)
                self._buckets.move_to_end(key)
            while len(self._buckets) > LOCAL_BUCKETS_MAX:
                self._buckets.popitem(last=False)
            return 0.0

    def slow_down(self, account: str) -> None:
        """Halve an account's flow for a while."""
        with self._lock:
            now = time.monotonic()
            self._slow_until = {key: until for key, until in self._slow_until.items() if until > now}
            self._slow_until[account] = now + SLOWER_SECONDS


def _slower_key(account: str) -> str:
    return f"stripe-budget:{{{account}}}:slower"


@cache
def _budget(url: str) -> _Budget:
    return _Budget(url)
