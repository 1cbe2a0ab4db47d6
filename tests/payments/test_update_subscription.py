"""POST update-subscription: another price, with Stripe's three ways of proration."""

import datetime as dt
from typing import Any

import pytest

from entitlements.models import PlanPrice
from payments.models import Subscription
from tests.payments.rows import create_plan
from tests.payments.shop import STRIPE, at_once, buy, get, post

LEAF = "update-subscription"


@pytest.fixture
def subscribed(shop: Any, dana: Any) -> dict[str, Any]:
    """Dana pays 10.00 for each of two seats a month."""
    return dict(buy(shop, dana, shop.price(1000), quantity=2)["subscription"])


def item(shop: Any, subscription: dict[str, Any]) -> dict[str, Any]:
    return dict(shop.api("GET", f"subscriptions/{subscription['subscription_id']}")["items"]["data"][0])


def invoices(shop: Any) -> list[dict[str, Any]]:
    return list(shop.objects("invoices"))


# Works


def test_it_moves_to_the_new_price_and_keeps_the_quantity(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    plan = create_plan(shop.project, code="pro", name="Pro")
    new = shop.price(2000)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=new, amount_cents=2000)
    answer = post(dana, LEAF, {"new_price_id": new})
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert set(body) == {"subscription_id", "status", "price_id", "message"}
    assert (body["subscription_id"], body["status"], body["price_id"]) == (
        subscribed["subscription_id"],
        "active",
        new,
    )
    assert (item(shop, subscribed)["price"]["id"], item(shop, subscribed)["quantity"]) == (new, 2)
    mine = get(dana, "my-subscription").json()
    assert (mine["price_id"], mine["plan_code"], mine["quantity"]) == (new, "pro", 2)
    assert len(invoices(shop)) == 1


