"""The outbox is carried out: each effect once, fairly, in order where order matters, again after trouble, never lost."""

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from common.errors import UpstreamError, UpstreamUnavailable
from common.leased_rounds import THREADS
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from notifications.services import outbox, running
from notifications.services.outbox import EffectSkipped, record_effect, register_executor
from notifications.services.running import ROWS_PER_PEER_MAX, carry_out_row, lease_due_rows, renew_leases, replay_rows
from notifications.tasks import run_outbox
from projects.models import Project
from tests.cast import Developer, create_project
from tests.live import wait_until
from tests.notifications.conftest import Peer
from tests.payments.shop import at_once

EVERYTHING = 1000


def lease(*projects: Project, limit: int = EVERYTHING) -> list[OutboxRow]:
    """Lease what is due of these projects; what other tests left behind is not waited for."""
    wanted = {project.pk for project in projects}
    return [row for row in lease_due_rows(limit=limit) if row.project_id in wanted]


def end_lease(row: OutboxRow) -> None:
    """Let the time of a lease or a pause pass."""
    OutboxRow.objects.filter(pk=row.pk).update(next_attempt_at=Now() - dt.timedelta(seconds=1), lease_until=Now())


def run_and_close() -> None:
    """Run the outbox on a thread of a test's own."""
    try:
        run_outbox()
    finally:
        connection.close()


def finish_all(*projects: Project, rounds: int = 3) -> None:
    for _ in range(rounds):
        for row in lease(*projects):
            carry_out_row(row)


# Works


def test_an_effect_is_carried_out_once_and_its_answer_kept(acme: Project, peer: Peer) -> None:
    row = peer.ask(acme, "probe:1")
    peer.ask(acme, "probe:1")
    run_outbox()
    run_outbox()
    row.refresh_from_db()
    assert peer.seen == ["probe:1"]
    assert (row.status, row.attempts, row.result, row.lease_token) == ("done", 1, {"id": str(row.pk)}, None)
    assert row.done_at is not None


def test_the_same_key_in_another_mode_or_project_is_another_effect(
    acme: Project, other_project: Project, peer: Peer
) -> None:
    for project, mode in ((acme, "test"), (acme, "live"), (other_project, "test")):
        peer.ask(project, "probe:1", mode=mode)
    finish_all(acme, other_project)
    assert peer.seen == ["probe:1"] * 3


def test_no_transaction_is_open_while_the_peer_is_asked(acme: Project, peer: Peer) -> None:
    peer.behave = lambda row: {"in_transaction": connection.in_atomic_block}
    row = peer.ask(acme, "probe:1")
    (leased,) = lease(acme)
    with transaction.atomic(), pytest.raises(RuntimeError):
        carry_out_row(leased)
    carry_out_row(leased)
    row.refresh_from_db()
    assert row.result == {"in_transaction": False}


def test_leasing_and_finishing_take_three_statements_whatever_the_history(acme: Project, peer: Peer) -> None:
    peer.ask(acme, "probe:1")
    with CaptureQueriesContext(connection) as queries:
        (row,) = lease(acme)
        carry_out_row(row)
    statements = [query["sql"] for query in queries if not query["sql"].startswith(("BEGIN", "COMMIT"))]
    assert len(statements) == 3, statements


# Refuses


def test_an_effect_outside_the_transaction_of_its_cause_is_refused(acme: Project, peer: Peer) -> None:
    with pytest.raises(RuntimeError):
        record_effect(project_id=acme.pk, mode="test", kind=peer.kind, effect_key="probe:1", payload={})
    assert not OutboxRow.objects.for_project(acme).exists()


def test_a_second_executor_of_a_kind_is_refused(peer: Peer) -> None:
    with pytest.raises(RuntimeError):
        register_executor(peer.kind, lambda row: None)


def test_rows_of_a_kind_that_this_release_does_not_know_are_left_alone(acme: Project, peer: Peer) -> None:
    row = peer.ask(acme, "probe:1", kind="of_a_later_release")
    assert lease(acme) == []
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("pending", 0)


