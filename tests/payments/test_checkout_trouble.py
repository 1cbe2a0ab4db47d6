"""POST checkout-session while Stripe is in trouble: nothing is lost, and nothing is sold or made twice."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from payments.models import CheckoutSession, StripeIntent
from payments.services.intents import reconcile_open_intents
from tests.payments.shop import NO_TIME, checkout_body, open_checkout, post

LEAF = "checkout-session"
SESSIONS_PATH = "/v1/checkout/sessions"


def rows_of(user: Any) -> list[CheckoutSession]:
    return list(CheckoutSession.objects.for_project(user.end_user.project_id).filter(end_user=user.end_user))


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("status:500", 503, "stripe_unavailable"),
        ("status:429", 503, "stripe_unavailable"),
        ("status:401", 502, "stripe_error"),
        ("reset", 503, "stripe_unavailable"),
    ],
)
@pytest.mark.parametrize("path", ["GET /v1/prices/*", "POST /v1/customers", "POST /v1/checkout/sessions"])
def test_trouble_at_stripe_is_said_and_the_next_click_works(
    shop: Any, dana: Any, path: str, fault: str, status: int, code: str
) -> None:
    body = checkout_body(shop.price())
    shop.fault(path, fault)
    answer = post(dana, LEAF, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert not [row for row in rows_of(dana) if row.status == "open"]
    assert post(dana, LEAF, body).status_code == 200
    assert len(shop.objects("checkout/sessions")) == 1
    assert len(shop.objects("customers")) == 1


@pytest.mark.parametrize("path", ["POST /v1/customers", "POST /v1/checkout/sessions"])
def test_an_answer_lost_after_the_effect_is_found_again(shop: Any, dana: Any, short_patience: None, path: str) -> None:
    body = checkout_body(shop.price())
    shop.fault(path, "timeout_after_effect", seconds=2)
    first = post(dana, LEAF, body)
    assert (first.status_code, first.json()["code"]) == (503, "stripe_unavailable")
    second = post(dana, LEAF, body)
    assert second.status_code == 200, second.content
    assert len(shop.objects("checkout/sessions")) == 1
    assert len(shop.objects("customers")) == 1
    keys = {entry["idempotency_key"] for entry in shop.requests(path.partition(" ")[2]) if entry["method"] == "POST"}
    assert len(keys) == 1


def test_lost_answers_are_reconciled_without_a_second_click(shop: Any, dana: Any, short_patience: None) -> None:
    shop.fault("POST /v1/customers", "timeout_after_effect", seconds=2)
    body = checkout_body(shop.price())
    assert post(dana, LEAF, body).status_code == 503
    assert StripeIntent.objects.for_project(shop.project).get().status == "open"
    assert reconcile_open_intents(min_age=NO_TIME) >= 1
    assert StripeIntent.objects.for_project(shop.project).get().status == "succeeded"
    shop.fault("POST /v1/checkout/sessions", "timeout_after_effect", seconds=2)
    assert post(dana, LEAF, body).status_code == 503
    assert reconcile_open_intents(min_age=NO_TIME) >= 1
    row = rows_of(dana)[0]
    assert (row.status, bool(row.url)) == ("open", True)
    assert post(dana, LEAF, body).json()["session_id"] == row.stripe_session_id
    assert len(shop.objects("customers")) == len(shop.objects("checkout/sessions")) == 1


def test_a_call_nobody_answered_for_a_day_is_looked_up_and_never_sent_again(
    shop: Any, dana: Any, short_patience: None
) -> None:
    open_checkout(dana, shop.price(500, interval=""), mode="payment")
    shop.fault("POST /v1/checkout/sessions", "timeout_after_effect", seconds=2)
    price_id = shop.price()
    assert post(dana, LEAF, checkout_body(price_id)).status_code == 503
    shop.fault("POST /v1/checkout/sessions", "hang", seconds=2)
    other = shop.price(700, interval="")
    assert post(dana, LEAF, checkout_body(other, mode="payment")).status_code == 503
    lost = CheckoutSession.objects.for_project(shop.project).filter(status="creating")
    assert lost.count() == 2
    lost.update(created_at=timezone.now() - dt.timedelta(days=2))
    sent = len(shop.requests(SESSIONS_PATH))
    reconcile_open_intents(min_age=NO_TIME)
    assert sorted(row.status for row in rows_of(dana)) == ["open", "open", "unknown"]
    posts = [entry for entry in shop.requests(SESSIONS_PATH)[sent:] if entry["method"] == "POST"]
    assert posts == []
