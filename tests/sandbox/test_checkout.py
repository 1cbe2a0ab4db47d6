"""Checkout through the API: what a paid session brings about, what is refused, and that declines leave nothing."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.sandbox.lives import event_types, make_customer
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page

PAID_SUBSCRIPTION = [
    "charge.succeeded",
    "payment_method.attached",
    "customer.created",
    "checkout.session.completed",
    "customer.updated",
    "customer.subscription.created",
    "payment_intent.succeeded",
    "payment_intent.created",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
]
CATALOGUE = 3  # product.created, price.created, plan.created


def test_a_paid_subscription_session_gives_customer_subscription_and_invoice(api: Api) -> None:
    price = create_price(api, 1299)
    session = create_session(
        api, price["id"], metadata={"user": "7"}, subscription_data={"metadata": {"plan": "maker"}}
    )
    assert (session["status"], session["payment_status"], session["amount_total"]) == ("open", "unpaid", 1299)
    page = pay_on_page(session)
    assert page.headers["Location"] == f"https://shop.example/done?session_id={session['id']}"
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["subscription", "invoice", "customer"])
    assert (done["status"], done["payment_status"], done["url"], done["payment_intent"]) == (
        "complete",
        "paid",
        None,
        None,
    )
    assert done["customer_details"]["email"] == done["customer"]["email"] == "dana@example.com"
    subscription, invoice = done["subscription"], done["invoice"]
    assert (subscription["status"], subscription["metadata"]) == ("active", {"plan": "maker"})
    assert subscription["default_payment_method"].startswith("pm_")
    assert "current_period_end" not in subscription
    item = subscription["items"]["data"][0]
    assert item["current_period_start"] == subscription["billing_cycle_anchor"]
    assert 28 * 86400 <= item["current_period_end"] - item["current_period_start"] <= 31 * 86400
    assert (invoice["status"], invoice["billing_reason"], invoice["amount_paid"], invoice["attempt_count"]) == (
        "paid",
        "subscription_create",
        1299,
        1,
    )
    assert invoice["period_start"] == invoice["period_end"] == invoice["created"]
    assert (invoice["auto_advance"], invoice["number"]) == (False, f"{done['customer']['invoice_prefix']}-0001")
    assert invoice["parent"]["subscription_details"] == {
        "metadata": {"plan": "maker"},
        "subscription": subscription["id"],
    }
    assert invoice["lines"]["data"][0]["description"] == "1 × Maker (at $12.99 / month)"


def test_the_events_of_a_paid_subscription_come_in_the_recorded_order(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session)
    assert event_types(api, CATALOGUE) == PAID_SUBSCRIPTION
    by_type = {event["type"]: event["data"]["object"] for event in api.all_events()}
    assert by_type["customer.subscription.created"]["status"] == "active"
    assert by_type["invoice.created"]["status"] == "draft"
    assert by_type["invoice.finalized"]["status"] == "open"
    assert by_type["customer.created"]["currency"] is None
    assert by_type["customer.updated"]["currency"] == "usd"


def test_a_one_time_session_gives_a_payment_and_no_invoice(api: Api) -> None:
    price = create_price(api, 5000, interval=None)
    session = create_session(
        api,
        price["id"],
        mode="payment",
        line_items=[{"price": price["id"], "quantity": 2}],
        payment_intent_data={"metadata": {"pack": "big"}},
        client_reference_id="user-7",
    )
    pay_on_page(session)
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["payment_intent.latest_charge"])
    intent = done["payment_intent"]
    assert (done["customer"], done["invoice"], done["client_reference_id"]) == (None, None, "user-7")
    assert (intent["amount"], intent["status"], intent["metadata"]) == (10000, "succeeded", {"pack": "big"})
    assert intent["latest_charge"]["receipt_url"].startswith("http")
    assert event_types(api, 2) == [
        "charge.succeeded",
        "payment_intent.succeeded",
        "payment_intent.created",
        "checkout.session.completed",
        "charge.updated",
    ]
    # 10000 less the fee of 2.9 % and 30: 10000 - 290 - 30
    assert api.get("/v1/balance")["pending"][0]["amount"] == 9680


def test_a_one_time_session_makes_a_customer_when_asked(api: Api) -> None:
    session = create_session(
        api, create_price(api, 500, interval=None)["id"], mode="payment", customer_creation="always"
    )
    pay_on_page(session)
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert api.get(f"/v1/customers/{done['customer']}")["name"] == "Dana Example"


def test_an_existing_customer_is_used_and_not_renamed(api: Api) -> None:
    customer = api.post("/v1/customers", email="known@example.com", name="Known")
    session = create_session(api, create_price(api)["id"], customer=customer["id"])
    pay_on_page(session, email="evil@example.com")
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    after = api.get(f"/v1/customers/{customer['id']}")
    assert (done["customer"], after["email"], after["name"]) == (customer["id"], "known@example.com", "Known")
    assert done["customer_details"]["email"] == "known@example.com"
    assert "customer.created" not in event_types(api, CATALOGUE + 1)


def test_a_price_made_on_the_spot_is_inactive(api: Api) -> None:
    data = {"currency": "eur", "unit_amount": 700, "product_data": {"name": "Pack"}}
    session = create_session(api, "", mode="payment", line_items=[{"price_data": data, "quantity": 1}])
    assert (session["amount_total"], session["currency"]) == (700, "eur")
    item = api.get(f"/v1/checkout/sessions/{session['id']}/line_items")["data"][0]
    assert (item["description"], item["price"]["active"]) == ("Pack", False)


def test_yen_have_no_decimals(api: Api) -> None:
    data = {"currency": "jpy", "unit_amount": 1500, "product_data": {"name": "Pack"}}
    session = create_session(api, "", mode="payment", line_items=[{"price_data": data, "quantity": 1}])
    pay_on_page(session)
    assert api.get("/v1/charges")["data"][0]["amount"] == 1500
    charge = api.get("/v1/charges")["data"][0]["id"]
    error = api.post("/v1/refunds", 400, charge=charge, amount=2000)["error"]
    assert "(¥2,000)" in error["message"] and "(¥1,500)" in error["message"]


def test_a_trial_starts_without_payment(api: Api) -> None:
    session = create_session(api, create_price(api)["id"], subscription_data={"trial_period_days": 7})
    assert session["amount_total"] == 0
    pay_on_page(session)
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["subscription", "invoice"])
    subscription = done["subscription"]
    assert (done["payment_status"], subscription["status"]) == ("no_payment_required", "trialing")
    assert subscription["trial_end"] == subscription["created"] + 7 * 86400 == subscription["billing_cycle_anchor"]
    assert subscription["items"]["data"][0]["current_period_end"] == subscription["trial_end"]
    assert (done["invoice"]["total"], done["invoice"]["status"]) == (0, "paid")
    assert done["invoice"]["lines"]["data"][0]["description"] == "Free trial for 1 × Maker"
    assert api.get("/v1/charges")["data"] == []


@pytest.mark.parametrize("number", ["4000000000000002", "4000000000009995"])
def test_a_declined_card_leaves_the_session_open_and_no_subscription(api: Api, number: str) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber=number)
    after = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert (after["status"], after["payment_status"], after["url"]) == ("open", "unpaid", session["url"])
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    assert api.get("/v1/invoices")["data"] == []
    assert api.get("/v1/customers")["data"] == []
    assert event_types(api, CATALOGUE) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def test_after_a_decline_the_same_session_can_be_paid(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000000000000002")
    assert pay_on_page(session).status_code == 303
    assert [charge["status"] for charge in api.get("/v1/charges")["data"]] == ["succeeded", "failed"]
    assert len(api.get("/v1/payment_intents")["data"]) == 1
    assert len(api.get("/v1/subscriptions")["data"]) == 1


def test_authentication_that_is_abandoned_leaves_nothing(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    assert event_types(api, CATALOGUE) == ["payment_intent.created", "payment_intent.requires_action"]
    assert api.get("/v1/subscriptions", status="all")["data"] == []
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"


def test_authentication_that_is_passed_completes_the_session_once(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    httpx.post(session["url"] + "/authenticate", data={"result": "complete"})
    httpx.post(session["url"] + "/authenticate", data={"result": "complete"})
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "complete"
    assert len(api.get("/v1/charges")["data"]) == 1
    after = [kind for kind in PAID_SUBSCRIPTION if kind != "payment_intent.created"]
    assert event_types(api, CATALOGUE + 2) == after


def test_authentication_that_fails_leaves_the_session_open(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    httpx.post(session["url"] + "/authenticate", data={"result": "fail"})
    assert event_types(api)[-1] == "payment_intent.payment_failed"
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"
    assert api.get("/v1/subscriptions", status="all")["data"] == []


def test_the_intent_of_a_session_is_left_to_its_page(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    (intent,) = api.get("/v1/payment_intents")["data"]
    assert intent["next_action"]["redirect_to_url"]["url"] == session["url"] + "/authenticate"
    for action in ("confirm", "cancel"):
        api.post(f"/v1/payment_intents/{intent['id']}/{action}", 400)
    answer = httpx.post(f"{api.url}/_sandbox/api/payment_intents/{intent['id']}/authenticate", json={"success": True})
    assert answer.status_code == 400
    assert api.get(f"/v1/payment_intents/{intent['id']}") == intent


def test_another_card_takes_the_place_of_one_that_waits(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    pay_on_page(session, cardNumber="4000002500003155")
    pay_on_page(session, cardNumber="4000000000000002")
    httpx.post(session["url"] + "/authenticate", data={"result": "complete"})
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"
    assert [charge["status"] for charge in api.get("/v1/charges")["data"]] == ["failed"]


def test_a_session_whose_customer_was_deleted_cannot_be_paid(api: Api) -> None:
    customer = api.post("/v1/customers", email="a@example.com")
    session = create_session(api, create_price(api)["id"], customer=customer["id"])
    api.delete(f"/v1/customers/{customer['id']}")
    assert pay_on_page(session).status_code == 400
    assert api.get("/v1/charges")["data"] == []


def test_expiring_a_session_ends_it_with_an_event(api: Api) -> None:
    session = create_session(api, create_price(api)["id"])
    expired = api.post(f"/v1/checkout/sessions/{session['id']}/expire")
    assert (expired["status"], expired["url"]) == ("expired", None)
    assert event_types(api, CATALOGUE) == ["checkout.session.expired"]
    error = api.post(f"/v1/checkout/sessions/{session['id']}/expire", 400)["error"]
    assert 'status in ["open"]' in error["message"] and "`expired`" in error["message"]
    pay_on_page(session)
    assert api.get("/v1/subscriptions", status="all")["data"] == []


def wrong(name: str, **params: Any) -> Any:
    return pytest.param(params, id=name)


@pytest.mark.parametrize(
    "params",
    [
        wrong("no mode", mode=None),
        wrong("setup mode", mode="setup"),
        wrong("payment mode with a recurring price", mode="payment"),
        wrong("unknown price", line_items=[{"price": "price_x", "quantity": 1}]),
        wrong("no line items", line_items=None),
        wrong("no quantity", line_items=[{"price": "PRICE"}]),
        wrong("quantity of none", line_items=[{"price": "PRICE", "quantity": 0}]),
        wrong("no success url", success_url=None),
        wrong("success url that is none", success_url="shop"),
        wrong("unknown customer", customer="cus_x"),
        wrong("customer and email", customer="CUSTOMER", customer_email="a@example.com"),
        wrong("expires too soon", expires_at="SOON"),
        wrong("expires too late", expires_at="LATE"),
        wrong("discounts, which come later", discounts=[{"coupon": "x"}]),
        wrong("payment_intent_data for a subscription", payment_intent_data={"description": "x"}),
        wrong("customer_creation for a subscription", customer_creation="always"),
        wrong("other payment methods", payment_method_types=["sepa_debit"]),
    ],
)
def test_a_session_is_refused_and_not_made(api: Api, params: dict[str, Any]) -> None:
    price, customer = create_price(api)["id"], api.post("/v1/customers")["id"]
    now = int(time.time())
    stand_ins = {"CUSTOMER": customer, "SOON": now + 60, "LATE": now + 30 * 3600}
    wanted = {
        "mode": "subscription",
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "https://shop.example/done",
        **{name: stand_ins.get(value, value) if isinstance(value, str) else value for name, value in params.items()},
    }
    for line in wanted["line_items"] or []:
        line["price"] = price if line["price"] == "PRICE" else line["price"]
    before = len(event_types(api))
    assert api.post("/v1/checkout/sessions", 400, **wanted)["error"]["type"] == "invalid_request_error"
    assert api.get("/v1/checkout/sessions")["data"] == []
    assert len(event_types(api)) == before


def test_an_inactive_price_is_refused(api: Api) -> None:
    price = create_price(api)["id"]
    api.post(f"/v1/prices/{price}", active=False)
    error = api.post(
        "/v1/checkout/sessions",
        400,
        mode="subscription",
        line_items=[{"price": price, "quantity": 1}],
        success_url="https://shop.example/done",
    )["error"]
    assert error["param"] == "line_items[0][price]"


def test_a_customers_credit_pays_part_of_the_first_invoice(api: Api) -> None:
    customer = api.post("/v1/customers", email="a@example.com", balance=-500)
    session = create_session(api, create_price(api, 2000)["id"], customer=customer["id"])
    pay_on_page(session)
    invoice = api.get("/v1/invoices")["data"][0]
    assert (invoice["total"], invoice["amount_due"], invoice["amount_paid"]) == (2000, 1500, 1500)
    assert api.get("/v1/charges")["data"][0]["amount"] == 1500
    assert api.get(f"/v1/customers/{customer['id']}")["balance"] == 0


def test_a_customer_without_a_default_card_subscribes_again(api: Api) -> None:
    customer = make_customer(api)
    for amount in (1000, 3000):
        pay_on_page(create_session(api, create_price(api, amount)["id"], customer=customer["id"]))
    numbers = [invoice["number"] for invoice in api.get("/v1/invoices", customer=customer["id"])["data"]]
    assert numbers == [f"{customer['invoice_prefix']}-0002", f"{customer['invoice_prefix']}-0001"]
