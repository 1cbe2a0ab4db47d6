"""Processes that die and a broker that goes away: nothing acknowledged is lost, and all of it is processed in time."""

import tempfile
from pathlib import Path

import psutil
import pytest
import redis

from payments.models import Subscription
from tests.faults.sender import Sender
from tests.live import wait_until
from tests.payments.deliveries import stored

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def failing(name: str, *, once: bool = False) -> dict[str, str]:
    """Return the environment of a service that kills itself at a place, every time or a single time."""
    environment = {"FAIL_AT": name, "FAILPOINTS": "true", "DEMO": "true"}
    if once:
        environment["FAIL_ONCE_FILE"] = str(Path(tempfile.mkdtemp(prefix="failpoint-")) / "done")
    return environment


def wait_for_death(process: psutil.Process) -> None:
    wait_until(lambda: not alive(process), seconds=30, what="the process kills itself")


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_nothing_is_wrong_when_nothing_goes_wrong(sender: Sender) -> None:
    sender.send_all()
    sender.check_all_is_well(seconds=20)


@pytest.mark.live(env=failing("webhook.after_commit", once=True))
def test_f1_web_killed_after_the_commit_and_before_the_answer(sender: Sender) -> None:
    first = sender.events[0]
    assert sender.send(first) == 0
    assert stored(sender.shop.project).count() == 1
    restart_web(sender)
    sender.send_all()
    sender.check_all_is_well()
    assert stored(sender.shop.project).filter(event_id=first["id"]).count() == 1


@pytest.mark.live(env=failing("webhook.before_commit", once=True))
def test_f2_web_killed_before_the_commit(sender: Sender) -> None:
    assert sender.send(sender.events[0]) == 0
    assert not stored(sender.shop.project).exists()
    restart_web(sender)
    sender.send_all()
    sender.check_all_is_well()


def restart_web(sender: Sender) -> None:
    """Start the web part again after its worker process died, as a supervisor would."""
    service = sender.service
    if "web" in service.processes:
        service.kill("web")
    service.start("web")
    service.wait_ready()


@pytest.mark.live(env=failing("handler.mid_tx", once=True) | {"EVENT_LEASE_SECONDS": "5"})
def test_f3_worker_killed_in_the_middle_of_a_handlers_transaction(sender: Sender) -> None:
    sender.send_all()
    wait_for_death(sender.service.processes["worker"])
    assert not Subscription.objects.for_project(sender.shop.project).exists(), "half a transaction was kept"
    sender.service.processes.pop("worker")
    sender.service.start("worker")
    sender.check_all_is_well()


@pytest.mark.live(env=failing("handler.after_commit", once=True) | {"EVENT_LEASE_SECONDS": "5"})
def test_f3_worker_killed_after_a_handlers_commit(sender: Sender) -> None:
    sender.send_all()
    wait_for_death(sender.service.processes["worker"])
    sender.service.processes.pop("worker")
    sender.service.start("worker")
    sender.check_all_is_well()


def test_f4_the_whole_worker_killed_and_started_again(sender: Sender) -> None:
    sender.shop.fault("GET /v1/*", "hang", seconds=3, times=2)
    for event in sender.events:
        assert sender.send(event) == 200
    inbox = stored(sender.shop.project)
    wait_until(lambda: inbox.filter(status="processing").exists(), seconds=20, what="work has begun")
    sender.service.kill("worker")
    assert inbox.unfinished().exists()
    sender.service.start("worker")
    # The default lease of 30 s is what holds this up; the broker's visibility time-out, an hour, must not.
    sender.check_all_is_well()


def test_f5_redis_is_gone_while_webhooks_arrive(sender: Sender) -> None:
    sender.service.stop_redis()
    sender.send_all()
    # The worker sweeps by itself: recovery does not even wait for Redis.
    sender.check_all_is_well()
    sender.service.start_redis()
    sender.service.wait_ready()


def test_f6_redis_is_frozen_while_webhooks_arrive(sender: Sender) -> None:
    sender.service.freeze_redis()
    sender.send_all()
    sender.check_all_is_well()
    sender.service.thaw_redis()
    sender.service.wait_ready()


@pytest.mark.live(parts=("web", "worker"))
def test_f7_the_broker_forgets_everything_and_beat_is_dead(sender: Sender) -> None:
    sender.service.kill("worker")
    sender.send_all()
    with redis.Redis.from_url(sender.service.redis.url) as broker:
        assert broker.dbsize() > 0, "nothing was there to forget"
        broker.flushall()
    sender.service.start("worker")
    sender.check_all_is_well()


def test_f38_two_workers_and_two_sweeps_do_everything_once(sender: Sender) -> None:
    parts = sender.service.processes
    parts["first worker"] = parts.pop("worker")
    sender.service.start("worker")
    sender.send_all()
    sender.check_all_is_well()
    assert alive(parts["first worker"]) and alive(parts["worker"])
