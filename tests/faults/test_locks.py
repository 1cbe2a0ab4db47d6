"""Deadlocks, serialization failures and locks that nobody gives back: tried again, and never half written (F11)."""

import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from common.locks import LEASE_DELIVERIES, LEASE_EVENTS, LEASE_OUTBOX, pick_alone
from notifications.services.deliveries import lease_due_deliveries
from notifications.services.running import lease_due_rows
from payments.models import Subscription, SyncLease, Transaction, WebhookEvent
from payments.services.inbox import lease_due_groups
from payments.services.leases import take_lease
from tests.builders import waits_for_a_lock
from tests.cast import AppUser
from tests.faults.sender import Sender
from tests.live import running_service, wait_until
from tests.payments.deliveries import deliver, process_all, purchase, set_webhook_secret, stored
from tests.payments.shop import Shop
from tests.scenarios.lifecycle import Life, compare_with_stripe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ATTEMPTS_MAX = 3
# PostgreSQL looks for a deadlock when somebody has waited for a second.
FAILS_TWICE = """
    CREATE SEQUENCE {name};
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.project_id = '{project}' AND nextval('{name}') <= 2 THEN
            RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER {name} BEFORE INSERT ON payments_transaction FOR EACH ROW EXECUTE FUNCTION {name}();
"""
NO_FAILURES = "DROP TRIGGER {name} ON payments_transaction; DROP FUNCTION {name}(); DROP SEQUENCE {name};"


def test_f11_a_worker_that_loses_a_deadlock_tries_again_and_leaves_nothing_half_written(
    life: Life, tmp_path: Path, run_database: str, sandbox: Any, rng: Random
) -> None:
    env = {
        "FAILPOINTS": "true", "DEMO": "true", "FAIL_AT": "handler.mid_tx",
        "FAIL_ONCE_FILE": str(tmp_path / "reached"), "FAIL_HOLD_UNTIL": str(tmp_path / "go"),
    }  # fmt: skip
    project = life.shop.project
    life.buy()
    with running_service(tmp_path, sandbox.url, env=env, parts=("web", "worker")) as service:
        sender = Sender(service.url, life.shop, rng)
        sender.send_of_customers()
        wait_until((tmp_path / "reached").exists, seconds=20, what="a worker that has written and not committed")
        in_hand = WebhookEvent.objects.for_project(project).filter(status="processing").exclude(root="")
        held = SyncLease.objects.filter(project=project, token__in=in_hand.values("lease_token")).get()
        before, won = deadlocks(), threading.Event()
        other = threading.Thread(target=lock_the_other_way_round, args=(project, held.root, won))
        other.start()
        wait_until(
            lambda: waits_for_a_lock("payments_synclease%FOR UPDATE"), seconds=20, what="the other waits for the worker"
        )
        (tmp_path / "go").touch()
        other.join(20)
        assert not other.is_alive()
        assert won.is_set(), "the worker did not lose: the case proves less than it says"
        wait_until(lambda: deadlocks() > before, seconds=20, what="PostgreSQL counts the deadlock")
        sender.wait_drained()
        sender.check_effects_once()
    attempts = WebhookEvent.objects.for_project(project).values_list("attempts", flat=True)
    assert max(attempts) <= ATTEMPTS_MAX


def deadlocks() -> int:
    """Return how many deadlocks PostgreSQL has ended in this database; a session tells of its own when it is idle."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        (found,) = cursor.fetchone()
        return int(found)


def lock_the_other_way_round(project: Any, root: str, won: threading.Event) -> None:
    """Take the events' rows, then want the lease's row, which the worker has and will not give back before the events'."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Who looks for a deadlock loses it: it is the worker, who looks after a second.
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")
            events = WebhookEvent.objects.for_project(project).filter(root=root)
            assert list(events.select_for_update().values_list("pk", flat=True))
            list(SyncLease.objects.filter(project=project, root=root).select_for_update().values_list("pk", flat=True))
        won.set()
    finally:
        connections.close_all()


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03", "57014"])
def test_f11_what_the_database_says_to_try_again_is_tried_again(shop: Shop, dana: AppUser, code: str) -> None:
    set_webhook_secret(shop.project)
    names = {"name": f"fails_twice_{shop.project.pk.hex}", "project": shop.project.pk, "code": code}
    events = purchase(shop, dana, shop.price(1000))
    with connection.cursor() as cursor:
        cursor.execute(FAILS_TWICE.format(**names))
    try:
        deliver(shop, events)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(NO_FAILURES.format(**names))
    process_all(shop.project)
    compare_with_stripe(shop)
    assert Subscription.objects.for_project(shop.project).count() == 1
    assert Transaction.objects.for_project(shop.project).count() == 1
    found = stored(shop.project)
    assert not found.filter(status="dead").exists()
    assert max(found.values_list("attempts", flat=True)) <= ATTEMPTS_MAX


def test_f11_nobody_waits_for_a_lock_or_a_statement_without_end(acme: Any) -> None:
    wanted = {"lock_timeout": "5s", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "1min"}
    with connection.cursor() as cursor:
        found = {}
        for name in wanted:
            cursor.execute(f"SHOW {name}")
            found[name] = cursor.fetchone()[0]
    assert found == wanted
    lease = take_lease(project_id=acme.pk, mode="test", root="cus_locked")
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(SyncLease.objects.filter(project=acme).select_for_update().values_list("pk", flat=True))
            locked.set()
            done.wait(10)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(10)
    began = time.monotonic()
    try:
        with pytest.raises(OperationalError, match="lock timeout"):
            take_lease(project_id=acme.pk, mode="test", root=lease.root)
        assert 4 < time.monotonic() - began < 7
    finally:
        done.set()
        holder.join()


def test_a_worker_that_freezes_while_it_picks_work_keeps_others_from_picking_for_seconds_only() -> None:
    """Not for the minute that a transaction may idle: all projects would stand still meanwhile."""
    picks = {
        LEASE_EVENTS: lambda: lease_due_groups(limit=1),
        LEASE_OUTBOX: lambda: lease_due_rows(limit=1),
        LEASE_DELIVERIES: lambda: lease_due_deliveries(limit=1),
    }
    thawed, lost = threading.Event(), []
    holding = threading.Barrier(len(picks) + 1, timeout=10)

    def freeze(lock: int) -> None:
        try:
            with transaction.atomic():
                pick_alone(lock)
                holding.wait()
                thawed.wait(30)
        except DatabaseError as error:
            assert "idle-in-transaction" in str(error)
            lost.append(lock)
        finally:
            connection.close()

    frozen = [threading.Thread(target=freeze, args=(lock,)) for lock in picks]
    for thread in frozen:
        thread.start()
    holding.wait()
    try:
        for pick in picks.values():
            # It raises after the five seconds that anybody waits for a lock.
            pick()
    finally:
        thawed.set()
        for thread in frozen:
            thread.join(10)
    assert sorted(lost) == sorted(picks)
