"""POST cancel-subscription: at the end of the period, or now."""

from typing import Any

import pytest

from common.clock import from_unix
from payments.models import StripeIntent, Subscription
from payments.services.intents import reconcile_open_intents
from payments.services.shapes import utc_text
from tests.cast import create_app_user
from tests.payments.rows import create_subscription
from tests.payments.shop import NO_TIME, STRIPE, at_once, buy, get, post

LEAF = "cancel-subscription"


@pytest.fixture
def subscribed(shop: Any, dana: Any) -> str:
    """Dana pays monthly; gives Stripe's id of her subscription."""
    return str(buy(shop, dana, shop.price())["subscription"]["subscription_id"])


def at_stripe(shop: Any, subscription_id: str) -> dict[str, Any]:
    return dict(shop.api("GET", f"subscriptions/{subscription_id}"))


def local(shop: Any) -> Subscription:
    return Subscription.objects.for_project(shop.project).get()


# Works


def test_by_default_it_ends_with_the_period(shop: Any, dana: Any, subscribed: str) -> None:
    answer = post(dana, LEAF)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    stripes = at_stripe(shop, subscribed)
    assert set(body) == {"subscription_id", "status", "message", "cancel_at", "cancelled_at"}
    assert (body["subscription_id"], body["status"]) == (subscribed, "active")
    assert body["cancel_at"] == utc_text(from_unix(stripes["items"]["data"][0]["current_period_end"]))
    assert body["cancelled_at"] == utc_text(from_unix(stripes["canceled_at"]))
    mine = get(dana, "my-subscription").json()
    assert (mine["status"], mine["cancel_at_period_end"], mine["cancel_at"]) == ("active", True, body["cancel_at"])
    assert mine["plan_active"] is True


def test_it_can_end_at_once(shop: Any, dana: Any, subscribed: str) -> None:
    body = post(dana, LEAF, {"cancel_immediately": True}).json()
    assert (body["status"], body["cancel_at"]) == ("canceled", None)
    assert body["cancelled_at"].endswith("Z")
    assert at_stripe(shop, subscribed)["status"] == "canceled"
    mine = get(dana, "my-subscription").json()
    assert (mine["status"], mine["plan_active"]) == ("canceled", False)


@pytest.mark.parametrize("immediately", [True, False])
def test_reason_and_comment_reach_stripe(shop: Any, dana: Any, subscribed: str, immediately: bool) -> None:
    post(dana, LEAF, {"cancel_immediately": immediately, "reason": "too_expensive", "comment": "Maybe\nlater"})
    details = at_stripe(shop, subscribed)["cancellation_details"]
    assert (details["feedback"], details["comment"]) == ("too_expensive", "Maybe\nlater")


def test_a_reason_in_own_words_is_kept_in_the_comment(shop: Any, dana: Any, subscribed: str) -> None:
    post(dana, LEAF, {"reason": "moving house", "comment": "sorry"})
    details = at_stripe(shop, subscribed)["cancellation_details"]
    assert (details["feedback"], details["comment"]) == ("other", "moving house: sorry")


# Refuses


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        answer = client.post(f"{STRIPE}/{LEAF}", data={}, content_type="application/json", headers=headers)
        assert answer.status_code == 401


def test_without_a_subscription_it_is_404(shop: Any, dana: Any) -> None:
    answer = post(dana, LEAF)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_subscription")


def test_an_ended_subscription_is_404(shop: Any, dana: Any, subscribed: str) -> None:
    post(dana, LEAF, {"cancel_immediately": True})
    assert post(dana, LEAF, {"cancel_immediately": True}).status_code == 404
    assert post(dana, LEAF).status_code == 404


def test_another_users_subscription_stays(shop: Any, dana: Any, erin: Any, subscribed: str) -> None:
    answer = post(erin, LEAF, {"cancel_immediately": True, "subscription_id": subscribed})
    assert answer.status_code == 404
    assert at_stripe(shop, subscribed)["status"] == "active"


def test_the_other_modes_subscription_stays(shop: Any, dana: Any, subscribed: str) -> None:
    assert post(dana, LEAF, {"cancel_immediately": True}, query="?test_mode=false").status_code == 404
    assert at_stripe(shop, subscribed)["status"] == "active"


def test_a_test_only_token_never_reaches_live(shop: Any) -> None:
    tester = create_app_user(shop.project, "tester", test_only=True)
    create_subscription(shop.project, end_user=tester.end_user, mode="live")
    assert post(tester, LEAF, query="?test_mode=false").status_code == 401