def test_an_effect_that_is_not_to_happen_any_more_is_skipped_with_its_reason(acme: Project, peer: Peer) -> None:
    def skip(row: OutboxRow) -> None:
        raise EffectSkipped("Nobody to tell.")

    peer.behave = skip
    row = peer.ask(acme, "probe:1")
    finish_all(acme, rounds=2)
    row.refresh_from_db()
    assert (row.status, row.error, len(peer.seen)) == ("skipped", "Nobody to tell.", 1)


# Trouble


def test_trouble_is_tried_again_after_a_growing_pause(acme: Project, peer: Peer) -> None:
    def fail(row: OutboxRow) -> None:
        raise UpstreamUnavailable("The peer with sk_test_SECRETsecret123 is away.")

    peer.behave = fail
    row = peer.ask(acme, "probe:1")
    waits = []
    for attempt in range(1, 4):
        (leased,) = lease(acme)
        carry_out_row(leased)
        row = OutboxRow.objects.annotate(wait=running.Now()).get(pk=row.pk)
        assert (row.status, row.attempts, row.lease_token) == ("pending", attempt, None)
        waits.append((row.next_attempt_at - row.wait).total_seconds())
        assert lease(acme) == []
        end_lease(row)
    assert 2 <= waits[0] <= 5 <= waits[1] <= 10 <= waits[2] <= 20
    assert "is away" in row.error and "SECRET" not in row.error
    peer.behave = lambda row: None
    finish_all(acme, rounds=1)
    row.refresh_from_db()
    assert (row.status, row.attempts, row.error) == ("done", 4, "")


def test_what_the_peer_refuses_for_good_is_a_dead_letter_with_one_review_item(acme: Project, peer: Peer) -> None:
    def refuse(row: OutboxRow) -> None:
        raise UpstreamError("No such mailbox.")

    peer.behave = refuse
    row = peer.ask(acme, "probe:1")
    finish_all(acme, rounds=2)
    row.refresh_from_db()
    assert (row.status, len(peer.seen)) == ("dead", 1) and "No such mailbox." in row.error
    item = ReviewItem.objects.for_project(acme).get()
    assert (item.kind, item.subject, item.status) == ("dead_letter", str(row.pk), "pending")
    assert "No such mailbox." in item.details["error"]


def test_too_many_attempts_make_a_dead_letter(acme: Project, peer: Peer, settings: Any) -> None:
    settings.OUTBOX_MAX_ATTEMPTS = 3

    def fail(row: OutboxRow) -> None:
        raise ConnectionError("refused")

    peer.behave = fail
    row = peer.ask(acme, "probe:1")
    for _ in range(3):
        finish_all(acme, rounds=1)
        end_lease(row)
    row.refresh_from_db()
    assert (row.status, row.attempts, len(peer.seen)) == ("dead", 3, 3)


def test_a_dead_letter_is_replayed_once_however_often_it_is_asked_for(acme: Project, peer: Peer) -> None:
    def refuse(row: OutboxRow) -> None:
        raise UpstreamError("Down.")

    peer.behave = refuse
    row = peer.ask(acme, "probe:1")
    finish_all(acme, rounds=1)
    peer.behave = lambda row: None
    rows = OutboxRow.objects.for_project(acme)
    assert [replay_rows(rows), replay_rows(rows)] == [1, 0]
    finish_all(acme, rounds=2)
    assert replay_rows(rows) == 0
    row.refresh_from_db()
    assert (row.status, row.attempts, peer.seen) == ("done", 1, ["probe:1"] * 2)


# Leases


def test_rows_of_a_dead_worker_come_back_when_their_lease_ends(acme: Project, peer: Peer) -> None:
    row = peer.ask(acme, "probe:1")
    (held,) = lease(acme)
    assert lease(acme) == []
    end_lease(row)
    (again,) = lease(acme)
    assert again.lease_token != held.lease_token
    carry_out_row(again)
    row.refresh_from_db()
    assert row.status == "done"


def test_a_worker_whose_lease_was_taken_over_changes_nothing(acme: Project, peer: Peer) -> None:
    row = peer.ask(acme, "probe:1")
    (late,) = lease(acme)
    end_lease(row)
    (current,) = lease(acme)
    peer.behave = lambda row: {"by": "late"}
    carry_out_row(late)
    row.refresh_from_db()
    assert (row.status, row.lease_token) == ("processing", current.lease_token)
    peer.behave = lambda row: {"by": "current"}
    carry_out_row(current)
    row.refresh_from_db()
    assert (row.status, row.result) == ("done", {"by": "current"})


