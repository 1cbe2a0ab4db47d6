"""POST checkout-session with `trial`: the plan's days, once per user and mode, and free again when the checkout fails."""

import datetime as dt
from typing import Any

import httpx
import pytest
from django.utils import timezone

from entitlements.models import Plan, PlanPrice
from payments.models import CheckoutSession, Subscription, Trial
from payments.services.checkout_rows import SessionOutcome
from payments.services.intents import reconcile_open_intents
from tests.payments.deliveries import deliver, events_of, set_webhook_secret
from tests.payments.rows import create_plan, create_subscription
from tests.payments.shop import (
    CANCEL_URL,
    DECLINED,
    NO_TIME,
    SUCCESS_URL,
    Shop,
    at_once,
    buy,
    checkout_body,
    get,
    open_checkout,
    post,
)

LEAF = "checkout-session"
DAYS = 3


def sell_with_trial(shop: Shop, *, days: int = DAYS, amount_cents: int = 1299, live: bool = False) -> str:
    """Sell a plan that may be tried."""
    plan = create_plan(shop.project, trial_days=days)
    price_id = shop.price(amount_cents, live=live)
    mode = "live" if live else "test"
    PlanPrice.objects.create(project=shop.project, plan=plan, mode=mode, stripe_price_id=price_id)
    return price_id


def trials_of(user: Any) -> list[Trial]:
    return list(Trial.objects.for_project(user.end_user.project_id).filter(end_user=user.end_user))


def sessions_with_trial(shop: Shop) -> list[str]:
    """Name the open pages at Stripe that promise a trial."""
    rows = CheckoutSession.objects.for_project(shop.project).filter(request__subscription_data__trial_period_days=DAYS)
    mine = set(rows.exclude(stripe_session_id="").values_list("stripe_session_id", flat=True))
    return [
        found["id"] for found in shop.objects("checkout/sessions") if found["status"] == "open" and found["id"] in mine
    ]


# Works


def test_a_trial_gives_the_plans_days_and_charges_nothing_yet(shop: Shop, dana: Any) -> None:
    bought = buy(shop, dana, sell_with_trial(shop), trial=True)
    assert (bought["status"], bought["payment_status"], bought["payment"]) == ("complete", "no_payment_required", None)
    subscription = bought["subscription"]
    assert (subscription["status"], subscription["plan_active"]) == ("trialing", True)
    ends_in = dt.datetime.fromisoformat(subscription["trial_end"]) - timezone.now()
    assert dt.timedelta(days=DAYS, minutes=-5) < ends_in <= dt.timedelta(days=DAYS)
    trial = trials_of(dana)[0]
    assert trial.used_at is not None
    assert trial.stripe_subscription_id == subscription["subscription_id"]
    assert trial.checkout_session == CheckoutSession.objects.for_project(shop.project).get()


@pytest.mark.parametrize("found_by", ["plan", "lookup_key"])
def test_the_plan_is_found_by_its_code_or_its_prices_lookup_key(shop: Shop, dana: Any, found_by: str) -> None:
    plan = create_plan(shop.project, code="maker", trial_days=DAYS)
    price_id = shop.price(1299)
    shop.api("POST", f"prices/{price_id}", lookup_key="maker-month")
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", lookup_key="maker-month")
    wanted = {"plan": "maker"} if found_by == "plan" else {"price_id": price_id}
    body = {"success_url": SUCCESS_URL, "cancel_url": CANCEL_URL, "trial": True} | wanted
    assert post(dana, LEAF, body).status_code == 200
    assert (
        CheckoutSession.objects.for_project(shop.project).get().request["subscription_data"]["trial_period_days"] == 3
    )


def test_a_server_may_sell_a_trial_too(shop: Shop, acme_server: Any) -> None:
    price_id = sell_with_trial(shop)
    body = {
        "user_id": "user/7", "email": "seven@example.com", "trial": True, "success_url": SUCCESS_URL,
        "cancel_url": CANCEL_URL, "tier": Plan.objects.for_project(shop.project).get().code,
    }  # fmt: skip
    path = "/api/v1/payments/checkout"
    answer = acme_server.client.post(path, data=body, content_type="application/json")
    assert answer.status_code == 200, answer.content
    request = CheckoutSession.objects.for_project(shop.project).get().request
    assert (request["line_items"][0]["price"], request["subscription_data"]["trial_period_days"]) == (price_id, DAYS)


