"""POST resume-subscription: undoes a cancellation at the end of the period."""

from typing import Any

import pytest

from payments.models import Subscription
from tests.payments.shop import STRIPE, at_once, buy, get, post

LEAF = "resume-subscription"


@pytest.fixture
def ending(shop: Any, dana: Any) -> str:
    """Dana's subscription is set to end; gives Stripe's id of it."""
    subscription_id = buy(shop, dana, shop.price())["subscription"]["subscription_id"]
    assert post(dana, "cancel-subscription").status_code == 200
    return str(subscription_id)


def test_it_goes_on(shop: Any, dana: Any, ending: str) -> None:
    answer = post(dana, LEAF)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert set(body) == {"subscription_id", "status", "message", "cancel_at", "cancelled_at"}
    assert (body["subscription_id"], body["status"], body["cancel_at"]) == (ending, "active", None)
    assert shop.api("GET", f"subscriptions/{ending}")["cancel_at"] is None
    mine = get(dana, "my-subscription").json()
    assert (mine["cancel_at_period_end"], mine["cancel_at"]) == (False, None)


def test_an_end_that_was_set_by_a_date_is_undone_too(shop: Any, dana: Any) -> None:
    subscription = buy(shop, dana, shop.price())["subscription"]
    from payments.models import Subscription

    row = Subscription.objects.for_project(shop.project).get()
    assert row.current_period_end is not None
    end = int(row.current_period_end.timestamp()) + 86400
    shop.api("POST", f"subscriptions/{subscription['subscription_id']}", cancel_at=end)
    assert post(dana, LEAF).status_code == 200
    assert shop.api("GET", f"subscriptions/{subscription['subscription_id']}")["cancel_at"] is None


def test_one_that_is_not_ending_is_left_alone(shop: Any, dana: Any, ending: str) -> None:
    first = post(dana, LEAF).json()
    again = post(dana, LEAF)
    assert again.status_code == 200
    assert again.json()["cancel_at"] is None
    assert again.json()["status"] == first["status"]


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        assert client.post(f"{STRIPE}/{LEAF}", headers=headers).status_code == 401


def test_none_or_an_ended_one_is_404(shop: Any, dana: Any, erin: Any, ending: str) -> None:
    assert post(erin, LEAF).json()["code"] == "no_subscription"
    assert post(dana, LEAF, query="?test_mode=false").status_code == 404
    assert shop.api("GET", f"subscriptions/{ending}")["cancel_at_period_end"] is True
    post(dana, "cancel-subscription", {"cancel_immediately": True})
    assert post(dana, LEAF).status_code == 404


def test_many_clicks_at_once_all_say_the_same(shop: Any, dana: Any, ending: str) -> None:
    answers = at_once(5, lambda number: post(dana, LEAF))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    assert Subscription.objects.for_project(shop.project).get().cancel_at is None


@pytest.mark.parametrize(("fault", "status"), [("status:500", 503), ("status:429", 503)])
def test_trouble_at_stripe_is_said_and_the_next_click_works(
    shop: Any, dana: Any, ending: str, fault: str, status: int
) -> None:
    shop.fault("POST /v1/subscriptions/*", fault)
    assert post(dana, LEAF).status_code == status
    assert Subscription.objects.for_project(shop.project).get().cancel_at_period_end is True
    assert post(dana, LEAF).status_code == 200