def test_a_lease_in_work_is_prolonged_and_a_lost_one_is_not(acme: Project, peer: Peer) -> None:
    row = peer.ask(acme, "probe:1")
    (held,) = lease(acme)
    assert held.lease_token is not None
    OutboxRow.objects.filter(pk=row.pk).update(lease_until=Now(), next_attempt_at=Now() + dt.timedelta(seconds=1))
    renew_leases(tokens=[uuid.uuid4()])
    row.refresh_from_db()
    assert row.lease_until is not None and row.lease_until < row.next_attempt_at
    renew_leases(tokens=[held.lease_token])
    row.refresh_from_db()
    assert row.lease_until == row.next_attempt_at


def test_runners_at_once_carry_out_each_effect_once(acme: Project, other_project: Project, peer: Peer) -> None:
    for number in range(12):
        peer.ask(acme if number % 2 else other_project, f"probe:{number}")

    def run(_: int) -> None:
        for _ in range(12):
            for row in lease(acme, other_project):
                carry_out_row(row)

    at_once(4, run)
    assert sorted(peer.seen) == sorted(f"probe:{number}" for number in range(12))
    rows = OutboxRow.objects.filter(project__in=[acme, other_project])
    assert set(rows.values_list("status", "attempts")) == {("done", 1)}


# Fairness and order


def test_an_account_holds_a_few_rows_only_and_another_one_is_served(
    acme: Project, other_project: Project, peer: Peer
) -> None:
    for number in range(10):
        peer.ask(acme, f"probe:{number}")
    peer.ask(other_project, "probe:late")
    first = lease(acme, other_project)
    assert len([row for row in first if row.project_id == acme.pk]) == running.ROWS_PER_ACCOUNT_MAX
    assert [row.effect_key for row in first if row.project_id == other_project.pk] == ["probe:late"]
    assert lease(acme) == []
    carry_out_row(next(row for row in first if row.project_id == acme.pk))
    assert len(lease(acme)) == 1


def test_one_kind_of_an_account_does_not_wait_behind_a_heap_of_another(acme: Project, peer: Peer) -> None:
    other = Peer(f"probe_{uuid.uuid4().hex[:8]}")
    register_executor(other.kind, other)
    for number in range(10):
        peer.ask(acme, f"probe:{number}")
    other.ask(acme, "other:1")
    assert "other:1" in {row.effect_key for row in lease(acme)}


@pytest.fixture
def released() -> threading.Event:
    """Ends the waiting for a peer that hangs."""
    return threading.Event()


@pytest.fixture
def hanging(database: None, released: threading.Event) -> Iterator[Peer]:
    """A peer of several accounts that answers nobody until it is let go."""
    found = Peer(f"probe_{uuid.uuid4().hex[:8]}")
    found.behave = lambda row: {"in_time": released.wait(20)}
    register_executor(found.kind, found, peer=found.kind)
    yield found
    released.set()
    outbox._executors.pop(found.kind)
    outbox._peers.pop(found.kind)


def test_a_peer_that_hangs_leaves_threads_for_everybody_else(
    acme: Project, alice: Developer, peer: Peer, hanging: Peer, released: threading.Event
) -> None:
    for project in [create_project(alice, f"P{number}") for number in range(3)]:
        for number in range(3):
            hanging.ask(project, f"hung:{number}")
    worker = threading.Thread(target=run_and_close, daemon=True)
    worker.start()
    try:
        wait_until(lambda: len(hanging.seen) >= ROWS_PER_PEER_MAX, seconds=20, what="the peer is asked")
        peer.ask(acme, "mail:1")
        wait_until(lambda: peer.seen == ["mail:1"], seconds=10, what="the mail goes out")
        assert len(hanging.seen) == ROWS_PER_PEER_MAX < THREADS
    finally:
        released.set()
        worker.join(20)
    assert not worker.is_alive() and len(hanging.seen) == 9


