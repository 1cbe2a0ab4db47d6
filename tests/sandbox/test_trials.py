"""Trials: with and without a card, announced, moved, ended early, begun late."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import control, event_types, item_of, latest_invoice
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page, visible_text
from tests.sandbox.test_clocks import DAY, NEW_YEAR, make_clock, read, subscriber
from tests.sandbox.test_dunning import go

END = NEW_YEAR + 14 * DAY


def without_card(api: Api, missing: str | None = None, **params: Any) -> Any:
    """Start a trial of 14 days for a customer that has no card."""
    customer = api.post("/v1/customers", test_clock=make_clock(api)["id"])
    if missing:
        params["trial_settings"] = {"end_behavior": {"missing_payment_method": missing}}
    items = [{"price": create_price(api, 1500)["id"]}]
    return api.post("/v1/subscriptions", customer=customer["id"], items=items, **{"trial_period_days": 14, **params})


def add_card(api: Api, subscription: Any) -> None:
    customer = subscription["customer"]
    method = api.post("/v1/payment_methods/pm_card_visa/attach", customer=customer)
    api.post(f"/v1/customers/{customer}", invoice_settings={"default_payment_method": method["id"]})


def test_a_trial_with_a_card_is_announced_and_turns_into_a_paid_month(api: Api) -> None:
    subscription = subscriber(api, make_clock(api), 1500, trial_period_days=14)
    assert (subscription["status"], subscription["trial_end"], subscription["billing_cycle_anchor"]) == (
        "trialing",
        END,
        END,
    )
    assert (latest_invoice(api, subscription)["amount_due"], latest_invoice(api, subscription)["status"]) == (0, "paid")
    assert go(api, subscription, "upcoming") == END - 7 * DAY
    assert go(api, subscription) == END - 3 * DAY
    (told,) = api.get("/v1/events", type="customer.subscription.trial_will_end")["data"]
    assert told["created"] == END - 3 * DAY
    assert go(api, subscription) == END
    after = read(api, subscription)
    assert (after["status"], after["trial_end"]) == ("active", END)
    assert item_of(after)["current_period_start"] == END
    # From 15 January to 15 February.
    assert item_of(after)["current_period_end"] == END + 31 * DAY
    assert go(api, subscription) == END + 3601
    invoice = latest_invoice(api, subscription)
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_cycle", 1500)
    assert (invoice["period_start"], invoice["period_end"]) == (NEW_YEAR, END)
    assert len(api.get("/v1/charges")["data"]) == 1


def test_a_trial_without_a_card_owes_at_its_end_by_default(api: Api) -> None:
    subscription = without_card(api)
    assert subscription["trial_settings"]["end_behavior"]["missing_payment_method"] == "create_invoice"
    go(api, subscription, "payment")
    invoice = latest_invoice(api, subscription)
    assert (read(api, subscription)["status"], invoice["status"], invoice["amount_due"]) == ("past_due", "open", 1500)
    add_card(api, subscription)
    go(api, subscription, "retry")
    assert read(api, subscription)["status"] == "active"


def test_a_trial_without_a_card_can_end_the_subscription(api: Api) -> None:
    subscription = without_card(api, "cancel")
    go(api, subscription, "trial_end")
    ended = read(api, subscription)
    assert (ended["status"], ended["ended_at"]) == ("canceled", END)
    assert len(api.get("/v1/invoices", subscription=subscription["id"])["data"]) == 1
    assert event_types(api)[-2] == "customer.subscription.deleted"


def test_a_trial_without_a_card_can_pause_the_subscription_until_it_is_resumed(api: Api) -> None:
    subscription = without_card(api, "pause")
    go(api, subscription, "trial_end")
    paused = read(api, subscription)
    assert paused["status"] == "paused"
    assert event_types(api)[-2] == "customer.subscription.paused"
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=40 * DAY)
    assert read(api, subscription) == paused
    add_card(api, subscription)
    resumed = api.post(f"/v1/subscriptions/{subscription['id']}/resume")
    now = END + 40 * DAY
    assert (resumed["status"], item_of(resumed)["current_period_start"]) == ("active", now)
    assert latest_invoice(api, subscription)["amount_paid"] == 1500


def test_resuming_without_a_card_stays_paused_and_waits_23_hours_for_the_payment(api: Api) -> None:
    subscription = without_card(api, "pause")
    go(api, subscription, "trial_end")
    resumed = api.post(f"/v1/subscriptions/{subscription['id']}/resume")
    assert (resumed["status"], resumed["pending_update"]["expires_at"]) == ("paused", END + 23 * 3600)
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["amount_due"], invoice["billing_reason"]) == ("open", 1500, "subscription_cycle")
    go(api, subscription, "pending_update_expiry")
    after = read(api, subscription)
    assert (after["status"], after["pending_update"]) == ("paused", None)
    assert api.get(f"/v1/invoices/{invoice['id']}")["status"] == "void"
    again = api.post(f"/v1/subscriptions/{subscription['id']}/resume")
    api.post(f"/v1/invoices/{again['latest_invoice']}/pay", payment_method="pm_card_visa")
    after = read(api, subscription)
    assert (after["status"], after["pending_update"]) == ("active", None)
    assert item_of(after)["current_period_start"] == END + 23 * 3600
    assert "customer.subscription.resumed" in event_types(api)


def test_resuming_on_the_old_anchor_pays_for_the_rest_of_the_month(api: Api) -> None:
    subscription = without_card(api, "pause")
    go(api, subscription, "trial_end")
    # Half of the 31 days from 15 January to 15 February.
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=31 * DAY // 2)
    add_card(api, subscription)
    resumed = api.post(f"/v1/subscriptions/{subscription['id']}/resume", billing_cycle_anchor="unchanged")
    item = item_of(resumed)
    assert (item["current_period_start"], item["current_period_end"]) == (END, END + 31 * DAY)
    assert latest_invoice(api, subscription)["amount_paid"] == 750


def test_a_trial_that_is_ended_now_is_billed_at_once(api: Api) -> None:
    subscription = subscriber(api, make_clock(api), 1500, trial_period_days=14)
    seen = len(event_types(api))
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=DAY)
    ended = api.post(f"/v1/subscriptions/{subscription['id']}", trial_end="now")
    now = NEW_YEAR + DAY
    assert (ended["status"], ended["trial_end"], ended["billing_cycle_anchor"]) == ("active", now - 1, now)
    invoice = latest_invoice(api, subscription)
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_update", 1500)
    assert len(invoice["lines"]["data"]) == 1, "nothing of a free period is credited"
    assert event_types(api, seen).count("customer.subscription.trial_will_end") == 1


def test_a_trial_without_a_card_cannot_be_ended_into_an_invoice(api: Api) -> None:
    subscription = without_card(api)
    refused = api.post(f"/v1/subscriptions/{subscription['id']}", 400, trial_end="now")
    assert refused["error"]["code"] == "resource_missing"
    assert read(api, subscription) == subscription


@pytest.mark.parametrize(("missing", "status"), [("pause", "paused"), ("cancel", "canceled")])
def test_a_trial_without_a_card_that_is_ended_now_does_what_was_agreed(api: Api, missing: str, status: str) -> None:
    subscription = without_card(api, missing)
    ended = api.post(f"/v1/subscriptions/{subscription['id']}", trial_end="now")
    assert ended["status"] == status
    assert len(api.get("/v1/invoices", subscription=subscription["id"])["data"]) == 1


def test_ending_a_trial_that_is_over_changes_nothing(api: Api) -> None:
    subscription = subscriber(api, make_clock(api))
    seen = event_types(api)
    assert api.post(f"/v1/subscriptions/{subscription['id']}", trial_end="now") == subscription
    assert event_types(api) == seen


def test_a_trial_is_moved_and_announced_again(api: Api) -> None:
    subscription = subscriber(api, make_clock(api), 1500, trial_end=END)
    go(api, subscription, "trial_will_end")
    later = END + 20 * DAY
    moved = api.post(f"/v1/subscriptions/{subscription['id']}", trial_end=later)
    assert (moved["trial_end"], moved["billing_cycle_anchor"], item_of(moved)["current_period_end"]) == (later,) * 3
    assert go(api, subscription, "trial_will_end") == later - 3 * DAY
    soon = later - 2 * DAY
    api.post(f"/v1/subscriptions/{subscription['id']}", trial_end=soon)
    assert event_types(api).count("customer.subscription.trial_will_end") == 3
    assert go(api, subscription, "trial_end") == soon
    assert len(api.get("/v1/charges")["data"]) == 0


def test_a_trial_on_a_running_subscription_credits_what_was_paid(api: Api) -> None:
    subscription = subscriber(api, make_clock(api), 3100)
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=DAY)
    end = NEW_YEAR + 11 * DAY
    trial = api.post(f"/v1/subscriptions/{subscription['id']}", trial_end=end)
    assert (trial["status"], trial["trial_start"], trial["trial_end"]) == ("trialing", NEW_YEAR + DAY, end)
    invoice = latest_invoice(api, subscription)
    # 30 of 31 days at 1.00 a day come back to the customer's balance.
    assert (invoice["total"], invoice["amount_due"]) == (-3000, 0)
    assert api.get(f"/v1/customers/{subscription['customer']}")["balance"] == -3000
    go(api, subscription, "payment")
    assert latest_invoice(api, subscription)["amount_paid"] == 100


def test_both_ways_of_saying_how_long_are_too_many(api: Api) -> None:
    customer, price = api.post("/v1/customers"), create_price(api)
    both: dict[str, Any] = {"customer": customer["id"], "items": [{"price": price["id"]}]}
    api.post("/v1/subscriptions", 400, **both, trial_end=4_000_000_000, trial_period_days=3)
    api.post("/v1/subscriptions", 400, **both, trial_end=1)
    assert api.get("/v1/subscriptions")["data"] == []


def test_checkout_keeps_what_follows_a_trial_without_a_card(api: Api) -> None:
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    session = create_session(
        api, create_price(api)["id"], subscription_data={"trial_period_days": 7, "trial_settings": settings}
    )
    pay_on_page(session)
    (subscription,) = api.get("/v1/subscriptions")["data"]
    assert subscription["trial_settings"]["end_behavior"]["missing_payment_method"] == "pause"


def start_page(api: Api, missing: str = "cancel", **params: Any) -> Any:
    """Open a checkout session that asks for a card only where one is needed."""
    settings = {"end_behavior": {"missing_payment_method": missing}}
    return create_session(
        api,
        create_price(api, 900)["id"],
        payment_method_collection="if_required",
        **{"subscription_data": {"trial_period_days": 7, "trial_settings": settings}, **params},
    )


def test_a_trial_is_started_on_the_page_without_a_card(api: Api) -> None:
    session = start_page(api)
    page = visible_text(httpx.get(session["url"]).text)
    assert "No card is needed to start." in page and "Card number" not in page
    refused = httpx.post(session["url"], data={"email": "nobody"}, timeout=20)
    assert refused.status_code == 400 and "Enter a valid email address." in refused.text
    assert httpx.post(session["url"], data={"email": "dana@example.com"}, timeout=20).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert (done["status"], done["payment_status"]) == ("complete", "no_payment_required")
    subscription = api.get(f"/v1/subscriptions/{done['subscription']}")
    assert (subscription["status"], subscription["default_payment_method"]) == ("trialing", None)
    assert api.get("/v1/payment_methods", customer=subscription["customer"], type="card")["data"] == []
    go(api, subscription, "trial_end")
    assert read(api, subscription)["status"] == "canceled"


def test_where_something_is_due_the_page_insists_on_a_card(api: Api) -> None:
    session = start_page(api, subscription_data={})
    assert "Card number" in visible_text(httpx.get(session["url"]).text)
    refused = httpx.post(session["url"], data={"email": "dana@example.com"}, timeout=20)
    assert refused.status_code == 400 and "Enter a card number." in refused.text
    assert api.get("/v1/subscriptions")["data"] == []
