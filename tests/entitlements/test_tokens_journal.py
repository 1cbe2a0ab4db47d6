"""What Redis counted is in PostgreSQL a moment later, each token once, whoever writes and however often."""

import datetime as dt
import os
import threading
import time
import uuid
from typing import Any

import httpx
import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entitlements.models import TokenMark, TokenUse
from entitlements.services.token_budget import (
    ReservationNotFound,
    TokenBudgetExceeded,
    commit_tokens,
    consume_tokens,
    read_budget,
    release_tokens,
    reserve_tokens,
)
from entitlements.services.token_facts import Once
from entitlements.services.token_journal import (
    Entries,
    prune_marks,
    write_entries,
    write_journal,
    write_journal_in_turn,
)
from entitlements.services.token_store import JOURNAL, WRITER, token_store
from entitlements.tasks import prune_token_marks
from projects.models import Project
from tests.builders import run_all
from tests.cast import AppServer, AppUser, create_app_user
from tests.entitlements.tokens import PATH, Holder, create_plan, direct, figures, forget_budgets
from tests.live import running_service, wait_until

pytestmark = pytest.mark.usefixtures("patient_redis")


@pytest.fixture
def holder(acme: Project, dana: AppUser) -> Holder:
    """Dana, with a budget of 1000 tokens; nothing of other tests waits to be journalled."""
    write_journal()
    holder = Holder(dana)
    holder.buys(create_plan(acme, "thousand", 1000))
    return holder


def test_use_is_journalled_once_however_often_it_is_written(holder: Holder) -> None:
    for _ in range(3):
        consume_tokens(**holder.keys, tokens=10)
    _, page = token_store().journal_page(0, 100)
    assert write_journal() == 1
    assert holder.used() == 30
    # The same figures again, and older ones after newer ones, as a writer leaves them that was held up.
    consume_tokens(**holder.keys, tokens=5)
    write_journal()
    write_entries(Entries.of(page))
    assert holder.used() == 35
    assert write_journal() == 0
    use = TokenUse.objects.get(period__in=holder.periods)
    assert (use.project_id, use.mode) == (holder.keys["project_id"], "test")


def test_what_is_counted_while_the_journal_is_written_waits_for_the_next_round(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=10)
    _, page = token_store().journal_page(0, 100)
    consume_tokens(**holder.keys, tokens=1)
    token_store().note_written(page)
    assert write_journal() == 1
    assert holder.used() == 11


def test_what_cannot_be_written_stays_in_the_journal(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=10)
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            with pytest.raises(DatabaseError):
                write_journal()
        finally:
            cursor.execute("SET default_transaction_read_only = off")
    assert holder.used() == 0
    assert write_journal() == 1
    assert holder.used() == 10


def test_the_deleted_and_the_odd_hold_nobody_up(acme: Project, holder: Holder) -> None:
    gone = Holder(create_app_user(acme, "gone"))
    gone.buys(create_plan(acme, "other", 10))
    consume_tokens(**gone.keys, tokens=1, once=Once.of(caller="c", key=uuid.uuid4().hex, request="r"))
    reserve_tokens(**gone.keys, tokens=1)
    gone.user.end_user.delete()
    with direct() as client:
        client.hset(JOURNAL, mapping={"u:nonsense:e": "1", "x": "y", "u:" + str(uuid.uuid4()) + ":e": "many"})
    consume_tokens(**holder.keys, tokens=7)
    assert write_journal() == 7
    assert holder.used() == 7
    with direct() as client:
        assert client.hlen(JOURNAL) == 0


def test_writers_take_turns(holder: Holder) -> None:
    with direct() as client:
        client.delete(WRITER)
        consume_tokens(**holder.keys, tokens=3)
        assert write_journal_in_turn(writer="first", interval_seconds=1) == 1
        consume_tokens(**holder.keys, tokens=3)
        assert write_journal_in_turn(writer="second", interval_seconds=1) == 0
        assert 0 < client.pttl(WRITER) <= 800
        client.delete(WRITER)
        assert write_journal_in_turn(writer="second", interval_seconds=1) == 1
        client.delete(WRITER)
    assert holder.used() == 6


def test_writers_at_once_and_spenders_count_every_token_once(holder: Holder) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            write_journal()
        connection.close()

    def spend() -> None:
        for _ in range(40):
            consume_tokens(**holder.keys, tokens=2)
        connection.close()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    run_all([threading.Thread(target=spend) for _ in range(4)])
    stop.set()
    for writer in writers:
        writer.join()
    write_journal()
    assert holder.used() == read_budget(**holder.keys).used == 320


