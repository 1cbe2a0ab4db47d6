"""Checkout in setup mode: a card is saved on the hosted page, and nothing is bought."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import event_types
from tests.sandbox.stripe_api import CARD, Api, create_price, pay_on_page, visible_text


def open_setup(api: Api, expect: int = 200, **params: Any) -> Any:
    wanted = {
        "mode": "setup",
        "currency": "usd",
        "success_url": "https://shop.example/saved?session_id={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/back",
        **params,
    }
    return api.post("/v1/checkout/sessions", expect, **wanted)


def test_a_card_is_saved_for_a_known_customer_and_nothing_is_charged(api: Api) -> None:
    customer = api.post("/v1/customers", email="dana@example.com")["id"]
    session = open_setup(api, customer=customer, setup_intent_data={"metadata": {"for": "renewals"}})
    assert (session["amount_total"], session["amount_subtotal"], session["currency"]) == (None, None, "usd")
    assert (session["status"], session["payment_status"]) == ("open", "no_payment_required")
    intent = api.get(f"/v1/setup_intents/{session['setup_intent']}")
    assert (intent["status"], intent["customer"]) == ("requires_payment_method", customer)
    assert intent["metadata"] == {"for": "renewals"}
    page = visible_text(httpx.get(session["url"]).text)
    assert "Nothing is charged now." in page and "Save card" in page and "$" not in page
    since = len(api.all_events())
    answer = pay_on_page(session)
    assert answer.headers["Location"] == f"https://shop.example/saved?session_id={session['id']}"
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["setup_intent.payment_method"])
    assert (done["status"], done["payment_status"], done["url"]) == ("complete", "no_payment_required", None)
    assert done["setup_intent"]["status"] == "succeeded"
    assert done["setup_intent"]["payment_method"]["customer"] == customer
    assert (done["subscription"], done["payment_intent"], done["invoice"]) == (None, None, None)
    assert event_types(api, since) == [
        "setup_intent.succeeded", "payment_method.attached", "checkout.session.completed"
    ]  # fmt: skip
    assert api.get(f"/v1/customers/{customer}")["invoice_settings"]["default_payment_method"] is None
    assert api.get("/v1/charges")["data"] == []


def test_without_a_customer_one_is_made_only_when_asked_for(api: Api) -> None:
    guest = open_setup(api)
    made = open_setup(api, customer_creation="always", phone_number_collection={"enabled": True})
    assert pay_on_page(guest).status_code == 303
    assert pay_on_page(made, phoneNumber="+49 30 1234567").status_code == 303
    assert api.get(f"/v1/checkout/sessions/{guest['id']}")["customer"] is None
    customer = api.get(f"/v1/checkout/sessions/{made['id']}")["customer"]
    assert api.get(f"/v1/customers/{customer}")["phone"] == "+49301234567"
    (method,) = api.get(f"/v1/customers/{customer}/payment_methods")["data"]
    assert method["card"]["last4"] == "4242"


def test_a_refused_card_leaves_the_session_open_for_another(api: Api) -> None:
    session = open_setup(api, customer=api.post("/v1/customers")["id"])
    answer = pay_on_page(session, cardNumber="4000000000000002")
    assert answer.status_code == 402 and "Your card was declined." in answer.text
    intent = api.get(f"/v1/setup_intents/{session['setup_intent']}")
    assert (intent["status"], intent["last_setup_error"]["decline_code"]) == (
        "requires_payment_method",
        "generic_decline",
    )
    assert event_types(api)[-1] == "setup_intent.setup_failed"
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"
    assert pay_on_page(session).status_code == 303


@pytest.mark.parametrize("result", ["complete", "fail"])
def test_a_card_that_asks_for_authentication_is_saved_after_it(api: Api, result: str) -> None:
    session = open_setup(api, customer=api.post("/v1/customers")["id"])
    answer = pay_on_page(session, cardNumber="4000002500003155")
    assert answer.headers["Location"].endswith("/authenticate")
    assert "save this card" in httpx.get(session["url"] + "/authenticate").text
    assert api.get(f"/v1/setup_intents/{session['setup_intent']}")["status"] == "requires_action"
    after = httpx.post(session["url"] + "/authenticate", data={"result": result})
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["setup_intent"])
    passed = result == "complete"
    assert (after.status_code, done["status"]) == ((303, "complete") if passed else (402, "open"))
    assert done["setup_intent"]["status"] == ("succeeded" if passed else "requires_payment_method")


def test_an_expired_session_cancels_its_setup_which_nothing_else_may(api: Api) -> None:
    session = open_setup(api)
    intent = f"/v1/setup_intents/{session['setup_intent']}"
    api.post(f"{intent}/cancel", 400)
    api.post(f"{intent}/confirm", 400, payment_method="pm_card_visa")
    api.post(f"/v1/checkout/sessions/{session['id']}/expire")
    assert api.get(intent)["status"] == "canceled"
    assert event_types(api)[-2:] == ["checkout.session.expired", "setup_intent.canceled"]
    assert httpx.post(session["url"], data=CARD).status_code == 200
    assert api.get(intent)["payment_method"] is None


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": None}, "currency"),
        ({"line_items": True}, "line_items"),
        ({"allow_promotion_codes": True}, "allow_promotion_codes"),
        ({"subscription_data": {"description": "x"}}, "subscription_data"),
        ({"payment_intent_data": {"description": "x"}}, "payment_intent_data"),
        ({"automatic_tax": {"enabled": True}}, "automatic_tax"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_belongs_to_a_purchase_is_refused(api: Api, params: dict[str, Any], param: str) -> None:
    if "line_items" in params:
        params = {"line_items": [{"price": create_price(api)["id"], "quantity": 1}]}
    since = len(api.all_events())
    assert open_setup(api, 400, **params)["error"]["param"] == param
    assert event_types(api, since) == [] and api.get("/v1/checkout/sessions")["data"] == []