def test_what_asks_github_shares_its_room_and_so_do_proxies() -> None:
    kinds = ("github_invite", "github_remove", "litellm", "mail", "license_mail", "stripe_refund")
    assert [outbox.peers_of_kinds().get(kind) for kind in kinds] == ["github", "github", "litellm", None, None, None]


def test_who_may_lease_nothing_more_takes_nobodys_room_at_a_peer(
    acme: Project, other_project: Project, peer: Peer, hanging: Peer
) -> None:
    for number in range(running.ROWS_PER_ACCOUNT_MAX):
        peer.ask(acme, f"probe:{number}")
    assert len(lease(acme)) == running.ROWS_PER_ACCOUNT_MAX
    for project in (acme, other_project):
        for number in range(running.ROWS_PER_ACCOUNT_MAX):
            hanging.ask(project, f"hung:{number}")
    mine = {acme.pk, other_project.pk}
    leased = [row for row in lease_due_rows(limit=EVERYTHING) if row.project_id in mine]
    assert [row.project_id for row in leased] == [other_project.pk] * ROWS_PER_PEER_MAX
    for row in leased:
        end_lease(row)
    assert [row for row in lease_due_rows(limit=EVERYTHING, in_hand=leased) if row.project_id in mine] == []
    assert len(lease(other_project)) == ROWS_PER_PEER_MAX


def test_a_small_limit_is_shared_out_over_the_accounts(alice: Developer, peer: Peer) -> None:
    projects = [create_project(alice, f"P{number}") for number in range(3)]
    for project in projects:
        for number in range(3):
            peer.ask(project, f"probe:{number}")
    OutboxRow.objects.exclude(project__in=projects).update(next_attempt_at=Now() + dt.timedelta(hours=1))
    assert {row.project_id for row in lease(*projects, limit=3)} == {project.pk for project in projects}


def test_a_lane_goes_in_order_one_at_a_time_and_waits_for_its_oldest(acme: Project, peer: Peer) -> None:
    away = [True]

    def behave(row: OutboxRow) -> None:
        if away[0] and row.effect_key == "lane:0":
            raise ConnectionError("away")

    peer.behave = behave
    rows = [peer.ask(acme, f"lane:{number}", lane="endpoint") for number in range(4)]
    peer.ask(acme, "another:0", lane="another endpoint")
    peer.ask(acme, "free")
    leased = lease(acme)
    assert {row.effect_key for row in leased} == {"lane:0", "another:0", "free"}
    for row in leased:
        carry_out_row(row)
    assert lease(acme) == [], "the lane waits while its oldest row pauses"
    away[0] = False
    end_lease(rows[0])
    for number in range(4):
        (row,) = lease(acme)
        assert row.effect_key == f"lane:{number}" and lease(acme) == []
        carry_out_row(row)


def test_a_lane_goes_on_behind_a_dead_letter(acme: Project, peer: Peer) -> None:
    def behave(row: OutboxRow) -> None:
        if row.effect_key == "lane:0":
            raise UpstreamError("never")

    peer.behave = behave
    for number in range(2):
        peer.ask(acme, f"lane:{number}", lane="endpoint")
    finish_all(acme, rounds=2)
    assert dict(OutboxRow.objects.for_project(acme).values_list("effect_key", "status")) == {
        "lane:0": "dead",
        "lane:1": "done",
    }


def test_two_pickers_never_take_two_rows_of_a_lane(acme: Project, peer: Peer) -> None:
    for number in range(6):
        peer.ask(acme, f"lane:{number}", lane="endpoint")
    in_hand, most, lock = [0], [0], threading.Lock()

    def behave(row: OutboxRow) -> None:
        with lock:
            in_hand[0] += 1
            most[0] = max(most[0], in_hand[0])
        with lock:
            in_hand[0] -= 1

    peer.behave = behave

    def run(_: int) -> list[int]:
        counts = []
        for _ in range(8):
            leased = lease(acme)
            counts.append(len(leased))
            for row in leased:
                carry_out_row(row)
        return counts

    counts = at_once(3, run)
    assert max(max(each) for each in counts) == 1 == most[0]
    finish_all(acme, rounds=8)
    assert peer.seen == [f"lane:{number}" for number in range(6)]
