"""Reading a balance and asking whether an amount could be spent: own account or the server's user, and nobody without a token."""

from typing import Any

import pytest
from django.test import Client

from entitlements.models import CreditWallet
from tests.cast import AppServer, AppUser
from tests.entitlements.credits import CREDITS, available, entries_of, give, spend, wallet_of
from tests.payments.rows import create_plan

NOBODY = "0190aaaa-0000-7000-8000-000000000000"
ENDPOINTS = [
    ("get", "balance", None),
    ("get", "history", None),
    ("post", "check", {"amount": 1}),
    ("post", "spend", {"amount": 1}),
    ("post", "reserve", {"amount": 1}),
    ("post", "commit", {"reservation_id": NOBODY}),
    ("post", "release", {"reservation_id": NOBODY}),
    ("get", "packs", None),
    ("post", "purchase", {"pack": "small"}),
]


def read(caller: AppUser | AppServer, leaf: str = "balance", **query: str) -> Any:
    return caller.client.get(f"{CREDITS}/{leaf}", query)


# Works


def test_a_balance_is_shown_by_bucket_and_mode(
    dana: AppUser, acme_server: AppServer, acme_live_server: AppServer
) -> None:
    give(dana, 60)
    give(dana, 30, "bonus")
    give(dana, 5, mode="live")
    spend(dana, 10)
    own = read(dana).json()
    assert (own["available"], own["reserved"], own["debt"]) == (80, 0, 0)
    assert own["buckets"] == {"plan_daily": 0, "plan_periodic": 0, "bonus": 20, "purchased": 60}
    assert own["resets_at"].endswith("T00:00:00Z")
    assert read(acme_server, user_id=dana.user_id).json() == own
    assert read(dana, test_mode="false").json()["available"] == 5
    assert read(acme_live_server, user_id=dana.user_id).json()["available"] == 5


def test_a_user_without_a_wallet_has_what_the_free_plan_gives_and_reading_makes_none(dana: AppUser) -> None:
    assert read(dana).json()["available"] == 0
    create_plan(dana.end_user.project, code="free", free=True, credits_per_day=10)
    assert read(dana).json()["buckets"]["plan_daily"] == 10
    assert not CreditWallet.objects.filter(end_user=dana.end_user).exists()


def test_a_check_says_what_is_missing_and_sets_nothing_aside(dana: AppUser, acme_server: AppServer) -> None:
    give(dana, 10)
    before = entries_of(dana)
    for caller, body in ((dana, {}), (acme_server, {"user_id": dana.user_id})):
        answers = [
            caller.client.post(f"{CREDITS}/check", {**body, "amount": amount}, content_type="application/json").json()
            for amount in (10, 12)
        ]
        assert answers == [
            {"allowed": True, "required": 10, "available": 10, "deficit": 0},
            {"allowed": False, "required": 12, "available": 10, "deficit": 2},
        ]
    assert (available(dana), entries_of(dana)) == (10, before)


# Refuses


@pytest.mark.parametrize(("method", "leaf", "body"), ENDPOINTS, ids=[leaf for _, leaf, _ in ENDPOINTS])
def test_credits_are_not_for_callers_without_a_token(
    dana: AppUser, method: str, leaf: str, body: dict[str, Any] | None
) -> None:
    give(dana, 10)
    before = entries_of(dana)
    for headers in (
        {},
        {"Authorization": "Bearer ak_nobodys-key-nobodys-key-nobodys0"},
        {"Authorization": "Bearer x.y.z"},
    ):
        client = Client(headers=headers, raise_request_exception=False)
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        answer = getattr(client, method)(f"{CREDITS}/{leaf}?user_id={dana.user_id}", **options)
        assert answer.status_code == 401, (leaf, answer.content)
    assert entries_of(dana) == before


def test_nobody_reads_another_users_credits(
    dana: AppUser, erin: AppUser, frank: AppUser, other_server: AppServer, acme_server: AppServer
) -> None:
    give(dana, 10)
    for leaf in ("balance", "history"):
        for caller in (erin, frank):
            assert read(caller, leaf, user_id=dana.user_id).status_code == 404
        # To another project's server she is one whom nobody knows.
        found, nobody = (read(other_server, leaf, user_id=one).json() for one in (dana.user_id, "nobody"))
        assert found == nobody
    assert read(acme_server).status_code == 422
    assert wallet_of(dana)["mode"] == "test" and available(dana) == 10
