"""Setting credits aside: spent in whole or in part, given back, or given back by themselves when the time is over."""

import datetime as dt
import uuid
from typing import Any

import pytest

from entitlements.models import CreditReservation
from entitlements.services import ledger
from entitlements.services.credit_rounds import end_overdue_reservations
from entitlements.services.ledger import ReservationClosed, ReservationExceeded, ReservationNotFound
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.credits import (
    CREDITS,
    NOON,
    assert_ledger_holds,
    available,
    entries_of,
    give,
    kinds,
    spend,
    together,
    transactions_of,
    wallet_of,
)

HOUR = dt.timedelta(hours=1)


def reserve(user: AppUser, amount: int, key: str = "r", **options: Any) -> ledger.Reservation:
    return ledger.reserve_credits(**wallet_of(user), amount=amount, key=key, **options)


def commit(user: AppUser, held: ledger.Reservation, key: str = "c", **options: Any) -> ledger.Finished:
    return ledger.commit_reservation(**wallet_of(user), reservation_id=held.reservation_id, key=key, **options)


def release(user: AppUser, held: ledger.Reservation, key: str = "f", **options: Any) -> ledger.Finished:
    return ledger.release_reservation(**wallet_of(user), reservation_id=held.reservation_id, key=key, **options)


def post(caller: AppUser | AppServer, leaf: str, body: Any, key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return caller.client.post(f"{CREDITS}/{leaf}", body, content_type="application/json", headers=headers)


# Works


def test_a_part_is_spent_and_the_rest_comes_back_over_http(
    acme: Project, dana: AppUser, acme_server: AppServer
) -> None:
    give(dana, 100)
    held = post(dana, "reserve", {"amount": 40, "ttl_seconds": 60, "description": "A film"}, "r")
    assert (held.status_code, held.json()["amount"], held.json()["balance"]) == (200, 40, 60)
    assert post(dana, "reserve", {"amount": 40, "ttl_seconds": 60, "description": "A film"}, "r").json() == held.json()
    balance = dana.client.get(f"{CREDITS}/balance").json()
    assert (balance["available"], balance["reserved"]) == (60, 40)
    body = {"reservation_id": held.json()["reservation_id"]}
    done = post(dana, "commit", {**body, "amount": 15}, "c")
    assert (done.status_code, done.json()["spent"], done.json()["returned"], done.json()["balance"]) == (
        200,
        15,
        25,
        85,
    )
    assert post(dana, "commit", {**body, "amount": 15}, "c").json() == done.json()
    served = post(acme_server, "reserve", {"user_id": dana.user_id, "amount": 80}).json()
    body = {"user_id": dana.user_id, "reservation_id": served["reservation_id"]}
    freed = post(acme_server, "release", body).json()
    assert (freed["spent"], freed["returned"], freed["balance"]) == (0, 80, 85)
    whole = reserve(dana, 85, "all")
    assert commit(dana, whole).spent == 85 and available(dana) == 0
    assert_ledger_holds(acme)


def test_the_rest_goes_back_to_the_lots_that_would_be_spent_last(acme: Project, dana: AppUser) -> None:
    give(dana, 10, "bonus")
    give(dana, 10, "purchased")
    commit(dana, reserve(dana, 20), amount=12)
    buckets = ledger.read_balance(**wallet_of(dana)).buckets
    assert (buckets["bonus"], buckets["purchased"]) == (0, 8)
    assert_ledger_holds(acme)


# Refuses


def test_what_cannot_be_done_to_a_reservation_changes_nothing(
    acme: Project, dana: AppUser, erin: AppUser, other_server: AppServer
) -> None:
    give(dana, 50)
    held = reserve(dana, 20, actor=ledger.END_USER)
    before = entries_of(dana)
    with pytest.raises(ReservationExceeded):
        commit(dana, held, amount=21)
    with pytest.raises(ReservationNotFound):
        commit(erin, held)
    for leaf in ("commit", "release"):
        assert post(erin, leaf, {"reservation_id": str(held.reservation_id)}).status_code == 404
        assert post(dana, leaf, {"reservation_id": str(uuid.uuid4())}).json()["code"] == "reservation_not_found"
        assert post(dana, leaf, {"reservation_id": "x"}).status_code == 422
    assert post(dana, "reserve", {"amount": 31}).json()["deficit"] == 1
    for ttl in (0, 86_401, 1.5):
        assert post(dana, "reserve", {"amount": 1, "ttl_seconds": ttl}).status_code == 422
    assert entries_of(dana) == before
    commit(dana, held)
    closed = post(dana, "release", {"reservation_id": str(held.reservation_id)})
    assert (closed.status_code, closed.json()["code"], closed.json()["state"]) == (
        409,
        "reservation_closed",
        "committed",
    )
    assert available(dana) == 30
    assert_ledger_holds(acme)


def test_what_a_server_set_aside_its_user_neither_finishes_nor_sees(
    acme: Project, dana: AppUser, acme_server: AppServer
) -> None:
    give(dana, 100)
    served = post(acme_server, "reserve", {"user_id": dana.user_id, "amount": 80}).json()["reservation_id"]
    own = post(dana, "reserve", {"amount": 5}).json()["reservation_id"]
    before = entries_of(dana)
    for leaf, body in (("release", {}), ("commit", {"amount": 1}), ("commit", {})):
        refused = post(dana, leaf, {"reservation_id": served, **body})
        nothing = post(dana, leaf, {"reservation_id": str(uuid.uuid4()), **body})
        assert (refused.status_code, refused.json()) == (404, nothing.json())
    assert entries_of(dana) == before
    done = post(acme_server, "commit", {"user_id": dana.user_id, "reservation_id": served}).json()
    assert (done["spent"], done["balance"]) == (80, 15)
    # It is not the user's afterwards either, and what they see of it is no id.
    assert post(dana, "release", {"reservation_id": served}).status_code == 404
    told = dana.client.get(f"{CREDITS}/history").json()["transactions"]
    assert [(row["kind"], row["reservation_id"]) for row in told] == [
        ("commit", None), ("reserve", own), ("reserve", None), ("grant", None),
    ]  # fmt: skip
    told = acme_server.client.get(f"{CREDITS}/history", {"user_id": dana.user_id}).json()["transactions"]
    assert [row["reservation_id"] for row in told] == [served, own, served, None]
    # A server finishes both.
    freed = post(acme_server, "release", {"user_id": dana.user_id, "reservation_id": own}).json()
    assert (freed["returned"], freed["balance"]) == (5, 20)
    assert_ledger_holds(acme)


# Edge


def test_a_reservation_whose_worker_died_comes_back_when_its_time_is_over(acme: Project, dana: AppUser) -> None:
    give(dana, 50, at=NOON)
    held = reserve(dana, 20, at=NOON, ttl_seconds=60)
    assert available(dana, at=NOON + dt.timedelta(seconds=59)) == 30
    after = NOON + dt.timedelta(seconds=60)
    before = entries_of(dana)
    assert available(dana, at=after) == 50 and entries_of(dana) == before
    with pytest.raises(ReservationClosed) as refused:
        commit(dana, held, at=after)
    assert refused.value.extra["state"] == "expired"
    assert kinds(transactions_of(dana))[-1] == ("reservation_expired", 20)
    assert spend(dana, 50, at=after).available == 0
    assert_ledger_holds(acme)


def test_the_sweep_gives_back_what_nobody_asks_for(acme: Project, dana: AppUser) -> None:
    give(dana, 50, at=NOON)
    reserve(dana, 20, at=NOON, ttl_seconds=60)
    end_overdue_reservations(at=NOON + dt.timedelta(seconds=59))
    rows = CreditReservation.objects.for_project(acme)
    assert rows.get().state == "open"
    for _ in range(2):
        end_overdue_reservations(at=NOON + dt.timedelta(seconds=61))
    assert rows.get().state == "expired"
    assert kinds(transactions_of(dana)) == [("grant", 50), ("reserve", -20), ("reservation_expired", 20)]
    assert_ledger_holds(acme)


def test_a_wallet_that_cannot_be_settled_holds_up_no_other(
    acme: Project, dana: AppUser, erin: AppUser, caplog: pytest.LogCaptureFixture
) -> None:
    rows = CreditReservation.objects.filter(wallet__end_user__in=[dana.end_user, erin.end_user])
    for user in (dana, erin):
        give(user, 50, at=NOON)
        reserve(user, 20, f"r:{user.user_id}", at=NOON, ttl_seconds=60)
    bad, good = rows.order_by("wallet_id")
    rows.filter(pk=bad.pk).update(parts=[{"kind": "bonus", "lot": "", "amount": 10**30, "expires_at": None}])
    end_overdue_reservations(at=NOON + dt.timedelta(seconds=61))
    assert (rows.get(pk=bad.pk).state, rows.get(pk=good.pk).state) == ("open", "expired")
    assert f"credit_wallet_not_settled wallet={bad.wallet_id}" in caplog.text
    rows.filter(pk=bad.pk).update(parts=bad.parts)
    end_overdue_reservations(at=NOON + dt.timedelta(seconds=61))
    assert {available(dana), available(erin)} == {50}
    assert_ledger_holds(acme)


def test_what_expired_while_it_was_reserved_can_be_spent_and_does_not_come_back(acme: Project, dana: AppUser) -> None:
    give(dana, 20, "bonus", at=NOON, expires_at=NOON + HOUR)
    give(dana, 20, at=NOON)
    held = reserve(dana, 30, at=NOON, ttl_seconds=4 * 3600)
    done = commit(dana, held, amount=5, at=NOON + 2 * HOUR)
    assert (done.spent, done.returned, done.posted.details["expired"]) == (5, 10, 15)
    assert available(dana, at=NOON + 2 * HOUR) == 20
    assert_ledger_holds(acme)


def test_what_comes_back_settles_a_debt_that_arose_meanwhile(acme: Project, dana: AppUser) -> None:
    give(dana, 30, source="pi_1")
    held = reserve(dana, 30)
    assert ledger.claw_back(**wallet_of(dana), amount=20, key="b", source="pi_1").debt == 20
    done = release(dana, held)
    assert (done.returned, done.posted.details["settled"]) == (10, 20)
    balance = ledger.read_balance(**wallet_of(dana))
    assert (balance.available, balance.debt, balance.reserved) == (10, 0, 0)
    assert_ledger_holds(acme)


# Race


def test_a_commit_and_a_release_at_once_end_it_once(acme: Project, dana: AppUser) -> None:
    give(dana, 50)
    held = reserve(dana, 20)
    ends = [lambda: commit(dana, held), lambda: release(dana, held), lambda: commit(dana, held, "c2", amount=3)]
    results = together(*ends, *ends)
    assert all(isinstance(one, ledger.Finished | ReservationClosed) for one in results)
    done = {one.posted.transaction_id: one.spent for one in results if isinstance(one, ledger.Finished)}
    assert len(done) == 1
    assert available(dana) == 50 - sum(done.values())
    assert_ledger_holds(acme)


def test_ten_reservations_at_once_never_hold_more_than_there_is(acme: Project, dana: AppUser) -> None:
    give(dana, 55)
    results = together(*[lambda number=number: reserve(dana, 10, f"r{number}") for number in range(10)])
    assert sum(isinstance(one, ledger.Reservation) for one in results) == 5
    assert available(dana) == 5
    assert_ledger_holds(acme)
