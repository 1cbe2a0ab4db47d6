"""Using tokens: never more than there are, once per key, told exactly, and bounded when Redis is not there."""

import datetime as dt
import signal
import threading
import time
import uuid
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from config.embedded import free_port, start_redis
from entitlements.services import token_budget, token_store
from entitlements.services.token_budget import (
    TokenBudgetExceeded,
    check_tokens,
    commit_tokens,
    consume_tokens,
    read_budget,
    reserve_tokens,
)
from entitlements.services.token_facts import Once
from entitlements.services.token_journal import write_journal
from projects.idempotency import KeyReused
from projects.models import Project
from tests.builders import run_all
from tests.cast import AppUser
from tests.entitlements.tokens import Holder, create_plan, direct, figures, forget_budgets


@pytest.fixture
def holder(acme: Project, dana: AppUser) -> Holder:
    """Dana, with a budget of 100 tokens."""
    holder = Holder(dana)
    now = timezone.now().replace(microsecond=0)
    holder.buys(create_plan(acme, "hundred", 100), since=now, period_end=now + dt.timedelta(hours=1))
    return holder


def test_tokens_are_used_until_none_are_left_and_then_it_is_429(holder: Holder) -> None:
    first = holder.post("consume", {"tokens": 60})
    assert first.status_code == 200
    facts = {name: first.json()[name] for name in ("tokens", "limit", "used", "reserved", "remaining")}
    assert facts == {"tokens": 60, "limit": 100, "used": 60, "reserved": 0, "remaining": 40}
    asked = holder.post("check", {"tokens": 41})
    assert (asked.status_code, asked.json()["allowed"], asked.json()["remaining"]) == (200, False, 40)
    assert holder.post("check", {"tokens": 40}).json()["allowed"] is True
    refused = holder.post("consume", {"tokens": 41})
    body = refused.json()
    assert (refused.status_code, body["code"]) == (429, "token_budget_exceeded")
    assert (body["required"], body["available"]) == (41, 40)
    assert 3500 < body["retry_after"] <= 3601
    assert refused["Retry-After"] == str(body["retry_after"])
    assert (refused["X-RateLimit-Limit"], refused["X-RateLimit-Remaining"]) == ("100", "40")
    assert abs(int(refused["X-RateLimit-Reset"]) - time.time() - body["retry_after"]) < 5
    assert holder.post("consume", {"tokens": 40}).json()["remaining"] == 0
    assert holder.budget()["used"] == 100


def test_who_has_no_budget_is_sent_to_the_checkout(erin: AppUser) -> None:
    refused = Holder(erin).post("consume", {"tokens": 1})
    assert (refused.status_code, refused.json()["action"]) == (429, "checkout")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "tokens"), ({"tokens": 0}, "tokens"), ({"tokens": -1}, "tokens"), ({"tokens": 1.5}, "tokens"),
        ({"tokens": "7"}, "tokens"), ({"tokens": True}, "tokens"), ({"tokens": 10**12 + 1}, "tokens"),
    ],
)  # fmt: skip
def test_a_wrong_body_names_its_field_and_uses_nothing(holder: Holder, body: dict[str, Any], field: str) -> None:
    answer = holder.post("consume", body)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert holder.budget()["used"] == 0


def test_one_call_is_one_round_trip_and_no_statement(holder: Holder, django_assert_num_queries: Any) -> None:
    read_budget(**holder.keys)
    with direct() as client:
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        with django_assert_num_queries(0):
            consume_tokens(**holder.keys, tokens=1)
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1


