"""F29: Redis loses token budgets, all or a part, or comes back with an old state. Only what was not written yet is lost."""

import threading
import time
import uuid
from typing import Any

import pytest
from django.db import connection

from config.embedded import start_redis
from entitlements.services import token_budget
from entitlements.services.token_budget import (
    TokenBudgetExceeded,
    commit_tokens,
    consume_tokens,
    read_budget,
    reserve_tokens,
)
from entitlements.services.token_facts import Once
from entitlements.services.token_journal import Entries, facts_of, write_entries, write_journal
from entitlements.services.token_periods import current_period
from entitlements.services.token_store import ERA, forget_account, keys_of, token_store
from projects.models import Project
from tests.builders import run_all
from tests.cast import AppUser
from tests.entitlements.tokens import MONTH, START, Holder, create_plan, direct, figures, forget_budgets, held

pytestmark = pytest.mark.usefixtures("patient_redis")


@pytest.fixture
def holder(acme: Project, dana: AppUser) -> Holder:
    """Dana, with a budget of 1000 tokens."""
    holder = Holder(dana)
    holder.buys(create_plan(acme, "thousand", 1000), subscription="sub_dana")
    return holder


def test_f29_after_redis_lost_everything_the_budget_the_keys_and_the_reservations_are_back(holder: Holder) -> None:
    once = Once.of(caller="c", key=uuid.uuid4().hex, request="r")
    first = consume_tokens(**holder.keys, tokens=600, once=once)
    reservation = uuid.UUID(reserve_tokens(**holder.keys, tokens=300).reservation_id)
    closed = uuid.UUID(reserve_tokens(**holder.keys, tokens=50).reservation_id)
    commit_tokens(**holder.keys, reservation_id=closed)
    write_journal()
    token_store().client.flushall()
    assert figures(read_budget(**holder.keys)) == (1000, 650, 300)
    repeated = consume_tokens(**holder.keys, tokens=600, once=once)
    assert (repeated.replayed, figures(repeated)) == (True, figures(first))
    with pytest.raises(TokenBudgetExceeded):
        consume_tokens(**holder.keys, tokens=51)
    assert figures(commit_tokens(**holder.keys, reservation_id=reservation, tokens=200)) == (1000, 850, 0)
    # What is used afterwards adds to what was used before, also after another loss.
    write_journal()
    forget_budgets()
    assert figures(consume_tokens(**holder.keys, tokens=150)) == (1000, 1000, 0)
    write_journal()
    assert holder.used() == 1000


def test_f29_only_what_was_not_yet_written_is_lost(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=600)
    write_journal()
    consume_tokens(**holder.keys, tokens=10)
    forget_budgets()
    assert figures(read_budget(**holder.keys)) == (1000, 600, 0)


@pytest.mark.parametrize("lost", ["the account", "the era", "the scripts", "the account and the era"])
def test_f29_a_part_that_is_evicted_costs_nothing_at_all(holder: Holder, lost: str) -> None:
    consume_tokens(**holder.keys, tokens=600)
    write_journal()
    reserve_tokens(**holder.keys, tokens=100)
    if "account" in lost:
        # Its reservations are read from the database, where they have to be by then.
        write_journal()
    consume_tokens(**holder.keys, tokens=10)
    with direct() as client:
        if "account" in lost:
            client.delete(keys_of(**holder.keys).budget)
        if "era" in lost:
            client.delete(ERA)
        if "scripts" in lost:
            client.script_flush()
    if lost == "the account and the era":
        # The count is in the journal only, under an era that nobody knows any more: it is in the sum when it is written.
        write_journal()
    assert figures(read_budget(**holder.keys)) == (1000, 610, 100)
    write_journal()
    assert holder.used() == 610


def test_f29_a_redis_that_comes_back_with_an_old_state_gives_nothing_back(
    holder: Holder, settings: Any, tmp_path: Any
) -> None:
    own = start_redis(tmp_path / "redis", persistent=False)
    try:
        settings.REDIS_URL = own.url
        consume_tokens(**holder.keys, tokens=200)
        old = uuid.UUID(reserve_tokens(**holder.keys, tokens=40).reservation_id)
        write_journal()
        token_store().client.save()
        commit_tokens(**holder.keys, reservation_id=old)
        consume_tokens(**holder.keys, tokens=300)
        write_journal()
        own.kill()
        own = start_redis(tmp_path / "redis", port=own.port, persistent=False)
        with direct() as client:
            assert client.hget(keys_of(**holder.keys).budget, "own") == "200", "the snapshot is what came back"
        deadline = time.monotonic() + 5
        while True:
            budget = read_budget(**holder.keys)
            if budget.exact or time.monotonic() > deadline:
                break
        assert (budget.exact, figures(budget)) == (True, (1000, 540, 0))
        assert figures(consume_tokens(**holder.keys, tokens=460)) == (1000, 1000, 0)
        write_journal()
        assert holder.used() == 1000
    finally:
        own.stop()


def test_f29_a_writer_that_was_held_up_adds_what_redis_lost(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=100)
    _, page = token_store().journal_page(0, 1000)
    forget_budgets()
    assert figures(consume_tokens(**holder.keys, tokens=5)) == (1000, 5, 0)
    write_entries(Entries.of(page))
    forget_account(**holder.keys)
    assert figures(read_budget(**holder.keys)) == (1000, 105, 0)
    write_journal()
    assert holder.used() == 105


