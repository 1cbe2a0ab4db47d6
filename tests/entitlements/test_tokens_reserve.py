"""Reservations: held tokens are nobody else's, and free again when committed, released or forgotten."""

import os
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

import pytest
from django.conf import settings as django_settings

from entitlements.services import token_store as store_module
from entitlements.services.token_budget import (
    ReservationNotFound,
    TokenBudgetExceeded,
    TooManyReservations,
    commit_tokens,
    consume_tokens,
    read_budget,
    release_tokens,
    reserve_tokens,
)
from entitlements.services.token_journal import write_journal
from entitlements.services.token_store import token_store
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.tokens import MONTH, PATH, START, Holder, create_plan, direct, figures, held

pytestmark = pytest.mark.usefixtures("patient_redis")


@pytest.fixture
def holder(acme: Project, dana: AppUser) -> Holder:
    """Dana, with a budget of 100 tokens."""
    holder = Holder(dana)
    holder.buys(create_plan(acme, "hundred", 100), subscription="sub_dana")
    return holder


def reserve(holder: Holder, tokens: int, **options: Any) -> uuid.UUID:
    return uuid.UUID(reserve_tokens(**holder.keys, tokens=tokens, **options).reservation_id)


def test_what_is_reserved_is_held_and_committed_for_what_it_came_to(holder: Holder) -> None:
    answer = holder.post("reserve", {"tokens": 70, "ttl_seconds": 60}).json()
    assert (answer["tokens"], answer["reserved"], answer["used"], answer["remaining"]) == (70, 70, 0, 30)
    assert answer["expires_at"].endswith("Z")
    assert holder.post("consume", {"tokens": 31}).status_code == 429
    assert holder.post("reserve", {"tokens": 31}).status_code == 429
    mine = {"reservation_id": answer["reservation_id"]}
    closed = holder.post("commit", {**mine, "tokens": 50}).json()
    assert (closed["tokens"], closed["reserved"], closed["used"], closed["remaining"]) == (50, 0, 50, 50)
    for what in ("commit", "release"):
        gone = holder.post(what, mine)
        assert (gone.status_code, gone.json()["code"]) == (404, "reservation_not_found")
    all_of_it = reserve(holder, 20)
    assert commit_tokens(**holder.keys, reservation_id=all_of_it).used == 70
    given_back = reserve(holder, 30)
    assert figures(release_tokens(**holder.keys, reservation_id=given_back)) == (100, 70, 0)


def test_more_than_was_reserved_is_taken_only_when_there_is_room(holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=80)
    reservation = reserve(holder, 10)
    with pytest.raises(TokenBudgetExceeded) as refused:
        commit_tokens(**holder.keys, reservation_id=reservation, tokens=21)
    assert refused.value.body()["available"] == 10
    assert figures(read_budget(**holder.keys)) == (100, 80, 10)
    assert figures(commit_tokens(**holder.keys, reservation_id=reservation, tokens=20)) == (100, 100, 0)


def test_keys_of_reservations_give_the_first_answer(holder: Holder) -> None:
    first, again = (holder.post("reserve", {"tokens": 10}, key="r") for _ in range(2))
    assert first.json() == again.json()
    body = {"reservation_id": first.json()["reservation_id"]}
    done, repeated = (holder.post("commit", body, key="c") for _ in range(2))
    assert done.json() == repeated.json() and repeated["Idempotency-Replayed"] == "true"
    assert figures(read_budget(**holder.keys)) == (100, 10, 0)


def test_anothers_reservation_answers_like_none(holder: Holder, erin: AppUser) -> None:
    reservation = reserve(holder, 10)
    for what in ("commit", "release"):
        theirs = Holder(erin).post(what, {"reservation_id": str(reservation)})
        nobodys = Holder(erin).post(what, {"reservation_id": str(uuid.uuid4())})
        assert (theirs.status_code, theirs.json()) == (404, nobodys.json())
    assert figures(read_budget(**holder.keys)) == (100, 0, 10)


