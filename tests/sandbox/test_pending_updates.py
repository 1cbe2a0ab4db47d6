"""Changes that wait for their payment, changes by the second, planned ends, paused collection."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.lives import control, event_types, item_of, latest_invoice, other_price, switch
from tests.sandbox.stripe_api import Api
from tests.sandbox.test_clocks import DAY, NEW_YEAR, make_clock, read, subscriber
from tests.sandbox.test_dunning import go, use_card

# 1 April 2027: a month of 30 days, 2 592 000 seconds.
APRIL = 1_806_537_600
PENDING: dict[str, Any] = {"payment_behavior": "pending_if_incomplete", "proration_behavior": "always_invoice"}


def wait(api: Api, subscription: Any, seconds: int) -> None:
    control(api, f"test_clocks/{subscription['test_clock']}/advance", seconds=seconds)


@pytest.fixture
def held(api: Api) -> Any:
    """A subscription whose upgrade from 20.00 to 40.00 at half time was declined and waits."""
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    use_card(api, subscription, "pm_card_chargeCustomerFail")
    wait(api, subscription, 15 * DAY)
    return switch(api, subscription, other_price(api, subscription, 4000), **PENDING)


def test_an_unpaid_change_waits_beside_the_old_price(api: Api, held: Any) -> None:
    assert (held["status"], item_of(held)["price"]["unit_amount"]) == ("active", 2000)
    waiting = held["pending_update"]
    assert waiting["expires_at"] == APRIL + 15 * DAY + 23 * 3600
    assert [item["price"]["unit_amount"] for item in waiting["subscription_items"]] == [4000]
    assert (waiting["billing_cycle_anchor"], waiting["trial_end"]) == (None, None)
    invoice = latest_invoice(api, held)
    # Half of 20.00 back, half of 40.00 to pay.
    assert (invoice["status"], invoice["amount_due"], invoice["total"]) == ("open", 1000, 1000)


def test_paying_makes_the_change_real(api: Api, held: Any) -> None:
    api.post(f"/v1/invoices/{held['latest_invoice']}/pay", payment_method="pm_card_visa")
    after = read(api, held)
    assert (after["status"], after["pending_update"], item_of(after)["price"]["unit_amount"]) == ("active", None, 4000)
    assert item_of(after)["id"] == item_of(held)["id"]
    assert "customer.subscription.pending_update_applied" in event_types(api)
    use_card(api, held, "pm_card_visa")
    go(api, held, "payment")
    assert latest_invoice(api, held)["amount_paid"] == 4000


def test_after_23_hours_the_change_is_dropped_and_its_invoice_void(api: Api, held: Any) -> None:
    assert go(api, held, "pending_update_expiry") == APRIL + 15 * DAY + 23 * 3600
    after = read(api, held)
    assert (after["pending_update"], item_of(after)["price"]["unit_amount"]) == (None, 2000)
    assert latest_invoice(api, held)["status"] == "void"
    assert "customer.subscription.pending_update_expired" in event_types(api)
    use_card(api, held, "pm_card_visa")
    go(api, held, "payment")
    assert latest_invoice(api, held)["amount_paid"] == 2000


def test_another_change_takes_the_place_of_the_one_that_waits(api: Api, held: Any) -> None:
    use_card(api, held, "pm_card_visa")
    changed = switch(api, held, other_price(api, held, 6000), **PENDING)
    assert (changed["pending_update"], item_of(changed)["price"]["unit_amount"]) == (None, 6000)
    assert api.get(f"/v1/invoices/{held['latest_invoice']}")["status"] == "void"
    # Half of 60.00 less half of 20.00.
    assert latest_invoice(api, held)["amount_paid"] == 2000


def test_a_paid_change_does_not_wait(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    wait(api, subscription, 15 * DAY)
    changed = switch(api, subscription, other_price(api, subscription, 4000), **PENDING)
    assert (changed["pending_update"], item_of(changed)["price"]["unit_amount"]) == (None, 4000)
    assert latest_invoice(api, subscription)["amount_paid"] == 1000


def test_default_incomplete_leaves_the_payment_to_the_customer(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    wait(api, subscription, 15 * DAY)
    changed = switch(
        api,
        subscription,
        other_price(api, subscription, 4000),
        payment_behavior="default_incomplete",
        proration_behavior="always_invoice",
    )
    assert (changed["status"], item_of(changed)["price"]["unit_amount"]) == ("past_due", 4000)
    (payment,) = api.get("/v1/invoice_payments", invoice=changed["latest_invoice"])["data"]
    api.post(f"/v1/payment_intents/{payment['payment']['payment_intent']}/confirm")
    assert read(api, subscription)["status"] == "active"


def test_a_change_is_prorated_by_the_second_of_the_clock(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    wait(api, subscription, 20 * DAY)
    switch(api, subscription, other_price(api, subscription, 1000), proration_behavior="always_invoice")
    invoice = latest_invoice(api, subscription)
    # A third of the month is left: 666.67 back, 333.33 to pay, each rounded by itself.
    assert [line["amount"] for line in invoice["lines"]["data"]] == [-667, 333]
    assert (invoice["total"], invoice["amount_due"]) == (-334, 0)
    assert (invoice["period_start"], invoice["period_end"]) == (APRIL, APRIL + 20 * DAY)
    wait(api, subscription, 10 * DAY)
    wait(api, subscription, 3601)
    # The next month costs 10.00, less the 3.34 that are on the balance.
    assert latest_invoice(api, subscription)["amount_paid"] == 666


def test_prorations_that_wait_are_billed_with_the_next_month(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    wait(api, subscription, 20 * DAY)
    items = [{"id": item_of(subscription)["id"], "quantity": 3}]
    api.post(f"/v1/subscriptions/{subscription['id']}", items=items)
    assert len(api.get("/v1/charges")["data"]) == 1
    go(api, subscription, "payment")
    # -6.67 + 20.00 for the last third of April, 60.00 for May.
    assert latest_invoice(api, subscription)["amount_paid"] == 7333


def test_a_planned_end_comes_in_the_middle_of_a_later_period(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    end = APRIL + 45 * DAY
    planned = api.post(f"/v1/subscriptions/{subscription['id']}", cancel_at=end)
    assert (planned["cancel_at"], planned["cancel_at_period_end"], planned["canceled_at"]) == (end, False, APRIL)
    go(api, subscription, "payment")
    assert latest_invoice(api, subscription)["amount_paid"] == 2000
    assert go(api, subscription, "end") == end
    ended = read(api, subscription)
    assert (ended["status"], ended["ended_at"], ended["canceled_at"]) == ("canceled", end, APRIL)
    assert len(api.get("/v1/charges")["data"]) == 2


def test_an_end_with_the_period_bills_no_other_and_gives_no_notice(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    api.post(f"/v1/subscriptions/{subscription['id']}", cancel_at_period_end=True)
    wait(api, subscription, 30 * DAY)
    assert read(api, subscription)["status"] == "canceled"
    assert len(api.get("/v1/invoices", subscription=subscription["id"])["data"]) == 1
    assert "invoice.upcoming" not in event_types(api)


def test_a_first_payment_that_never_comes_expires_after_23_hours(api: Api) -> None:
    subscription = subscriber(api, make_clock(api), card="pm_card_chargeCustomerFail")
    assert subscription["status"] == "incomplete"
    assert go(api, subscription) == NEW_YEAR + 23 * 3600
    after = read(api, subscription)
    assert (after["status"], latest_invoice(api, subscription)["status"]) == ("incomplete_expired", "void")
    assert set(event_types(api)[-4:-1]) == {
        "customer.subscription.updated",
        "payment_intent.canceled",
        "invoice.voided",
    }


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("mark_uncollectible", "uncollectible"), ("keep_as_draft", "draft")]
)
def test_a_paused_collection_takes_nothing_and_resumes_at_its_time(api: Api, behavior: str, status: str) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    again = APRIL + 40 * DAY
    paused = api.post(
        f"/v1/subscriptions/{subscription['id']}", pause_collection={"behavior": behavior, "resumes_at": again}
    )
    assert paused["pause_collection"] == {"behavior": behavior, "resumes_at": again}
    wait(api, subscription, 30 * DAY)
    assert latest_invoice(api, subscription)["status"] == "draft"
    wait(api, subscription, 3601)
    assert (latest_invoice(api, subscription)["status"], read(api, subscription)["status"]) == (status, "active")
    assert go(api, subscription, "collection_resumes") == again
    assert read(api, subscription)["pause_collection"] is None
    go(api, subscription, "payment")
    assert latest_invoice(api, subscription)["amount_paid"] == 2000
    assert len(api.get("/v1/charges")["data"]) == 2


def test_a_preview_shows_the_next_month_of_the_clock(api: Api) -> None:
    subscription = subscriber(api, make_clock(api, APRIL), 2000)
    wait(api, subscription, 20 * DAY)
    change = {"items": [{"id": item_of(subscription)["id"], "price": other_price(api, subscription, 1000)}]}
    preview = api.post("/v1/invoices/create_preview", subscription=subscription["id"], subscription_details=change)
    # -6.67 + 3.33 + 10.00
    assert (preview["amount_due"], preview["period_end"]) == (666, APRIL + 30 * DAY)
    assert read(api, subscription) == subscription