def test_what_was_read_before_another_loss_is_not_believed(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=1)
    with direct() as client:
        era = client.get(ERA)
    keys, facts = keys_of(**holder.keys), facts_of(current_period(**holder.keys), with_marks=True, **holder.keys)
    forget_budgets()
    facts |= {"turn": "0", "fresh": 60_000, "written": token_store().last_written()}
    assert token_store().load(keys, {**facts, "era": era}) is False
    assert held(holder) == {}
    assert token_store().load(keys, {**facts, "era": "-"}) is True


def test_f29_what_is_written_while_an_evicted_account_is_read_is_not_lost(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer's turn comes between the reading and the loading: the count is in neither what was read nor the journal."""
    consume_tokens(**holder.keys, tokens=1)
    write_journal()
    consume_tokens(**holder.keys, tokens=900)
    writes = []

    def read_then_write(*args: Any, **kwargs: Any) -> dict[str, Any]:
        facts = facts_of(*args, **kwargs)
        writes.append(write_journal())
        return facts

    monkeypatch.setattr(token_budget, "facts_of", read_then_write)
    with direct() as client:
        client.delete(keys_of(**holder.keys).budget)
    assert figures(read_budget(**holder.keys)) == (1000, 901, 0)
    assert len(writes) == 2, "read again, once"
    with pytest.raises(TokenBudgetExceeded):
        consume_tokens(**holder.keys, tokens=100)


def test_what_was_read_before_a_change_is_looked_at_again(acme: Project, holder: Holder) -> None:
    read_budget(**holder.keys)
    with direct() as client:
        era, turn = client.get(ERA), client.hget(keys_of(**holder.keys).budget, "turn")
    facts = facts_of(current_period(**holder.keys), with_marks=False, **holder.keys)
    holder.buys(create_plan(acme, "more", 2000), subscription="sub_dana")
    token_store().load(keys_of(**holder.keys), {**facts, "era": era, "turn": turn, "written": "", "fresh": 60_000})
    assert read_budget(**holder.keys).limit == 2000


def test_going_back_to_a_period_finds_what_was_used_of_it(acme: Project, holder: Holder) -> None:
    create_plan(acme, "free", 50, free=True)
    plan = acme.plans.get(code="thousand")
    consume_tokens(**holder.keys, tokens=100)
    holder.ends()
    assert figures(consume_tokens(**holder.keys, tokens=30)) == (50, 30, 0)
    holder.buys(plan, subscription="sub_dana")
    assert figures(read_budget(**holder.keys)) == (1000, 100, 0)
    holder.ends()
    assert figures(read_budget(**holder.keys)) == (50, 30, 0)
    write_journal()
    assert holder.used() == 130


def test_f29_losing_redis_during_a_burst_gives_no_more_than_was_unwritten(holder: Holder) -> None:
    """Everybody spends as fast as they can, the journal is written all the time, and Redis is emptied in between."""
    granted: list[tuple[float, int]] = []
    losses: list[tuple[float, float]] = []
    written_at, stop = [time.monotonic()], threading.Event()

    def spend() -> None:
        while not stop.is_set():
            try:
                consume_tokens(**holder.keys, tokens=3)
                granted.append((time.monotonic(), 3))
            except TokenBudgetExceeded:
                break
        connection.close()

    def write() -> None:
        while not stop.is_set():
            began = time.monotonic()
            write_journal()
            written_at.append(began)
        connection.close()

    def lose() -> None:
        for _ in range(3):
            time.sleep(0.1)
            before = written_at[-1]
            forget_budgets()
            losses.append((before, time.monotonic()))

    writer = threading.Thread(target=write)
    writer.start()
    run_all([threading.Thread(target=work) for work in (spend, spend, spend, spend, lose)])
    stop.set()
    writer.join()
    write_journal()
    total = sum(tokens for _, tokens in granted)
    unwritten = sum(tokens for at, tokens in granted if any(before <= at <= after for before, after in losses))
    assert holder.used() >= total - unwritten
    assert total <= 1000 + unwritten
    assert read_budget(**holder.keys).used == holder.used()


def test_f41_after_a_restore_of_the_database_redis_goes_on_counting(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=300)
    write_journal()
    # A backup from before the purchase; reconciliation brings the subscription's period back.
    holder.periods.all().delete()
    holder.ends()
    holder.buys(holder.user.end_user.project.plans.get(), subscription="sub_dana")
    assert figures(consume_tokens(**holder.keys, tokens=1)) == (1000, 301, 0)
    write_journal()
    assert holder.used() == 301


def test_a_renewal_while_redis_was_away_is_there_when_it_is_back(acme: Project, holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=1000)
    write_journal()
    renewed = START + MONTH
    kept = held(holder)
    holder.buys(acme.plans.get(), subscription="sub_dana", since=renewed)
    with direct() as client:
        # As if the change had never been told: the account as it was, and its minute is over.
        client.hset(keys_of(**holder.keys).budget, mapping={**kept, "check_at": 0})
    budget = consume_tokens(**holder.keys, tokens=10)
    assert (figures(budget), budget.starts_unix) == ((1000, 10, 0), int(renewed.timestamp()))
    assert budget.ends_unix == int((renewed + MONTH).timestamp())