def test_a_key_uses_tokens_once_and_stands_for_one_request(holder: Holder) -> None:
    first = holder.post("consume", {"tokens": 7}, key="k1")
    again = holder.post("consume", {"tokens": 7}, key="k1")
    assert again.json() == first.json() and again["Idempotency-Replayed"] == "true"
    other = holder.post("consume", {"tokens": 8}, key="k1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    # What is refused has not happened: the key may come again.
    assert holder.post("consume", {"tokens": 94}, key="k2").status_code == 429
    assert holder.post("consume", {"tokens": 93}, key="k2").status_code == 200
    assert holder.budget()["used"] == 100


def test_fifty_repeats_of_one_key_at_once_use_tokens_once(holder: Holder) -> None:
    once, answers = Once.of(caller="c", key=uuid.uuid4().hex, request="r"), []

    def consume() -> None:
        answers.append(consume_tokens(**holder.keys, tokens=30, once=once))
        connection.close()

    run_all([threading.Thread(target=consume) for _ in range(50)])
    assert {figures(answer) for answer in answers} == {(100, 30, 0)}
    assert sum(not answer.replayed for answer in answers) == 1
    with pytest.raises(KeyReused):
        consume_tokens(**holder.keys, tokens=30, once=Once(once.name, "another"))


def test_only_the_newest_keys_are_kept(holder: Holder, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(token_store, "KEYS_MAX", 3)
    token_store._store.cache_clear()
    keys = [Once.of(caller="c", key=str(number), request="r") for number in range(5)]
    try:
        for once in keys:
            consume_tokens(**holder.keys, tokens=1, once=once)
            time.sleep(0.002)
        repeated = [consume_tokens(**holder.keys, tokens=1, once=once).replayed for once in keys[2:]]
    finally:
        token_store._store.cache_clear()
    assert repeated == [True, True, True]
    with direct() as client:
        assert client.exists(*[token_store.answer_key(once.name) for once in keys]) == 3


def test_a_burst_on_eight_threads_never_goes_beyond_the_limit(holder: Holder) -> None:
    taken: list[int] = []
    barrier = threading.Barrier(8)
    forget_budgets()

    def spend(number: int) -> None:
        barrier.wait()
        for turn in range(12):
            try:
                if (number + turn) % 3:
                    consume_tokens(**holder.keys, tokens=3)
                    taken.append(3)
                else:
                    held = reserve_tokens(**holder.keys, tokens=5)
                    commit_tokens(**holder.keys, reservation_id=uuid.UUID(held.reservation_id), tokens=4)
                    taken.append(4)
            except TokenBudgetExceeded:
                pass
        connection.close()

    run_all([threading.Thread(target=spend, args=[number]) for number in range(8)])
    read = read_budget(**holder.keys)
    assert figures(read) == (100, sum(taken), 0)
    assert 95 <= sum(taken) <= 100
    write_journal()
    assert holder.used() == sum(taken)


def test_without_redis_nothing_is_given_and_the_answer_comes_at_once(holder: Holder, settings: Any) -> None:
    consume_tokens(**holder.keys, tokens=10)
    write_journal()
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    refused = holder.post("consume", {"tokens": 1})
    assert (refused.status_code, refused.json()["code"]) == (503, "token_budget_unavailable")
    assert refused["Retry-After"] == "1"
    assert holder.post("check", {"tokens": 1}).status_code == 503
    # Reading is answered from the journal.
    read = holder.budget()
    assert (read["used"], read["remaining"], read["exact"]) == (10, 90, False)


def test_a_redis_that_hangs_holds_nobody_for_long(holder: Holder, settings: Any, tmp_path: Any) -> None:
    own = start_redis(tmp_path / "redis", persistent=False)
    try:
        settings.REDIS_URL = own.url
        assert consume_tokens(**holder.keys, tokens=1).used == 1
        own.process.send_signal(signal.SIGSTOP)
        for longest in (2.0, 0.2):
            # The second call does not wait for the time-out again.
            began = time.monotonic()
            with pytest.raises(token_store.TokenBudgetUnavailable):
                consume_tokens(**holder.keys, tokens=1)
            assert time.monotonic() - began < longest
        own.process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 10
        while True:
            try:
                budget = consume_tokens(**holder.keys, tokens=1)
                break
            except token_store.TokenBudgetUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert budget.used in (2, 3)
    finally:
        own.process.send_signal(signal.SIGCONT)
        own.stop()


def refuse_scripts(refused: bool) -> None:
    """Make Redis refuse every operation without losing anything, as one does that was made a replica."""
    with direct() as client:
        client.execute_command("ACL", "SETUSER", "default", "-evalsha" if refused else "+evalsha")
    token_store.token_store()._asleep_until = 0.0


def test_open_everything_passes_without_redis_and_is_counted(holder: Holder, settings: Any) -> None:
    consume_tokens(**holder.keys, tokens=90)
    before = reserve_tokens(**holder.keys, tokens=5, by_user=True)
    write_journal()
    settings.TOKEN_BUDGET_FAIL_MODE = "open"
    refuse_scripts(True)
    try:
        first = holder.post("consume", {"tokens": 50}, key="out")
        again = holder.post("consume", {"tokens": 50}, key="out")
        assert (first.status_code, first.json()["used"]) == (200, 140)
        assert again.json() == first.json() and again["Idempotency-Replayed"] == "true"
        assert holder.post("consume", {"tokens": 51}, key="out").status_code == 409
        assert holder.post("check", {"tokens": 10**9}).json()["allowed"] is True
        held = holder.post("reserve", {"tokens": 8}).json()
        # One that was reserved before can be committed meanwhile, once.
        assert holder.post("commit", {"reservation_id": before.reservation_id}).json()["tokens"] == 5
        assert holder.post("commit", {"reservation_id": before.reservation_id}).status_code == 404
    finally:
        refuse_scripts(False)
    # What was counted meanwhile is known at once, its keys too, and what was closed is not open again.
    assert holder.post("consume", {"tokens": 50}, key="out").json() == first.json()
    assert figures(read_budget(**holder.keys)) == (100, 145, 0)
    assert holder.post("consume", {"tokens": 1}).status_code == 429
    # One that was reserved meanwhile can be committed afterwards, once.
    assert holder.post("commit", {"reservation_id": held["reservation_id"], "tokens": 6}).json()["tokens"] == 6
    assert holder.post("commit", {"reservation_id": held["reservation_id"]}).status_code == 404
    assert holder.budget()["used"] == 90 + 50 + 5 + 6


def test_what_was_reserved_without_redis_takes_more_afterwards_only_when_there_is_room(
    holder: Holder, settings: Any
) -> None:
    consume_tokens(**holder.keys, tokens=90)
    write_journal()
    settings.TOKEN_BUDGET_FAIL_MODE = "open"
    refuse_scripts(True)
    try:
        small, great = (
            {"reservation_id": holder.post("reserve", {"tokens": tokens}).json()["reservation_id"]}
            for tokens in (5, 20)
        )
    finally:
        refuse_scripts(False)
    done, again = (holder.post("commit", {**small, "tokens": 8}, key="more") for _ in range(2))
    assert (done.status_code, done.json()["tokens"], done.json()["used"]) == (200, 8, 98)
    assert again.json() == done.json() and again["Idempotency-Replayed"] == "true"
    assert figures(read_budget(**holder.keys)) == (100, 98, 0)
    refused = holder.post("commit", {**great, "tokens": 21})
    assert (refused.status_code, refused.json()["code"]) == (429, "token_budget_exceeded")
    assert (refused.json()["required"], refused.json()["available"]) == (21, 2)
    assert figures(read_budget(**holder.keys)) == (100, 98, 0)
    # What was promised when nothing could be asked is kept.
    assert holder.post("commit", great).json()["used"] == 118
    write_journal()
    assert holder.used() == 118


def test_a_change_of_plan_is_seen_at_once_and_without_redis_knowing_after_a_minute(
    acme: Project, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_budget, "FRESH_MS", 150)
    # Not told: as if Redis had been away when the plan changed.
    holder.periods.update(limit_tokens=500)
    assert check_tokens(**holder.keys, tokens=300)[0] is True
    holder.periods.update(limit_tokens=900)
    assert check_tokens(**holder.keys, tokens=600)[0] is False
    time.sleep(0.2)
    assert check_tokens(**holder.keys, tokens=600)[0] is True
