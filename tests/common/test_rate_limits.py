"""Rate limits count exactly, and go on without Redis."""

import threading
import uuid
from typing import Any

import pytest

from common.errors import TooManyRequests
from common.rate_limits import RateLimit, check_calls, count_call, forget_calls

LIMIT = RateLimit("test", amount=5, seconds=60)


def passes(key: str) -> bool:
    """Count one call and say whether it may pass."""
    try:
        count_call(LIMIT, key)
    except TooManyRequests:
        return False
    return True


def test_only_the_allowed_number_passes_also_at_once() -> None:
    key = uuid.uuid4().hex
    barrier = threading.Barrier(20)
    results: list[bool] = []

    def call() -> None:
        barrier.wait()
        results.append(passes(key))

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 5


def test_a_refusal_says_when_to_come_back() -> None:
    key = uuid.uuid4().hex
    for _ in range(5):
        count_call(LIMIT, key)
    with pytest.raises(TooManyRequests) as refusal:
        count_call(LIMIT, key)
    headers = refusal.value.response_headers()
    assert 1 <= int(headers["Retry-After"]) <= 61
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("5", "0")
    assert refusal.value.body()["retry_after"] == int(headers["Retry-After"])


def test_looking_does_not_count_and_forgetting_gives_all_back() -> None:
    key = uuid.uuid4().hex
    for _ in range(10):
        check_calls(LIMIT, key)
    for _ in range(5):
        assert passes(key)
    with pytest.raises(TooManyRequests):
        check_calls(LIMIT, key)
    forget_calls(LIMIT, key)
    assert passes(key)


def test_without_redis_each_process_counts_for_itself(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    key = uuid.uuid4().hex
    assert [passes(key) for _ in range(7)] == [True] * 5 + [False] * 2
    with pytest.raises(TooManyRequests):
        check_calls(LIMIT, key)
    forget_calls(LIMIT, key)
    assert passes(key)
