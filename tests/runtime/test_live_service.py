"""The service as processes: ready, hurt, and back by itself."""

import pytest

from tests.live import LiveService, wait_until

pytestmark = pytest.mark.slow


def test_the_service_is_ready_and_says_why_not_when_its_worker_is_gone(live_service: LiveService) -> None:
    checks = live_service.readiness()["checks"]
    assert checks["database"] == "ok" and checks["outbox"].startswith("ok")
    assert checks["mail"].startswith("warning: no mail server")
    live_service.kill("worker")
    state = wait_until(
        lambda: (now := live_service.readiness())["code"] == 503 and now, seconds=20, what="readyz notices"
    )
    assert state["checks"]["worker"].startswith("no worker has reported for")
    live_service.start("worker")
    live_service.wait_ready()


def test_the_service_comes_back_by_itself_after_redis_was_stopped(live_service: LiveService) -> None:
    live_service.stop_redis()
    wait_until(lambda: live_service.readiness()["code"] == 503, seconds=10, what="readyz notices")
    live_service.start_redis()
    live_service.wait_ready(30)


def test_the_service_comes_back_by_itself_after_redis_was_frozen(live_service: LiveService) -> None:
    live_service.freeze_redis()
    state = live_service.readiness()
    assert state["code"] == 503
    assert state["checks"]["database"] == "ok"
    live_service.thaw_redis()
    live_service.wait_ready(30)
