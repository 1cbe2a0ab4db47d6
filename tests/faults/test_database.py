"""PostgreSQL stopped, killed in the middle of a write, crashed and read-only: nothing acknowledged is lost (F8 to F10, F35).

Each case works on a cluster of its own (own_database.py), as durable as production's.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from payments.models import Transaction, WebhookEvent
from tests.faults.own_database import OwnDatabase, make_own_database, orm_on
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService, running_service, wait_until
from tests.payments.deliveries import an_event, events_of
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

REFUSED_SECONDS_MAX = 12
RECOVERY_SECONDS = 15
CRASH_SENDERS = 4


@pytest.fixture(scope="module")
def cluster(server_dir: Path, run_database: str, django_db_blocker: Any) -> Iterator[OwnDatabase]:
    """A cluster for this file's cases."""
    with django_db_blocker.unblock():
        database = make_own_database(server_dir / "own")
    yield database
    if database.server.is_running():
        database.server.stop()


@pytest.fixture(autouse=True)
def own(cluster: OwnDatabase, database: None) -> Iterator[OwnDatabase]:
    """Let the whole test work on that cluster; it is up and writable again afterwards."""
    if not cluster.server.is_running():
        cluster.start()
    with orm_on(cluster.url):
        yield cluster
    if not cluster.server.is_running():
        cluster.start()
    cluster.set_for_all("default_transaction_read_only", "off")


@pytest.fixture
def service(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox: Any, settings: Any, own: OwnDatabase
) -> Iterator[LiveService]:
    """The service on that cluster, as the mark `live` wants it."""
    marker = request.node.get_closest_marker("live")
    options: dict[str, Any] = dict(marker.kwargs) if marker else {"parts": ("web", "worker")}
    held = {"FAIL_ONCE_FILE": str(tmp_path / "reached"), "FAIL_HOLD_UNTIL": str(tmp_path / "go")}
    env = {"DATABASE_URL": own.url, "EVENT_LEASE_SECONDS": "5", **held, **options.pop("env", {})}
    with running_service(tmp_path, sandbox.url, env=env, **options) as running:
        settings.PUBLIC_BASE_URL = running.url
        yield running


@pytest.fixture
def sender(life: Life, service: LiveService, rng: Random) -> Sender:
    """Stripe's deliveries to that service."""
    return Sender(service.url, life.shop, rng)


def pids(service: LiveService) -> list[int]:
    """Name every process of the service."""
    return sorted(
        process.pid
        for part in service.processes.values()
        for process in [psutil.Process(part.pid), *part.children(recursive=True)]
    )


def test_f8_without_a_database_nothing_is_acknowledged_and_all_recovers_by_itself(
    service: LiveService, sender: Sender, life: Life, own: OwnDatabase
) -> None:
    live_a_whole_life(life)
    events = events_of(life.shop)
    half = len(events) // 2
    assert {sender.send(event) for event in events[:half]} == {200}
    before = pids(service)
    own.stop_at_once()
    sender.seconds.clear()
    refused = [sender.send(event) for event in events[half : half + 3]]
    assert refused == [503, 503, 503]
    assert max(sender.seconds) < REFUSED_SECONDS_MAX
    assert service.readiness()["code"] == 503
    own.start()
    wait_until(lambda: sender.send(events[half]) == 200, seconds=RECOVERY_SECONDS, what="an acknowledgement")
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
    service.wait_ready(20)
    assert pids(service) == before, "a process ended with the database"


@pytest.mark.live(
    env={"FAILPOINTS": "true", "DEMO": "true", "FAIL_AT": "handler.mid_tx", "EVENT_LEASE_SECONDS": "15"},
    parts=("web", "worker"),
)
def test_f9_a_database_that_dies_in_a_handlers_transaction_leaves_all_or_nothing(
    service: LiveService, sender: Sender, life: Life, own: OwnDatabase, tmp_path: Path
) -> None:
    life.buy()
    sender.send_of_customers()
    wait_until((tmp_path / "reached").exists, seconds=20, what="a worker in the middle of its transaction")
    own.stop_at_once()
    own.start()
    # The worker still stands where it was: what it had written before is not there, and its events are not done.
    assert not Transaction.objects.for_project(life.shop.project).exists()
    of_the_buyer = WebhookEvent.objects.for_project(life.shop.project).filter(root__startswith="cus_")
    assert not of_the_buyer.filter(status="processed").exists()
    (tmp_path / "go").touch()
    sender.wait_drained()
    sender.check_effects_once()


@pytest.mark.live(parts=("web",))
def test_f10_every_acknowledged_event_outlives_a_crash_of_the_database(
    service: LiveService, sender: Sender, life: Life, own: OwnDatabase, rng: Random
) -> None:
    assert (own.show("synchronous_commit"), own.show("fsync"), own.show("full_page_writes")) == ("on", "on", "on")
    wanted = rng.randrange(150, 400)
    crashed = threading.Event()

    def keep_sending() -> None:
        while not crashed.is_set():
            sender.send(an_event())

    threads = [threading.Thread(target=keep_sending) for _ in range(CRASH_SENDERS)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(sender.acknowledged) >= wanted, seconds=60, what="a stream of events", interval=0.002)
    own.crash()
    crashed.set()
    for thread in threads:
        thread.join()
    own.start()
    sender.check_nothing_lost()
    wait_until(lambda: sender.send(an_event()) == 200, seconds=RECOVERY_SECONDS, what="an acknowledgement")
    sender.check_nothing_lost()


def test_f35_a_database_that_may_only_be_read_refuses_and_recovers(
    service: LiveService, sender: Sender, life: Life, own: OwnDatabase
) -> None:
    live_a_whole_life(life)
    own.set_for_all("default_transaction_read_only", "on")
    events = events_of(life.shop)
    assert [sender.send(event) for event in events[:3]] == [503, 503, 503]
    assert not WebhookEvent.objects.for_project(life.shop.project).exists()
    own.set_for_all("default_transaction_read_only", "off")
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