# Refuses


def test_a_second_trial_is_refused_on_any_plan_and_nothing_is_opened(shop: Shop, dana: Any) -> None:
    bought = buy(shop, dana, sell_with_trial(shop), trial=True)
    shop.api("DELETE", f"subscriptions/{bought['subscription']['subscription_id']}")
    get(dana, f"checkout-session/{bought['session_id']}")
    other = sell_with_trial(shop, days=14)
    answer = post(dana, LEAF, checkout_body(other, trial=True))
    assert (answer.status_code, answer.json()["code"]) == (400, "trial_used")
    assert len(shop.objects("checkout/sessions")) == 1
    assert len(trials_of(dana)) == 1
    assert open_checkout(dana, other)["checkout_url"]


@pytest.mark.parametrize("days", [0, None])
def test_a_plan_without_a_trial_and_a_price_without_a_plan_have_none(shop: Shop, dana: Any, days: int | None) -> None:
    price_id = shop.price() if days is None else sell_with_trial(shop, days=days)
    answer = post(dana, LEAF, checkout_body(price_id, trial=True))
    assert (answer.status_code, answer.json()["code"]) == (400, "trial_not_available")
    assert trials_of(dana) == [] and shop.objects("customers") == []


def test_a_one_time_purchase_cannot_be_tried(shop: Shop, dana: Any) -> None:
    answer = post(dana, LEAF, checkout_body(shop.price(interval=""), mode="payment", trial=True))
    assert (answer.status_code, answer.json()["code"]) == (400, "trial_not_available")


def test_a_trial_that_began_before_trials_were_counted_counts(shop: Shop, dana: Any) -> None:
    create_subscription(shop.project, end_user=dana.end_user, status="canceled", trial_end=timezone.now())
    answer = post(dana, LEAF, checkout_body(sell_with_trial(shop), trial=True))
    assert (answer.status_code, answer.json()["code"]) == (400, "trial_used")


# Edge


def test_each_mode_and_each_user_has_its_own_trial(shop: Shop, dana: Any, erin: Any) -> None:
    price_id, live = sell_with_trial(shop), sell_with_trial(shop, live=True)
    open_checkout(dana, price_id, trial=True)
    open_checkout(dana, live, trial=True, query="?test_mode=false")
    open_checkout(erin, price_id, trial=True)
    assert sorted(trial.mode for trial in trials_of(dana)) == ["live", "test"]
    assert len(trials_of(erin)) == 1


@pytest.mark.parametrize("how", ["expired", "expired_unseen", "replaced", "refused"])
def test_a_checkout_that_comes_to_nothing_frees_its_trial(shop: Shop, dana: Any, how: str) -> None:
    price_id = sell_with_trial(shop)
    if how == "refused":
        shop.fault("POST /v1/checkout/sessions", "status:400")
        assert post(dana, LEAF, checkout_body(price_id, trial=True)).status_code == 502
        assert trials_of(dana) == []
    else:
        first = open_checkout(dana, price_id, trial=True)
        assert trials_of(dana)[0].used_at is None
        if how.startswith("expired"):
            shop.api("POST", f"checkout/sessions/{first['session_id']}/expire")
        if how == "expired":
            set_webhook_secret(shop.project)
            deliver(shop, events_of(shop))
            assert trials_of(dana) == []
    again = open_checkout(dana, price_id, trial=True, quantity=2)
    assert sessions_with_trial(shop) == [again["session_id"]]
    held = trials_of(dana)[0].checkout_session
    assert held is not None and held.stripe_session_id == again["session_id"]


def test_a_declined_card_keeps_the_page_and_its_trial(shop: Shop, dana: Any) -> None:
    price_id = sell_with_trial(shop)
    opened = open_checkout(dana, price_id, trial=True)
    assert shop.pay(opened["checkout_url"], DECLINED).status_code == 402
    assert open_checkout(dana, price_id, trial=True) == opened
    assert trials_of(dana)[0].used_at is None


def test_a_trial_takes_the_place_of_the_open_checkout_even_if_a_second_subscription_is_allowed(
    shop: Shop, dana: Any
) -> None:
    open_checkout(dana, sell_with_trial(shop), trial=True)
    second = open_checkout(dana, sell_with_trial(shop, days=DAYS), trial=True, allow_existing_subscription=True)
    assert sessions_with_trial(shop) == [second["session_id"]]


