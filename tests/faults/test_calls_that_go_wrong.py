"""Every write of a whole life to Stripe goes wrong once, in each way there is (F17 to F20, F33).

The user sees an error they can act on, clicks again, and in the end paid what they would have paid without trouble.
"""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.utils import timezone

from payments import stripe_api
from payments.models import CheckoutSession, StripeCustomer, StripeIntent, Subscription, Transaction
from payments.services.intents import reconcile_open_intents
from tests.cast import AppUser
from tests.payments.deliveries import deliver, events_of, set_webhook_secret
from tests.payments.shop import Shop, checkout_body, connect_stripe, get, post
from tests.scenarios.lifecycle import compare_with_stripe

MAKER_CENTS, PRO_CENTS = 1000, 2500
# What the user is told: try again later (503), the project's owner has to do something (502), the card (402).
TROUBLE = {
    "status:500": 503,
    "status:503": 503,
    "status:429": 503,
    "status:429:lock_timeout": 503,
    "status:409": 503,
    "status:401": 502,
    "status:402": 402,
    "status:400:idempotency_error": 502,
    "reset": 503,
    "hang": 503,
    "reset_after_effect": 503,
    "timeout_after_effect": 503,
}


# How long the service waits for Stripe where Stripe is made silent, and how long it is silent.
PATIENCE_SECONDS, SILENCE_SECONDS = 1.0, 2.0


@pytest.fixture
def patience(settings: Any, monkeypatch: pytest.MonkeyPatch, do: str) -> None:
    """Give up on a silent Stripe early; elsewhere a busy machine must not look like one."""
    if do in {"hang", "timeout_after_effect"}:
        settings.STRIPE_TIMEOUT_SECONDS = PATIENCE_SECONDS
        monkeypatch.setattr(stripe_api, "_shared_http_client", None)


def hurt(shop: Shop, *, match: str, do: str) -> None:
    """Make the next call of a kind go wrong."""
    shop.fault(match, do, seconds=SILENCE_SECONDS)


def struck(shop: Shop) -> list[str]:
    """Tell which calls of the account went wrong."""
    query = {"account_id": shop.account.account_id}
    rules = httpx.get(f"{shop.sandbox.url}/_sandbox/api/faults", params=query, timeout=10).json()["data"]
    return [rule["match"] for rule in rules if rule["struck"]]


def posts(shop: Shop, path: str) -> list[dict[str, Any]]:
    """Give the writes to a path that Stripe has seen, without those that it still keeps waiting."""
    return [entry for entry in shop.requests(path) if entry["method"] == "POST"]


def click(call: Callable[[], Any], *, refusals: int, status: int) -> dict[str, Any]:
    """Press a button until it works; each refusal is the expected one and says whether to try again."""
    for _ in range(refusals):
        answer = call()
        assert answer.status_code == status, answer.content
        assert set(answer.json()) >= {"detail", "code"}
    answer = call()
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def live_with_trouble(shop: Shop, dana: AppUser, do: str) -> None:
    """Buy, move up, ask to end, change one's mind and end at once; each write to Stripe fails once."""
    status = TROUBLE[do]
    maker, pro = shop.price(MAKER_CENTS), shop.price(PRO_CENTS)
    hurt(shop, match="POST /v1/customers", do=do)
    hurt(shop, match="POST /v1/checkout/sessions", do=do)
    opened = click(lambda: post(dana, "checkout-session", checkout_body(maker)), refusals=2, status=status)
    assert shop.pay(opened["checkout_url"]).status_code == 303
    assert get(dana, f"checkout-session/{opened['session_id']}").status_code == 200
    subscription = shop.objects("subscriptions")[0]["id"]
    steps: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "update-subscription", {"new_price_id": pro, "proration_behavior": "always_invoice"}),
        ("POST", "cancel-subscription", {"cancel_immediately": False}),
        ("POST", "resume-subscription", {}),
        ("DELETE", "cancel-subscription", {"cancel_immediately": True}),
    ]
    for method, leaf, body in steps:
        hurt(shop, match=f"{method} /v1/subscriptions/{subscription}", do=do)
        click(lambda leaf=leaf, body=body: post(dana, leaf, body), refusals=1, status=status)  # type: ignore[misc]
    assert len(struck(shop)) == 6, "a fault met no call: the test proves less than it says"


