"""POST checkout-session while Stripe is in trouble: nothing is lost, and nothing is sold or made twice."""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from payments.models import CheckoutSession, StripeIntent
from payments.services.checkout_rows import SessionOutcome
from payments.services.intents import reconcile_open_intents
from tests.live import wait_until
from tests.payments.shop import NO_TIME, checkout_body, open_checkout, post

LEAF = "checkout-session"
SESSIONS_PATH = "/v1/checkout/sessions"


def row_body(row: CheckoutSession) -> dict[str, Any]:
    return checkout_body(row.request["line_items"][0]["price"])


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


@pytest.mark.parametrize("path", ["POST /v1/customers", "POST /v1/checkout/sessions"])
def test_an_effect_whose_repeat_met_a_429_is_found_again(shop: Any, dana: Any, settings: Any, path: str) -> None:
    # The library repeats the lost call by itself; only its second attempt is refused.
    settings.STRIPE_MAX_NETWORK_RETRIES = 1
    body = checkout_body(shop.price())
    shop.fault(path, "reset_after_effect")
    shop.fault(path, "status:429", nth=2)
    assert post(dana, LEAF, body).status_code == 503
    second = post(dana, LEAF, body)
    assert second.status_code == 200, second.content
    assert len(shop.objects("checkout/sessions")) == 1
    assert len(shop.objects("customers")) == 1
    keys = [entry["idempotency_key"] for entry in shop.requests(path.partition(" ")[2]) if entry["method"] == "POST"]
    assert (len(keys), len(set(keys))) == (3, 1)


@pytest.fixture
def slow_checkout(shop: Any, dana: Any, settings: Any) -> Iterator[tuple[CheckoutSession, Future[Any]]]:
    """A click whose session Stripe has made, while its answer is on the way: its row, and the answer to come."""
    settings.STRIPE_MAX_NETWORK_RETRIES = 1
    body = checkout_body(shop.price())
    shop.fault("POST /v1/checkout/sessions", "timeout_after_effect", seconds=2)

    def click() -> Any:
        try:
            return post(dana, LEAF, body)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(click)
        wait_until(lambda: shop.objects("checkout/sessions"), seconds=10, what="a session at Stripe", interval=0.02)
        yield rows_of(dana)[0], answer


def test_a_session_that_stripe_made_outranks_a_process_that_gave_it_up(
    dana: Any, slow_checkout: tuple[CheckoutSession, Future[Any]]
) -> None:
    row, answer = slow_checkout
    SessionOutcome(row).failed("given up by another process")
    got = answer.result(30)
    assert got.status_code == 200, got.content
    assert got.json()["session_id"] and got.json()["checkout_url"]
    row.refresh_from_db()
    assert (row.status, row.stripe_session_id) == ("open", got.json()["session_id"])


def test_a_session_that_a_newer_checkout_replaced_is_an_error_and_not_an_empty_link(
    shop: Any, dana: Any, slow_checkout: tuple[CheckoutSession, Future[Any]]
) -> None:
    row, answer = slow_checkout
    SessionOutcome(row).failed("given up by another process")
    newer = post(dana, LEAF, {**row_body(row), "metadata": {"newer": "yes"}})
    assert newer.status_code == 200, newer.content
    got = answer.result(30)
    assert (got.status_code, got.json()["code"]) == (503, "in_progress")
    assert [(found.status, bool(found.url)) for found in rows_of(dana) if found.pk != row.pk] == [("open", True)]


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