def test_keys_and_reservations_that_have_expired_are_cleared_out(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=1, once=Once.of(caller="c", key=uuid.uuid4().hex, request="r"))
    reserve_tokens(**holder.keys, tokens=1)
    write_journal()
    marks = TokenMark.objects.filter(end_user=holder.user.end_user)
    assert sorted(marks.values_list("kind", "closed")) == [("key", False), ("reservation", False)]
    prune_marks()
    assert marks.count() == 2
    marks.filter(kind="reservation").update(expires_at=timezone.now())
    prune_token_marks()
    assert marks.get().kind == "key"


def test_clearing_out_goes_in_steps_and_waits_for_nobody(holder: Holder) -> None:
    for _ in range(5):
        reserve_tokens(**holder.keys, tokens=1)
    write_journal()
    marks = TokenMark.objects.filter(end_user=holder.user.end_user)
    # Older than whatever other tests leave.
    marks.update(expires_at=timezone.now() - dt.timedelta(days=1000))
    assert prune_marks(batch=2, seconds_max=0) == 2
    assert marks.count() == 3

    def prune() -> None:
        prune_marks(batch=1)
        connection.close()

    with transaction.atomic():
        held = marks.select_for_update().order_by("pk")[0]
        run_all([threading.Thread(target=prune)])
    assert marks.get() == held


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["consume", "reserve", "commit", "more", "release", "repeat"]), st.integers(1, 60)),
        st.tuples(st.sampled_from(["write", "lose", "forget scripts"]), st.just(0)),
    ),
    max_size=25,
)


@settings(
    max_examples=500 if os.environ.get("SOAK") else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_redis_the_journal_and_arithmetic_agree_whatever_happens(acme: Project, steps: list[Any]) -> None:
    holder = Holder(create_app_user(acme, "anybody"))
    plan = acme.plans.first() or create_plan(acme, "hundred", 100)
    holder.buys(plan)
    used = 0
    open_ones: dict[uuid.UUID, int] = {}
    for step, tokens in steps:
        held = sum(open_ones.values())
        reservation = next(iter(open_ones), None)
        try:
            if step in ("consume", "repeat"):
                once = Once.of(caller="c", key=uuid.uuid4().hex, request="r")
                answers = [consume_tokens(**holder.keys, tokens=tokens, once=once) for _ in range(2)]
                assert figures(answers[0]) == figures(answers[1])
                used += tokens
            elif step == "reserve":
                answer = reserve_tokens(**holder.keys, tokens=tokens)
                open_ones[uuid.UUID(answer.reservation_id)] = tokens
            elif step in ("commit", "more") and reservation:
                amount = tokens if step == "more" else min(tokens, open_ones[reservation])
                commit_tokens(**holder.keys, reservation_id=reservation, tokens=amount)
                del open_ones[reservation]
                used += amount
            elif step == "release" and reservation:
                release_tokens(**holder.keys, reservation_id=reservation)
                del open_ones[reservation]
        except TokenBudgetExceeded:
            over = tokens - (open_ones.get(reservation, 0) if step == "more" and reservation else 0)
            assert used + held + over > 100
        if step == "forget scripts":
            token_store().client.script_flush()
        if step in ("write", "lose"):
            write_journal()
            assert holder.used() == used
        if step == "lose":
            forget_budgets()
        assert figures(read_budget(**holder.keys)) == (100, used, sum(open_ones.values()))
    write_journal()
    assert holder.used() == used
    for reservation in open_ones:
        release_tokens(**holder.keys, reservation_id=reservation)
        with pytest.raises(ReservationNotFound):
            release_tokens(**holder.keys, reservation_id=reservation)
    assert figures(read_budget(**holder.keys)) == (100, used, 0)


def test_f29_web_alone_journals_within_a_second_and_a_worker_what_a_killed_web_left(
    holder: Holder, acme_server: AppServer, sandbox: Any, tmp_path: Any
) -> None:
    with running_service(tmp_path, sandbox.url, parts=("web",)) as service:

        def consume(tokens: int) -> int:
            answer = httpx.post(
                f"{service.url}{PATH}/consume",
                json={"tokens": tokens, "user_id": holder.user.user_id},
                headers=acme_server.headers | {"Idempotency-Key": uuid.uuid4().hex},
                timeout=10,
            )
            assert answer.status_code == 200, answer.text
            return int(answer.json()["used"])

        assert consume(100) == 100
        began = time.monotonic()
        wait_until(lambda: holder.used() == 100, seconds=10, what="the web part journals", interval=0.02)
        # A round is half a second; the rest is what a busy machine may add.
        assert time.monotonic() - began < 3
        consume(11)
        service.kill("web")
        service.start("worker")
        wait_until(lambda: holder.used() == 111, seconds=30, what="the worker journals what was left")