def check_nothing_doubled_nothing_lost(shop: Shop) -> None:
    """Check money and objects at Stripe against what one untroubled life would have left, and our rows against Stripe."""
    assert len(shop.objects("customers")) == len(shop.objects("checkout/sessions")) == 1
    assert [found["status"] for found in shop.objects("subscriptions", status="all")] == ["canceled"]
    # 10.00 at first; then 25.00 - 10.00, since a fraction of a minute's use is less than half a cent.
    charges = shop.objects("charges")
    assert sorted(found["amount"] for found in charges if found["paid"]) == [MAKER_CENTS, PRO_CENTS - MAKER_CENTS]
    assert sorted(found["total"] for found in shop.objects("invoices")) == [MAKER_CENTS, PRO_CENTS - MAKER_CENTS]
    # A click that found its wish fulfilled leaves the lost call to the sweep, which reads what became of it.
    reconcile_open_intents(min_age=dt.timedelta(0))
    owed = StripeIntent.objects.for_project(shop.project).filter(status__in=["open", "unknown"])
    assert list(owed.values_list("operation", "status", "error")) == []
    rows = CheckoutSession.objects.for_project(shop.project)
    assert rows.filter(status="complete").count() == 1
    assert not rows.filter(status__in=["creating", "open", "unknown"]).exists()
    deliver(shop, events_of(shop))
    assert StripeCustomer.objects.for_project(shop.project).count() == 1
    assert Subscription.objects.for_project(shop.project).count() == 1
    payments = Transaction.objects.for_project(shop.project).filter(status="succeeded")
    assert sum(payments.values_list("amount_cents", flat=True)) == PRO_CENTS
    compare_with_stripe(shop)


@pytest.mark.parametrize("do", TROUBLE)
def test_f17_to_f20_a_life_in_which_each_call_fails_once_costs_what_it_should(
    shop: Shop, dana: AppUser, patience: None, do: str
) -> None:
    set_webhook_secret(shop.project)
    live_with_trouble(shop, dana, do)
    check_nothing_doubled_nothing_lost(shop)


@pytest.mark.parametrize("do", TROUBLE)
def test_other_projects_and_the_other_mode_buy_while_one_is_in_trouble(
    shop: Shop, dana: AppUser, sandbox: Any, other_project: Any, frank: AppUser, patience: None, do: str
) -> None:
    other = Shop(other_project, sandbox.create_account("Other"), sandbox)
    connect_stripe(other_project, other.account)
    prices = {"other": other.price(MAKER_CENTS), "live": shop.price(MAKER_CENTS, live=True)}
    mine = shop.price(MAKER_CENTS)
    shop.fault("* /v1/*", do, times=1000, seconds=SILENCE_SECONDS, mode="test")
    assert post(dana, "checkout-session", checkout_body(mine)).status_code >= 400
    assert post(frank, "checkout-session", checkout_body(prices["other"])).status_code == 200
    live = post(dana, "checkout-session", checkout_body(prices["live"]), query="?test_mode=false")
    assert live.status_code == 200, live.content


def test_f20_a_key_that_meets_other_parameters_is_an_alarm_and_is_not_sent_again(
    shop: Shop, dana: AppUser, caplog: pytest.LogCaptureFixture
) -> None:
    body = checkout_body(shop.price(MAKER_CENTS))
    shop.fault("POST /v1/checkout/sessions", "status:400:idempotency_error", times=5)
    answer = post(dana, "checkout-session", body)
    assert (answer.status_code, answer.json()["code"]) == (502, "stripe_error")
    assert len(posts(shop, "/v1/checkout/sessions")) == 1
    alarms = [record for record in caplog.records if "stripe_idempotency_conflict" in record.getMessage()]
    assert [record.levelname for record in alarms] == ["ERROR"]


def test_f17_a_call_without_an_answer_for_a_day_is_never_sent_with_a_new_key(
    shop: Shop, dana: AppUser, short_patience: None
) -> None:
    shop.fault("POST /v1/checkout/sessions", "timeout_after_effect", seconds=SILENCE_SECONDS)
    assert post(dana, "checkout-session", checkout_body(shop.price(MAKER_CENTS))).status_code == 503
    CheckoutSession.objects.for_project(shop.project).update(created_at=timezone.now() - dt.timedelta(hours=25))
    reconcile_open_intents(min_age=dt.timedelta(0))
    row = CheckoutSession.objects.for_project(shop.project).get()
    assert (row.status, row.stripe_session_id) == ("open", shop.objects("checkout/sessions")[0]["id"])
    time.sleep(SILENCE_SECONDS)
    assert len(posts(shop, "/v1/checkout/sessions")) == 1
