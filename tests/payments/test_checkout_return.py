"""GET checkout-session/{id}: the return page is right before the webhook comes."""

from typing import Any

import pytest

from entitlements.models import PlanPrice
from notifications.models import OutboxRow
from payments.models import Subscription, SubscriptionChange, Transaction
from tests.payments.deliveries import deliver, events_of, process_all, set_webhook_secret
from tests.payments.rows import create_plan
from tests.payments.shop import (
    ASKS,
    DECLINED,
    INSUFFICIENT_FUNDS,
    STRIPE,
    at_once,
    buy,
    get,
    open_checkout,
)
from tests.scenarios.lifecycle import rows_of


def read(user: Any, session_id: str, query: str = "") -> Any:
    return get(user, f"checkout-session/{session_id}", query)


def test_the_paid_state_is_there_without_any_webhook(shop: Any, dana: Any) -> None:
    bought = buy(shop, dana, shop.price(1299))
    assert set(bought) == {"session_id", "status", "payment_status", "subscription", "payment"}
    assert get(dana, "my-subscription").json() == bought["subscription"]
    payments = get(dana, "my-payments").json()
    assert payments["total"] == 1
    assert payments["payments"][0] == bought["payment"]
    assert bought["payment"]["subscription_id"] == bought["subscription"]["id"]


def test_an_open_checkout_says_so(shop: Any, dana: Any) -> None:
    opened = open_checkout(dana, shop.price())
    answer = read(dana, opened["session_id"])
    assert answer.json() == {
        "session_id": opened["session_id"],
        "status": "open",
        "payment_status": "unpaid",
        "subscription": None,
        "payment": None,
    }


@pytest.mark.parametrize(
    ("card", "message"),
    [(DECLINED, "Your card was declined."), (INSUFFICIENT_FUNDS, "Your card has insufficient funds.")],
)
def test_a_declined_card_leaves_no_subscription(shop: Any, dana: Any, card: str, message: str) -> None:
    opened = open_checkout(dana, shop.price())
    page = shop.pay(opened["checkout_url"], card)
    assert page.status_code == 402
    assert message in page.text
    assert read(dana, opened["session_id"]).json()["status"] == "open"
    assert get(dana, "my-subscription").json() is None
    assert not Subscription.objects.for_project(shop.project).exists()


def test_a_card_that_asks_is_paid_once_confirmed(shop: Any, dana: Any) -> None:
    import httpx

    opened = open_checkout(dana, shop.price(700))
    page = shop.pay(opened["checkout_url"], ASKS)
    assert page.status_code == 303
    assert read(dana, opened["session_id"]).json()["status"] == "open"
    confirmed = httpx.post(
        f"{shop.local(opened['checkout_url'])}/authenticate", data={"result": "complete"}, timeout=20
    )
    assert confirmed.status_code == 303, confirmed.text
    assert read(dana, opened["session_id"]).json()["subscription"]["status"] == "active"


def test_an_expired_checkout_says_so(shop: Any, dana: Any) -> None:
    opened = open_checkout(dana, shop.price())
    shop.api("POST", f"checkout/sessions/{opened['session_id']}/expire")
    assert read(dana, opened["session_id"]).json()["status"] == "expired"


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        assert client.get(f"{STRIPE}/checkout-session/cs_test_1", headers=headers).status_code == 401


def test_anothers_session_answers_like_one_that_does_not_exist(shop: Any, dana: Any, erin: Any, frank: Any) -> None:
    from tests.payments.shop import connect_stripe

    connect_stripe(frank.end_user.project, shop.account)
    opened = open_checkout(dana, shop.price())
    shop.pay(opened["checkout_url"])
    nobody = read(erin, "cs_test_nobody")
    assert nobody.status_code == 404
    for stranger in (erin, frank):
        answer = read(stranger, opened["session_id"])
        assert (answer.status_code, answer.content) == (404, nobody.content)
    assert read(dana, opened["session_id"], "?test_mode=false").status_code == 404
    assert not Subscription.objects.for_project(shop.project).exists()


@pytest.mark.parametrize("odd", ["%00", "..%2fcustomers", "cs_test_%f0%9f%92%b3", "a" * 300])
def test_an_odd_id_is_404(shop: Any, dana: Any, odd: str) -> None:
    assert read(dana, odd).status_code == 404


def test_reading_twice_writes_once(shop: Any, dana: Any) -> None:
    bought = buy(shop, dana, shop.price())
    assert read(dana, bought["session_id"]).json() == bought
    assert Subscription.objects.for_project(shop.project).count() == 1
    assert Transaction.objects.for_project(shop.project).count() == 1


@pytest.mark.parametrize("trial", [False, True])
def test_the_webhooks_that_come_later_change_nothing(shop: Any, dana: Any, trial: bool) -> None:
    set_webhook_secret(shop.project)
    price_id = shop.price(1299)
    # Long enough that its end is not announced at once.
    plan = create_plan(shop.project, trial_days=14)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=price_id)
    bought = buy(shop, dana, price_id, trial=trial)
    rows, changes = bought_rows(shop), history(shop)
    assert [change["kind"] for change in changes] == ["created"]
    deliver(shop, events_of(shop))
    effects = effect_keys(shop)
    deliver(shop, list(reversed(events_of(shop))))
    assert (bought_rows(shop), history(shop), effect_keys(shop)) == (rows, changes, effects)
    assert [key for key in effects if key.startswith("app:subscription.")] == [
        f"app:subscription.created:{bought['subscription']['subscription_id']}"
    ]
    assert read(dana, bought["session_id"]).json() == bought


def bought_rows(shop: Any) -> dict[str, list[dict[str, Any]]]:
    """Return what was bought; the customer's card and address come with events of their own."""
    return {name: rows for name, rows in rows_of(shop).items() if name != "StripeCustomer"}


def history(shop: Any) -> list[Any]:
    return list(SubscriptionChange.objects.filter(project=shop.project).order_by("id").values())


def effect_keys(shop: Any) -> list[str]:
    return sorted(OutboxRow.objects.for_project(shop.project).values_list("effect_key", flat=True))


def test_several_returns_and_the_webhook_at_once_end_in_one_purchase(shop: Any, dana: Any) -> None:
    set_webhook_secret(shop.project)
    opened = open_checkout(dana, shop.price(1299))
    shop.pay(opened["checkout_url"])
    deliver(shop, events_of(shop), process=False)
    calls = [lambda: process_all(shop.project)] + [lambda: read(dana, opened["session_id"])] * 6
    answers = [answer for answer in at_once(len(calls), lambda number: calls[number]()) if answer is not None]
    assert {answer.status_code for answer in answers} == {200}, [answer.content for answer in answers]
    assert read(dana, opened["session_id"]).json()["subscription"]["status"] == "active"
    assert Subscription.objects.for_project(shop.project).count() == 1
    assert Transaction.objects.for_project(shop.project).count() == 1
    assert len(history(shop)) == 1


@pytest.mark.parametrize(("fault", "status"), [("status:500", 503), ("status:429", 503), ("status:401", 502)])
def test_trouble_at_stripe_is_said(shop: Any, dana: Any, fault: str, status: int) -> None:
    opened = open_checkout(dana, shop.price())
    shop.pay(opened["checkout_url"])
    shop.fault("GET /v1/checkout/sessions/*", fault)
    assert read(dana, opened["session_id"]).status_code == status
    assert not Subscription.objects.for_project(shop.project).exists()
    assert read(dana, opened["session_id"]).json()["subscription"]["status"] == "active"