def test_a_trial_given_by_hand_at_stripe_is_the_users_one_trial(shop: Shop, dana: Any) -> None:
    set_webhook_secret(shop.project)
    price_id = sell_with_trial(shop)
    bought = buy(shop, dana, price_id)
    path = f"subscriptions/{bought['subscription']['subscription_id']}"
    shop.api(
        "POST", path, trial_end=int((timezone.now() + dt.timedelta(days=5)).timestamp()), proration_behavior="none"
    )
    deliver(shop, events_of(shop))
    shop.api("DELETE", path)
    deliver(shop, events_of(shop)[-1:])
    assert trials_of(dana)[0].used_at is not None
    assert post(dana, LEAF, checkout_body(price_id, trial=True)).json()["code"] == "trial_used"


def test_a_session_that_was_given_up_and_comes_back_takes_its_trial_again_or_stays_away(
    shop: Shop, dana: Any, short_patience: None
) -> None:
    price_id = sell_with_trial(shop)
    shop.fault("POST /v1/checkout/sessions", "timeout_after_effect", seconds=2)
    assert post(dana, LEAF, checkout_body(price_id, trial=True)).status_code == 503
    row = CheckoutSession.objects.for_project(shop.project).get()
    at_stripe = shop.objects("checkout/sessions")[0]
    SessionOutcome(row).failed("given up by another process")
    assert trials_of(dana) == []
    SessionOutcome(row).succeeded(at_stripe)
    assert trials_of(dana)[0].checkout_session_id == row.pk
    CheckoutSession.objects.filter(pk=row.pk).update(status="failed", stripe_session_id="")
    Trial.objects.filter(pk=trials_of(dana)[0].pk).update(checkout_session=None, used_at=timezone.now())
    SessionOutcome(row).succeeded(at_stripe)
    row.refresh_from_db()
    assert (row.status, row.url) == ("failed", at_stripe["url"])


def test_a_lost_answer_keeps_the_trial_with_the_session_that_is_found_again(
    shop: Shop, dana: Any, short_patience: None
) -> None:
    price_id = sell_with_trial(shop)
    shop.fault("POST /v1/checkout/sessions", "timeout_after_effect", seconds=2)
    assert post(dana, LEAF, checkout_body(price_id, trial=True)).status_code == 503
    assert reconcile_open_intents(min_age=NO_TIME) >= 1
    row = CheckoutSession.objects.for_project(shop.project).get()
    assert row.status == "open"
    assert [trial.checkout_session_id for trial in trials_of(dana)] == [row.pk]


# Race


def test_two_plans_tried_at_once_leave_one_page_with_a_trial(shop: Shop, dana: Any) -> None:
    prices = [sell_with_trial(shop), sell_with_trial(shop)]
    more = [{}, {"allow_existing_subscription": True}]
    bodies = [checkout_body(prices[number % 2], trial=True, **more[number // 2]) for number in range(4)]
    answers = at_once(4, lambda number: post(dana, LEAF, bodies[number]))
    assert {answer.status_code for answer in answers} <= {200, 503}, [answer.content for answer in answers]
    assert len(sessions_with_trial(shop)) == 1
    assert len(trials_of(dana)) == 1


def test_a_page_that_was_replaced_cannot_be_paid_so_one_trial_begins(shop: Shop, dana: Any) -> None:
    first = open_checkout(dana, sell_with_trial(shop), trial=True)
    second = open_checkout(dana, sell_with_trial(shop), trial=True)
    assert shop.pay(first["checkout_url"]).status_code != 303
    assert shop.pay(second["checkout_url"]).status_code == 303
    get(dana, f"checkout-session/{second['session_id']}")
    assert Subscription.objects.for_project(shop.project).get().status == "trialing"


# Replay


def test_events_in_any_order_and_twice_leave_the_same_trial(shop: Shop, dana: Any) -> None:
    set_webhook_secret(shop.project)
    opened = open_checkout(dana, sell_with_trial(shop), trial=True)
    assert shop.pay(opened["checkout_url"]).status_code == 303
    events = events_of(shop)
    deliver(shop, list(reversed(events)))
    before = Trial.objects.for_project(shop.project).values().get()
    deliver(shop, events)
    assert Trial.objects.for_project(shop.project).values().get() == before
    assert before["used_at"] is not None
    assert httpx.get(shop.local(opened["checkout_url"]), timeout=20).status_code < 500