def test_always_invoice_charges_the_difference_at_once(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    answer = post(dana, LEAF, {"new_price_id": shop.price(5000), "proration_behavior": "always_invoice"})
    assert answer.status_code == 200, answer.content
    newest = invoices(shop)[0]
    assert len(invoices(shop)) == 2
    assert (newest["status"], newest["billing_reason"]) == ("paid", "subscription_update")
    assert 0 < newest["amount_paid"] <= 8000


def test_none_bills_nothing(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    assert post(dana, LEAF, {"new_price_id": shop.price(5000), "proration_behavior": "none"}).status_code == 200
    assert len(invoices(shop)) == 1
    assert shop.objects("invoiceitems") == []


@pytest.mark.parametrize("as_text", [True, False])
def test_the_moment_of_proration_can_be_given(shop: Any, dana: Any, subscribed: dict[str, Any], as_text: bool) -> None:
    row = Subscription.objects.for_project(shop.project).get()
    assert row.current_period_start and row.current_period_end
    start, end = int(row.current_period_start.timestamp()), int(row.current_period_end.timestamp())
    moment = start + (end - start) // 2
    given = dt.datetime.fromtimestamp(moment, tz=dt.UTC).isoformat() if as_text else moment
    body = {"new_price_id": shop.price(2000), "proration_behavior": "always_invoice", "proration_date": given}
    answer = post(dana, LEAF, body)
    assert answer.status_code == 200, answer.content
    # Half of two seats at 20.00 less half of two seats at 10.00.
    assert abs(invoices(shop)[0]["total"] - 1000) <= 1


# Refuses


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        answer = client.post(
            f"{STRIPE}/{LEAF}", data={"new_price_id": "price_1"}, content_type="application/json", headers=headers
        )
        assert answer.status_code == 401


def test_none_is_404(shop: Any, dana: Any, erin: Any, subscribed: dict[str, Any]) -> None:
    body = {"new_price_id": shop.price(), "subscription_id": subscribed["subscription_id"]}
    assert post(erin, LEAF, body).json()["code"] == "no_subscription"
    assert post(dana, LEAF, body, query="?test_mode=false").status_code == 404
    assert item(shop, subscribed)["price"]["id"] == subscribed["price_id"]


def test_a_bad_price_is_400_and_changes_nothing(
    shop: Any, dana: Any, other_project: Any, sandbox: Any, subscribed: dict[str, Any]
) -> None:
    from tests.payments.shop import Shop

    inactive = shop.price()
    shop.api("POST", f"prices/{inactive}", active="false")
    theirs = Shop(other_project, sandbox.create_account("Other"), sandbox).price()
    internal = shop.price()
    plan = create_plan(shop.project, code="sovereign", internal=True)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=internal)
    wrong = {
        "price_nobodyHasThis": "price_not_found",
        inactive: "price_not_found",
        theirs: "price_not_found",
        shop.price(live=True): "price_not_found",
        internal: "price_not_found",
        shop.price(interval=""): "price_does_not_fit",
        shop.price(currency="eur"): "price_does_not_fit",
    }
    for price_id, code in wrong.items():
        answer = post(dana, LEAF, {"new_price_id": price_id})
        assert (answer.status_code, answer.json()["code"]) == (400, code), price_id
    assert item(shop, subscribed)["price"]["id"] == subscribed["price_id"]
    assert get(dana, "my-subscription").json()["price_id"] == subscribed["price_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "new_price_id"),
        ({"new_price_id": ""}, "new_price_id"),
        ({"new_price_id": None}, "new_price_id"),
        ({"new_price_id": 5}, "new_price_id"),
        ({"new_price_id": "p", "proration_behavior": "sometimes"}, "proration_behavior"),
        ({"new_price_id": "p", "proration_date": "yesterday"}, "proration_date"),
        ({"new_price_id": "p", "proration_date": -1}, "proration_date"),
        ({"new_price_id": "p", "proration_date": 1e99}, "proration_date"),
        ({"new_price_id": "p", "proration_date": True}, "proration_date"),
    ],
)
def test_a_bad_body_is_422_and_names_the_field(acme: Any, dana: Any, body: dict[str, Any], field: str) -> None:
    answer = post(dana, LEAF, body)
    assert answer.status_code == 422, answer.content
    assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_a_moment_outside_the_period_is_400(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    for moment in (1, 4_000_000_000, "2001-01-01T00:00:00Z"):
        answer = post(dana, LEAF, {"new_price_id": shop.price(), "proration_date": moment})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_proration_date")
    assert item(shop, subscribed)["price"]["id"] == subscribed["price_id"]


# Edge


def test_another_interval_is_said_aloud(shop: Any, dana: Any) -> None:
    subscription = buy(shop, dana, shop.price(11691, interval="year"))["subscription"]
    answer = post(dana, LEAF, {"new_price_id": shop.price(1299)})
    assert answer.status_code == 200, answer.content
    assert "every month instead of every year" in answer.json()["message"]
    assert item(shop, subscription)["price"]["recurring"]["interval"] == "month"


def test_the_same_price_changes_nothing(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    body = {"new_price_id": subscribed["price_id"], "proration_behavior": "always_invoice"}
    answer = post(dana, LEAF, body)
    assert (answer.status_code, answer.json()["price_id"]) == (200, subscribed["price_id"])
    assert len(invoices(shop)) == 1


def test_a_payment_that_fails_leaves_the_old_price(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    shop.fault("POST /v1/subscriptions/*", "status:402")
    answer = post(dana, LEAF, {"new_price_id": shop.price(9000), "proration_behavior": "always_invoice"})
    assert (answer.status_code, answer.json()["code"]) == (402, "card_error")
    assert get(dana, "my-subscription").json()["price_id"] == subscribed["price_id"]


# Race


def test_many_clicks_at_once_charge_once(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    body = {"new_price_id": shop.price(5000), "proration_behavior": "always_invoice"}
    answers = at_once(6, lambda number: post(dana, LEAF, body))
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    assert len(invoices(shop)) == 2


def test_cancel_and_update_at_once_leave_one_clear_state(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    new = shop.price(3000)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("cancel-subscription", {"cancel_immediately": True}),
        (LEAF, {"new_price_id": new}),
    ]
    canceled, updated = at_once(2, lambda number: post(dana, *calls[number]))
    assert canceled.status_code == 200, canceled.content
    assert updated.status_code in (200, 404), updated.content
    row = Subscription.objects.for_project(shop.project).get()
    assert row.status == "canceled"


# Replay


def test_an_idempotency_key_gets_the_first_answer(shop: Any, dana: Any, subscribed: dict[str, Any]) -> None:
    first_price, second_price = shop.price(2000), shop.price(3000)
    key = {"Idempotency-Key": "up-1"}
    first = post(dana, LEAF, {"new_price_id": first_price}, **key)
    post(dana, LEAF, {"new_price_id": second_price})
    assert post(dana, LEAF, {"new_price_id": first_price}, **key).json() == first.json()
    assert item(shop, subscribed)["price"]["id"] == second_price


# Stripe in trouble


@pytest.mark.parametrize(("fault", "status"), [("status:500", 503), ("status:429", 503), ("status:401", 502)])
def test_trouble_at_stripe_is_said_and_the_next_click_works(
    shop: Any, dana: Any, subscribed: dict[str, Any], fault: str, status: int
) -> None:
    body = {"new_price_id": shop.price(2000)}
    shop.fault("POST /v1/subscriptions/*", fault)
    assert post(dana, LEAF, body).status_code == status
    assert get(dana, "my-subscription").json()["price_id"] == subscribed["price_id"]
    assert post(dana, LEAF, body).status_code == 200


def test_an_answer_lost_after_the_effect_is_not_charged_twice(
    shop: Any, dana: Any, subscribed: dict[str, Any], short_patience: None
) -> None:
    body = {"new_price_id": shop.price(5000), "proration_behavior": "always_invoice"}
    shop.fault("POST /v1/subscriptions/*", "timeout_after_effect", seconds=2)
    assert post(dana, LEAF, body).status_code == 503
    again = post(dana, LEAF, body)
    assert (again.status_code, again.json()["price_id"]) == (200, body["new_price_id"])
    assert len(invoices(shop)) == 2
    assert get(dana, "my-subscription").json()["price_id"] == body["new_price_id"]


def test_a_lost_change_gives_way_to_the_users_next_wish(
    shop: Any, dana: Any, subscribed: dict[str, Any], short_patience: None
) -> None:
    shop.fault("POST /v1/subscriptions/*", "hang", seconds=2)
    assert post(dana, LEAF, {"new_price_id": shop.price(5000)}).status_code == 503
    wanted = shop.price(3000)
    assert post(dana, LEAF, {"new_price_id": wanted}).json()["price_id"] == wanted
    assert item(shop, subscribed)["price"]["id"] == wanted
