"""Redis gone, frozen or emptied, web or worker killed: what was acknowledged is processed (F1 to F7).

The service runs as processes of its own (tests/live.py), and the events are those of a real life at the sandbox.
"""

from pathlib import Path
from random import Random

import psutil
import pytest
import redis

from payments.models import WebhookEvent
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService, LiveServices, wait_until
from tests.payments.deliveries import events_of
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

FAILPOINTS = {"FAILPOINTS": "true", "DEMO": "true"}
# What a dead worker held is free again after so long.
SHORT_LEASE = {"EVENT_LEASE_SECONDS": "6"}


def unfinished(life: Life) -> int:
    """Count the project's events that still need work."""
    return WebhookEvent.objects.for_project(life.shop.project).unfinished().count()


def wait_dead(process: psutil.Process) -> None:
    """Wait until a failpoint has killed the process."""
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, seconds=30, what="killed")


def test_f5_webhooks_are_acknowledged_and_processed_while_redis_is_gone(
    live_service: LiveService, sender: Sender, life: Life
) -> None:
    live_a_whole_life(life)
    live_service.stop_redis()
    sender.send_all()
    sender.check_speed()
    sender.wait_drained()
    sender.check_effects_once()
    live_service.start_redis()
    live_service.wait_ready(60)


def test_f6_webhooks_are_acknowledged_while_redis_is_frozen_and_processed_after(
    live_service: LiveService, sender: Sender, life: Life
) -> None:
    live_a_whole_life(life)
    live_service.freeze_redis()
    sender.send_all()
    sender.check_speed()
    sender.check_nothing_lost()
    live_service.thaw_redis()
    sender.wait_drained()
    sender.check_effects_once()
    live_service.wait_ready(60)


def test_f7_a_broker_that_forgot_everything_loses_no_event(
    live_service: LiveService, sender: Sender, life: Life
) -> None:
    live_a_whole_life(life)
    live_service.kill("worker")
    live_service.kill("beat")
    sender.send_all()
    assert unfinished(life) == len(sender.acknowledged) > 40
    redis.Redis.from_url(live_service.redis.url).flushall()
    live_service.start("worker")
    sender.wait_drained()
    sender.check_effects_once()


@pytest.mark.live(env=SHORT_LEASE)
def test_f4_a_worker_killed_in_its_work_is_followed_by_one_that_finishes_it(
    live_service: LiveService, sender: Sender, life: Life
) -> None:
    live_a_whole_life(life)
    # Stripe does not answer, so the kill meets events that are being worked on.
    events = events_of(life.shop)
    life.shop.fault("GET /v1/*", "hang", seconds=20)
    assert {sender.send(event) for event in events} == {200}
    in_hand = WebhookEvent.objects.for_project(life.shop.project).filter(status="processing")
    wait_until(in_hand.exists, seconds=20, what="events in work")
    live_service.kill("worker")
    assert unfinished(life) > 0
    live_service.start("worker")
    sender.wait_drained()
    sender.check_effects_once()


@pytest.mark.parametrize("moment", ["handler.mid_tx", "handler.after_commit"])
def test_f3_a_worker_that_dies_around_its_commit_repeats_nothing(
    life: Life, tmp_path: Path, live_services: LiveServices, run_database: str, rng: Random, moment: str
) -> None:
    env = {**FAILPOINTS, **SHORT_LEASE, "FAIL_AT": moment, "FAIL_ONCE_FILE": str(tmp_path / "once")}
    life.buy()
    service = live_services.get(env=env)
    sender = Sender(service.url, life.shop, rng)
    sender.send_all()
    wait_dead(service.processes["worker"])
    service.processes.pop("worker")
    service.start("worker")
    sender.wait_drained()
    sender.check_effects_once()


@pytest.mark.parametrize(("moment", "rows"), [("webhook.before_commit", 0), ("webhook.after_commit", 1)])
def test_f1_f2_a_web_process_killed_around_its_commit_stores_the_event_once(
    life: Life, tmp_path: Path, live_services: LiveServices, run_database: str, rng: Random, moment: str, rows: int
) -> None:
    env = {**FAILPOINTS, "FAIL_AT": moment, "FAIL_ONCE_FILE": str(tmp_path / "once")}
    life.buy()
    first = events_of(life.shop)[0]
    service = live_services.get(env=env, parts=("web",))
    sender = Sender(service.url, life.shop, rng)
    assert sender.send(first) == 0
    wait_dead(service.processes["web"])
    assert WebhookEvent.objects.for_project(life.shop.project).count() == rows
    service.processes.pop("web")
    service.start("web")
    service.start("worker")
    wait_until(service.is_up, seconds=40, what="the web process")
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
