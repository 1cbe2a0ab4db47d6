"""The turn of a period, by control call and by time itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

import httpx
import pytest

from sandbox.accounts import create_account
from sandbox.app import open_store
from sandbox.billing import engine, periods
from sandbox.store import Context, Store
from tests.sandbox.lives import control, event_types, item_of, latest_invoice, make_customer, start
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page


def test_a_paid_renewal_rolls_the_item_and_bills_the_new_period(api: Api) -> None:
    subscription = start(api, 1500)
    old, seen = item_of(subscription), len(event_types(api))
    renewed = control(api, f"subscriptions/{subscription['id']}/renew", outcome="paid")
    item, invoice = item_of(renewed), latest_invoice(api, renewed)
    assert item["current_period_start"] == old["current_period_end"]
    assert (invoice["billing_reason"], invoice["amount_paid"], invoice["status"]) == (
        "subscription_cycle",
        1500,
        "paid",
    )
    assert (invoice["period_start"], invoice["period_end"]) == (old["current_period_start"], old["current_period_end"])
    assert invoice["lines"]["data"][0]["period"] == {
        "start": item["current_period_start"],
        "end": item["current_period_end"],
    }
    assert event_types(api, seen) == [
        "customer.subscription.updated",
        "invoice.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "payment_intent.created",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
    ]


def test_a_declined_renewal_owes_and_recovers_by_paying_the_invoice(api: Api) -> None:
    subscription = start(api, 1500)
    seen = len(event_types(api))
    failed = control(api, f"subscriptions/{subscription['id']}/renew", outcome="declined")
    invoice = latest_invoice(api, failed)
    assert failed["status"] == "past_due"
    assert (invoice["status"], invoice["attempt_count"], invoice["attempted"]) == ("open", 1, True)
    assert (invoice["auto_advance"], invoice["next_payment_attempt"] is not None) == (True, True)
    assert event_types(api, seen) == [
        "customer.subscription.updated",
        "invoice.created",
        "invoice.finalized",
        "charge.failed",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "invoice.payment_failed",
        "invoice.updated",
        "customer.subscription.updated",
    ]
    seen = len(event_types(api))
    api.post(f"/v1/invoices/{invoice['id']}/pay")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"
    assert event_types(api, seen) == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "invoice_payment.paid",
    ]


def test_an_ended_subscription_does_not_renew(api: Api) -> None:
    subscription = start(api)
    api.delete(f"/v1/subscriptions/{subscription['id']}")
    answer = httpx.post(f"{api.url}/_sandbox/api/subscriptions/{subscription['id']}/renew", json={})
    assert answer.status_code == 400
    assert len(api.get("/v1/invoices")["data"]) == 1


def test_an_unknown_outcome_or_subscription_is_refused(api: Api) -> None:
    subscription = start(api)
    path = f"{api.url}/_sandbox/api/subscriptions"
    assert httpx.post(f"{path}/{subscription['id']}/renew", json={"outcome": "maybe"}).status_code == 400
    assert httpx.post(f"{path}/sub_x/renew", json={}).status_code == 404


def test_a_trial_turns_into_a_paid_period(api: Api) -> None:
    pay_on_page(create_session(api, create_price(api, 900)["id"], subscription_data={"trial_period_days": 7}))
    (subscription,) = api.get("/v1/subscriptions")["data"]
    renewed = control(api, f"subscriptions/{subscription['id']}/renew")
    assert (renewed["status"], item_of(renewed)["current_period_start"]) == ("active", subscription["trial_end"])
    assert latest_invoice(api, renewed)["amount_paid"] == 900


def test_a_short_trial_is_announced_at_once(api: Api) -> None:
    pay_on_page(create_session(api, create_price(api)["id"], subscription_data={"trial_period_days": 2}))
    assert "customer.subscription.trial_will_end" in event_types(api)


@pytest.mark.parametrize(
    ("anchor", "interval", "count", "expected"),
    [
        (1706659200, "month", 1, 1709164800),  # 31 January 2024 -> 29 February
        (1706659200, "month", 2, 1711843200),  # 31 January 2024 -> 31 March
        (1709164800, "year", 1, 1740700800),  # 29 February 2024 -> 28 February 2025
        (1706659200, "week", 2, 1707868800),
        (1706659200, "day", 10, 1707523200),
    ],
)
def test_periods_are_counted_from_the_anchor(anchor: int, interval: str, count: int, expected: int) -> None:
    assert periods.add_interval(anchor, interval, count) == expected


def test_a_period_is_found_for_any_moment() -> None:
    recurring = {"interval": "month", "interval_count": 1}
    anchor = 1706659200
    for days in (0, 1, 28, 29, 31, 60, 365, 4000):
        moment = anchor + days * 86400
        start_at, end_at = periods.period_after(anchor, recurring, moment)
        assert start_at <= moment < end_at


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def make(store: Store, path: str, now: int, **params: object) -> dict[str, object]:
    """Call a resource directly, at a time of one's own."""
    from sandbox.dispatch import Router

    with store.transaction() as tx:
        account = next(iter(tx.execute("SELECT id FROM accounts")))["id"]
        match = Router().match("POST", path)
        made: dict[str, object] = match.handler(tx, Context(account, False, now), dict(params), **match.path_params)
        return made