def test_a_project_without_keys_is_404(acme: Any, dana: Any) -> None:
    answer = post(dana, LEAF)
    assert (answer.status_code, answer.json()["code"]) == (404, "stripe_not_configured")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"cancel_immediately": "yes"}, "cancel_immediately"),
        ({"cancel_immediately": None}, "cancel_immediately"),
        ({"reason": "r" * 501}, "reason"),
        ({"comment": ["a"]}, "comment"),
        ({"comment": "\u0000"}, "comment"),
    ],
)
def test_a_bad_body_is_422_and_names_the_field(
    shop: Any, dana: Any, subscribed: str, body: dict[str, Any], field: str
) -> None:
    answer = post(dana, LEAF, body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert at_stripe(shop, subscribed)["cancel_at"] is None


# Edge


def test_canceled_elsewhere_before_its_webhook_is_404_and_noted(shop: Any, dana: Any, subscribed: str) -> None:
    shop.api("DELETE", f"subscriptions/{subscribed}")
    assert local(shop).status == "active"
    assert post(dana, LEAF).status_code == 404
    assert local(shop).status == "canceled"


def test_a_subscription_that_stripe_never_had_is_404(shop: Any, dana: Any) -> None:
    create_subscription(shop.project, end_user=dana.end_user)
    assert post(dana, LEAF).status_code == 404
    assert local(shop).status == "canceled"


def test_one_set_to_end_can_be_ended_now(shop: Any, dana: Any, subscribed: str) -> None:
    post(dana, LEAF)
    assert post(dana, LEAF, {"cancel_immediately": True}).json()["status"] == "canceled"


# Race


def test_many_clicks_at_once_all_say_the_same(shop: Any, dana: Any, subscribed: str) -> None:
    answers = at_once(6, lambda number: post(dana, LEAF))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    assert len({answer.json()["cancel_at"] for answer in answers}) == 1


def test_many_clicks_at_once_end_it_once(shop: Any, dana: Any, subscribed: str) -> None:
    answers = at_once(6, lambda number: post(dana, LEAF, {"cancel_immediately": True}))
    # A click that comes after the end finds nothing to cancel.
    assert {answer.status_code for answer in answers} <= {200, 404}, [answer.content for answer in answers]
    assert 200 in {answer.status_code for answer in answers}
    assert local(shop).status == "canceled"


# Replay


def test_an_idempotency_key_gets_the_first_answer(shop: Any, dana: Any, subscribed: str) -> None:
    body, key = {"cancel_immediately": True}, {"Idempotency-Key": "cancel-1"}
    first = post(dana, LEAF, body, **key)
    assert first.status_code == 200
    again = post(dana, LEAF, body, **key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert post(dana, LEAF, {}, **key).json()["code"] == "idempotency_key_reused"


# Stripe in trouble


@pytest.mark.parametrize("immediately", [True, False])
@pytest.mark.parametrize(("fault", "status"), [("status:500", 503), ("status:429", 503), ("status:401", 502)])
def test_trouble_at_stripe_is_said_and_the_next_click_works(
    shop: Any, dana: Any, subscribed: str, immediately: bool, fault: str, status: int
) -> None:
    shop.fault(f"{'DELETE' if immediately else 'POST'} /v1/subscriptions/*", fault)
    body = {"cancel_immediately": immediately}
    answer = post(dana, LEAF, body)
    assert answer.status_code == status, answer.content
    assert local(shop).cancel_at is None
    assert local(shop).status == "active"
    assert post(dana, LEAF, body).status_code == 200


@pytest.mark.parametrize("immediately", [True, False])
def test_an_answer_lost_after_the_effect_is_found_again(
    shop: Any, dana: Any, subscribed: str, short_patience: None, immediately: bool
) -> None:
    shop.fault(f"{'DELETE' if immediately else 'POST'} /v1/subscriptions/*", "timeout_after_effect", seconds=2)
    body = {"cancel_immediately": immediately}
    assert post(dana, LEAF, body).status_code == 503
    again = post(dana, LEAF, body)
    assert again.status_code == 200, again.content
    assert again.json()["status"] == ("canceled" if immediately else "active")
    assert not StripeIntent.objects.for_project(shop.project).filter(status="open").exists()


@pytest.mark.parametrize("immediately", [True, False])
def test_an_effect_whose_repeat_met_a_429_is_found_again(
    shop: Any, dana: Any, subscribed: str, settings: Any, immediately: bool
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 1
    path = f"{'DELETE' if immediately else 'POST'} /v1/subscriptions/*"
    shop.fault(path, "reset_after_effect")
    shop.fault(path, "status:429", nth=2)
    body = {"cancel_immediately": immediately}
    assert post(dana, LEAF, body).status_code == 503
    again = post(dana, LEAF, body)
    assert again.status_code == 200, again.content
    assert again.json()["status"] == ("canceled" if immediately else "active")
    sent = [one for one in shop.requests(f"/v1/subscriptions/{subscribed}") if one["method"] == "POST"]
    assert len({one["idempotency_key"] for one in sent}) <= 1


def test_a_lost_answer_is_reconciled_by_reading(shop: Any, dana: Any, subscribed: str, short_patience: None) -> None:
    shop.fault("POST /v1/subscriptions/*", "timeout_after_effect", seconds=2)
    assert post(dana, LEAF).status_code == 503
    sent = len(shop.requests(f"/v1/subscriptions/{subscribed}"))
    assert reconcile_open_intents(min_age=NO_TIME) >= 1
    assert local(shop).cancel_at_period_end is True
    more = shop.requests(f"/v1/subscriptions/{subscribed}")[sent:]
    assert {entry["method"] for entry in more} == {"GET"}


def test_a_call_that_never_arrived_is_not_carried_out_later(
    shop: Any, dana: Any, subscribed: str, short_patience: None
) -> None:
    import datetime as dt

    from django.utils import timezone

    shop.fault("POST /v1/subscriptions/*", "hang", seconds=2)
    assert post(dana, LEAF).status_code == 503
    intents = StripeIntent.objects.for_project(shop.project).filter(operation="cancel_at_period_end")
    reconcile_open_intents(min_age=NO_TIME)
    assert intents.get().status == "open"
    intents.update(created_at=timezone.now() - dt.timedelta(hours=1))
    reconcile_open_intents(min_age=NO_TIME)
    assert intents.get().status == "failed"
    assert at_stripe(shop, subscribed)["cancel_at"] is None