def test_what_a_server_reserved_its_user_does_not_finish(holder: Holder, acme_server: AppServer) -> None:
    def serve(what: str, body: dict[str, Any]) -> Any:
        body = {"user_id": holder.user.user_id, **body}
        return acme_server.client.post(f"{PATH}/{what}", body, content_type="application/json")

    served = {"reservation_id": serve("reserve", {"tokens": 10}).json()["reservation_id"]}
    own = {"reservation_id": holder.post("reserve", {"tokens": 5}).json()["reservation_id"]}
    for what in ("commit", "release"):
        refused, nothing = holder.post(what, served), holder.post(what, {"reservation_id": str(uuid.uuid4())})
        assert (refused.status_code, refused.json()) == (404, nothing.json())
    assert figures(read_budget(**holder.keys)) == (100, 0, 15)
    assert serve("commit", served).json()["used"] == 10
    # A server finishes both.
    assert serve("release", own).json()["reserved"] == 0


def test_a_reservation_is_free_again_after_its_time(holder: Holder) -> None:
    reservations = [reserve(holder, 40, ttl_seconds=1), reserve(holder, 40, ttl_seconds=300)]
    assert read_budget(**holder.keys).reserved == 80
    time.sleep(1.1)
    assert figures(consume_tokens(**holder.keys, tokens=60)) == (100, 60, 40)
    with pytest.raises(ReservationNotFound):
        commit_tokens(**holder.keys, reservation_id=reservations[0])
    assert figures(commit_tokens(**holder.keys, reservation_id=reservations[1])) == (100, 100, 0)
    with direct() as client:
        assert client.zcard(f"{{tokens}}:a:{':'.join(str(part) for part in holder.keys.values())}:r") == 0
    assert not [name for name in held(holder) if name.startswith("r:")]


def test_open_reservations_are_bounded(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RESERVATIONS_MAX", 2)
    store_module._store.cache_clear()
    try:
        first = reserve(holder, 1)
        reserve(holder, 1)
        with pytest.raises(TooManyReservations):
            reserve(holder, 1)
        release_tokens(**holder.keys, reservation_id=first)
        reserve(holder, 1)
    finally:
        store_module._store.cache_clear()
    assert read_budget(**holder.keys).reserved == 2


def test_what_is_reserved_over_a_renewal_is_held_in_the_new_period(acme: Project, holder: Holder) -> None:
    consume_tokens(**holder.keys, tokens=50)
    reservation = reserve(holder, 30)
    plan = holder.periods.get().project.plans.get()
    holder.buys(plan, subscription="sub_dana", since=START + MONTH)
    assert figures(read_budget(**holder.keys)) == (100, 0, 30)
    assert figures(commit_tokens(**holder.keys, reservation_id=reservation)) == (100, 30, 0)


RESERVE_AND_DIE = """
import os, signal, sys, uuid
import django
django.setup()
from entitlements.services.token_budget import consume_tokens, reserve_tokens
whose = dict(project_id=uuid.UUID(sys.argv[1]), mode="test", end_user_id=uuid.UUID(sys.argv[2]))
consume_tokens(**whose, tokens=10)
print(reserve_tokens(**whose, tokens=80, ttl_seconds=2).reservation_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_f30_what_a_killed_process_reserved_is_free_again_after_its_time(holder: Holder) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"}
    environment.pop("PYTEST_VERSION", None)
    arguments = [str(holder.keys["project_id"]), str(holder.keys["end_user_id"])]
    dead = subprocess.run(
        [sys.executable, "-c", RESERVE_AND_DIE, *arguments],
        env={**environment, "REDIS_URL": django_settings.REDIS_URL},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    reserved_until = time.monotonic() + 2
    assert dead.returncode == -signal.SIGKILL, dead.stderr[-2000:]
    reservation = uuid.UUID(dead.stdout.strip())
    # What it counted is in Redis, and whoever writes the journal next finds it.
    write_journal()
    assert holder.used() == 10
    if time.monotonic() < reserved_until - 1:
        assert figures(read_budget(**holder.keys)) == (100, 10, 80)
    time.sleep(max(0.0, reserved_until - time.monotonic()) + 0.1)
    assert figures(read_budget(**holder.keys)) == (100, 10, 0)
    with pytest.raises(ReservationNotFound):
        commit_tokens(**holder.keys, reservation_id=reservation)
    assert consume_tokens(**holder.keys, tokens=90).remaining == 0
    # Nor does it come back with a Redis that is filled from the database.
    write_journal()
    token_store().client.flushall()
    assert figures(read_budget(**holder.keys)) == (100, 100, 0)