def everything(store: Store, kind: str) -> list[dict[str, object]]:
    with store.read() as tx:
        account = next(iter(tx.execute("SELECT id FROM accounts")))["id"]
        return tx.find(Context(account, False, 0), kind)


def test_time_renews_expires_and_ends_what_is_due(store: Store) -> None:
    with contextlib.closing(store):
        now = 1_767_225_600
        create_account(store, "Acme", now)
        product = make(store, "/v1/products", now, name="Pro")
        price = make(
            store,
            "/v1/prices",
            now,
            product=product["id"],
            currency="usd",
            unit_amount=1000,
            recurring={"interval": "month"},
        )
        customer = make(store, "/v1/customers", now, payment_method="pm_card_visa")
        (card,) = everything(store, "payment_method")
        subscription = make(
            store,
            "/v1/subscriptions",
            now,
            customer=customer["id"],
            items=[{"price": price["id"]}],
            default_payment_method=card["id"],
        )
        session = make(
            store,
            "/v1/checkout/sessions",
            now,
            mode="subscription",
            line_items=[{"price": price["id"], "quantity": 1}],
            success_url="https://shop.example/done",
        )
        assert engine.advance(store, now + 3600) == 0
        assert engine.advance(store, now + 24 * 3600) == 1
        (kept,) = everything(store, "checkout.session")
        assert (kept["id"], kept["status"]) == (session["id"], "expired")
        assert engine.advance(store, now + 31 * 86400) == 1
        assert [invoice["status"] for invoice in everything(store, "invoice")] == ["paid", "draft"]
        assert engine.advance(store, now + 31 * 86400 + 3600) == 0
        assert engine.advance(store, now + 31 * 86400 + 3601) == 1
        assert [invoice["amount_paid"] for invoice in everything(store, "invoice")] == [1000, 1000]
        make(store, f"/v1/subscriptions/{subscription['id']}", now + 32 * 86400, cancel_at_period_end=True)
        assert engine.advance(store, now + 70 * 86400) == 1
        assert everything(store, "subscription")[0]["status"] == "canceled"
        assert engine.advance(store, now + 700 * 86400) == 0


def test_the_end_of_a_trial_is_announced_three_days_before_and_once(store: Store) -> None:
    with contextlib.closing(store):
        now = 1_767_225_600
        create_account(store, "Acme", now)
        product = make(store, "/v1/products", now, name="Pro")
        wanted = {"product": product["id"], "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
        price = make(store, "/v1/prices", now, **wanted)
        customer = make(store, "/v1/customers", now, payment_method="pm_card_visa")
        items = [{"price": price["id"]}]
        make(store, "/v1/subscriptions", now, customer=customer["id"], items=items, trial_period_days=7)
        assert engine.advance(store, now + 4 * 86400 - 1) == 0
        assert engine.advance(store, now + 4 * 86400) == 1
        assert engine.advance(store, now + 5 * 86400) == 0
        told = [event["type"] for event in everything(store, "event")]
        assert told.count("customer.subscription.trial_will_end") == 1
        assert everything(store, "subscription")[0]["status"] == "trialing"
        assert engine.advance(store, now + 7 * 86400) == 1
        assert everything(store, "subscription")[0]["status"] == "active"
        assert engine.advance(store, now + 7 * 86400 + 3601) == 1
        assert everything(store, "subscription")[0]["status"] == "past_due"


def test_renewing_with_a_card_that_wants_authentication_asks_for_it(api: Api) -> None:
    customer, price = make_customer(api), create_price(api)
    subscription = api.post("/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}])
    card = api.post("/v1/payment_methods/pm_card_authenticationRequired/attach", customer=customer["id"])
    api.post(f"/v1/subscriptions/{subscription['id']}", default_payment_method=card["id"])
    renewed = control(api, f"subscriptions/{subscription['id']}/renew")
    assert renewed["status"] == "active"
    answer = httpx.post(
        f"{api.url}/_sandbox/api/subscriptions/{subscription['id']}/renew", json={"outcome": "card"}, timeout=20
    )
    assert answer.json()["status"] == "past_due"
    invoice = latest_invoice(api, subscription)
    assert (invoice["status"], invoice["attempt_count"], invoice["next_payment_attempt"]) == ("open", 0, None)
    assert "invoice.payment_action_required" in event_types(api)
