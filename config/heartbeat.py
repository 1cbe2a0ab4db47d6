"""How a worker says that it is alive, in Redis and by the clock of Redis, since the machines' own may differ.

No Django here, so that the supervisor can use it too.
"""

from functools import cache

import redis

WORKERS_KEY = "payments:workers"
FORGET_SECONDS = 3600
# A frozen Redis must not hold whoever asks for longer than this.
TIMEOUT_SECONDS = 0.5


@cache
def client(url: str) -> redis.Redis:
    """Return a connection pool that answers or fails at once: no retries, short time-outs."""
    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, retry=once)


def beat_heart(url: str, worker: str) -> None:
    """Note that this worker is alive, and forget workers that have been silent for an hour."""
    now, _ = client(url).time()
    with client(url).pipeline(transaction=False) as pipe:
        pipe.zadd(WORKERS_KEY, {worker: now})
        pipe.zremrangebyscore(WORKERS_KEY, 0, now - FORGET_SECONDS)
        pipe.execute()


def end_heart(url: str, worker: str) -> None:
    """Note that this worker has ended by itself."""
    client(url).zrem(WORKERS_KEY, worker)


def forget_workers(url: str) -> None:
    """Forget every worker: at the start of an instance none of its own can be alive."""
    client(url).delete(WORKERS_KEY)


def newest_heartbeat_age_seconds(url: str) -> float | None:
    """Return how long ago any worker reported, or None when none has."""
    with client(url).pipeline(transaction=False) as pipe:
        pipe.zrevrange(WORKERS_KEY, 0, 0, withscores=True)
        pipe.time()
        newest, (now, _) = pipe.execute()
    return max(0.0, now - float(newest[0][1])) if newest else None
