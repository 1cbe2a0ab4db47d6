"""Cards saved for later: setup intents, the default card, expiry, and the cards that ask for their holder."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.sandbox.lives import control, event_types, latest_invoice, make_customer, start
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page


def save(api: Api, card: str = "pm_card_visa", expect: int = 200, **params: Any) -> Any:
    return api.post("/v1/setup_intents", expect, confirm=True, payment_method=card, **params)


def test_a_card_is_saved_and_pays_off_session(api: Api) -> None:
    customer = api.post("/v1/customers")["id"]
    before = len(event_types(api))
    intent = save(api, customer=customer, metadata={"a": "b"}, expand=["payment_method", "latest_attempt"])
    assert (intent["status"], intent["usage"], intent["payment_method"]["customer"]) == (
        "succeeded",
        "off_session",
        customer,
    )
    assert intent["latest_attempt"]["status"] == "succeeded"
    assert event_types(api, before) == ["setup_intent.created", "payment_method.attached", "setup_intent.succeeded"]
    paid = api.post(
        "/v1/payment_intents",
        amount=900,
        currency="usd",
        customer=customer,
        payment_method=intent["payment_method"]["id"],
        off_session=True,
        confirm=True,
    )
    assert paid["status"] == "succeeded"


def test_a_card_that_declines_is_not_saved_and_another_one_can_be(api: Api) -> None:
    customer = api.post("/v1/customers")["id"]
    error = save(api, "pm_card_chargeDeclined", 402, customer=customer)["error"]
    assert (error["code"], error["setup_intent"]["status"]) == ("card_declined", "requires_payment_method")
    intent = api.get(f"/v1/setup_intents/{error['setup_intent']['id']}")
    assert intent["last_setup_error"]["code"] == "card_declined"
    assert api.get("/v1/payment_methods", customer=customer)["data"] == []
    assert event_types(api)[-1] == "setup_intent.setup_failed"
    again = api.post(f"/v1/setup_intents/{intent['id']}/confirm", payment_method="pm_card_visa")
    assert (again["status"], again["last_setup_error"]) == ("succeeded", None)
    attempts = api.get("/v1/setup_attempts", setup_intent=intent["id"])["data"]
    assert [each["status"] for each in attempts] == ["succeeded", "failed"]


@pytest.mark.parametrize("success", [True, False])
def test_a_card_asks_for_authentication_once_and_then_pays_without(api: Api, success: bool) -> None:
    customer = api.post("/v1/customers")["id"]
    intent = save(api, "pm_card_authenticationRequiredOnSetup", customer=customer)
    assert (intent["status"], intent["next_action"]["type"]) == ("requires_action", "redirect_to_url")
    page = httpx.get(intent["next_action"]["redirect_to_url"]["url"])
    assert "Confirm this card" in page.text
    httpx.post(str(page.url), data={"result": "complete" if success else "fail"})
    after = api.get(f"/v1/setup_intents/{intent['id']}")
    if not success:
        assert after["status"] == "requires_payment_method"
        assert after["last_setup_error"]["code"] == "setup_intent_authentication_failure"
        return
    assert after["status"] == "succeeded"
    assert [each["status"] for each in api.get("/v1/setup_attempts", setup_intent=intent["id"])["data"]] == [
        "succeeded"
    ]
    paid = api.post(
        "/v1/payment_intents",
        amount=900,
        currency="usd",
        customer=customer,
        payment_method=after["payment_method"],
        off_session=True,
        confirm=True,
    )
    assert paid["status"] == "succeeded"


def test_a_setup_intent_is_changed_and_canceled_while_open_only(api: Api) -> None:
    intent = api.post("/v1/setup_intents", usage="on_session", description="Later")
    path = f"/v1/setup_intents/{intent['id']}"
    assert intent["status"] == "requires_payment_method"
    api.post(f"{path}/confirm", 400)
    changed = api.post(path, payment_method="pm_card_visa", metadata={"a": "b"})
    assert changed["status"] == "requires_confirmation"
    assert api.post(f"{path}/cancel", cancellation_reason="abandoned")["status"] == "canceled"
    assert api.post(f"{path}/confirm", 400)["error"]["code"] == "setup_intent_unexpected_state"
    assert event_types(api) == ["setup_intent.created", "setup_intent.canceled"]
    api.get("/v1/setup_intents/seti_x", 404)


def test_a_switch_authenticates_a_setup(api: Api) -> None:
    intent = save(api, "pm_card_threeDSecure2Required", customer=api.post("/v1/customers")["id"])
    assert control(api, f"setup_intents/{intent['id']}/authenticate", success=True)["status"] == "succeeded"


def test_a_trial_at_checkout_saves_the_card_with_a_setup_intent(api: Api) -> None:
    session = create_session(api, create_price(api)["id"], subscription_data={"trial_period_days": 7})
    assert pay_on_page(session).status_code == 303
    (intent,) = api.get("/v1/setup_intents")["data"]
    assert intent["status"] == "succeeded"
    assert event_types(api).count("payment_method.attached") == 1


def test_an_expired_card_declines_until_the_network_renews_it(api: Api) -> None:
    subscription = start(api, 2000)
    customer = api.get(f"/v1/customers/{subscription['customer']}")
    method = customer["invoice_settings"]["default_payment_method"]
    control(api, f"payment_methods/{method}/expire")
    control(api, f"subscriptions/{subscription['id']}/renew", outcome="card")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "past_due"
    (failed, _) = api.get("/v1/charges")["data"]
    assert failed["failure_code"] == "expired_card"
    control(api, f"payment_methods/{method}/renew")
    assert "payment_method.automatically_updated" in event_types(api)
    api.post(f"/v1/invoices/{latest_invoice(api, subscription)['id']}/pay")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"


def test_a_cards_expiry_can_be_changed_but_not_into_the_past(api: Api) -> None:
    method = make_customer(api)["invoice_settings"]["default_payment_method"]
    path = f"/v1/payment_methods/{method}"
    assert api.post(path, card={"exp_month": 3, "exp_year": 2040})["card"]["exp_year"] == 2040
    assert api.post(path, 402, card={"exp_year": 2001})["error"]["code"] == "invalid_expiry_year"
    assert api.get(path)["card"]["exp_year"] == 2040


@pytest.mark.parametrize(
    "name",
    ["visa", "visa_debit", "mastercard", "mastercard_debit", "mastercard_prepaid", "amex", "discover", "diners", "jcb",
     "unionpay"],
)  # fmt: skip
def test_every_brand_has_a_card_that_pays(client: stripe.StripeClient, name: str) -> None:
    intent = client.v1.payment_intents.create(
        {"amount": 2000, "currency": "usd", "confirm": True, "payment_method": f"pm_card_{name}"}
    )
    assert intent.status == "succeeded"


def test_tokens_make_cards(api: Api) -> None:
    customer = api.post("/v1/customers")["id"]
    good = api.post("/v1/payment_methods", type="card", card={"token": "tok_visa"})["id"]
    api.post(f"/v1/payment_methods/{good}/attach", customer=customer)
    bad = api.post("/v1/payment_methods", type="card", card={"token": "tok_chargeDeclined"})["id"]
    assert api.post(f"/v1/payment_methods/{bad}/attach", 402, customer=customer)["error"]["code"] == "card_declined"
    api.post("/v1/payment_methods", 400, type="card", card={"token": "tok_nonsense"})


def test_the_card_that_pays_first_becomes_the_subscriptions_default_when_asked(api: Api) -> None:
    customer = api.post("/v1/customers")["id"]
    subscription = api.post(
        "/v1/subscriptions",
        customer=customer,
        items=[{"price": create_price(api)["id"]}],
        payment_behavior="default_incomplete",
        payment_settings={"save_default_payment_method": "on_subscription"},
        expand=["latest_invoice.payments"],
    )
    (payment,) = subscription["latest_invoice"]["payments"]["data"]
    path = f"/v1/payment_intents/{payment['payment']['payment_intent']}/confirm"
    paid = api.post(path, payment_method="pm_card_visa")
    after = api.get(f"/v1/subscriptions/{subscription['id']}")
    assert (after["status"], after["default_payment_method"]) == ("active", paid["payment_method"])


def test_a_trial_without_a_card_offers_a_setup_intent_that_brings_one(api: Api) -> None:
    customer = api.post("/v1/customers")["id"]
    wanted: dict[str, Any] = {
        "customer": customer,
        "items": [{"price": create_price(api)["id"]}],
        "trial_period_days": 14,
    }
    saves = {"save_default_payment_method": "on_subscription"}
    trial = api.post("/v1/subscriptions", **wanted, payment_settings=saves, expand=["pending_setup_intent"])
    offered = trial["pending_setup_intent"]
    assert (offered["status"], offered["customer"], offered["usage"]) == (
        "requires_payment_method", customer, "off_session"
    )  # fmt: skip
    since = len(api.all_events())
    api.post(f"/v1/setup_intents/{offered['id']}/confirm", 402, payment_method="pm_card_chargeDeclined")
    assert api.get(f"/v1/subscriptions/{trial['id']}")["pending_setup_intent"] == offered["id"]
    done = api.post(f"/v1/setup_intents/{offered['id']}/confirm", payment_method="pm_card_visa")
    after = api.get(f"/v1/subscriptions/{trial['id']}")
    assert (after["pending_setup_intent"], after["default_payment_method"]) == (None, done["payment_method"])
    assert event_types(api, since)[-3:] == [
        "payment_method.attached", "setup_intent.succeeded", "customer.subscription.updated"
    ]  # fmt: skip


def test_a_trial_whose_card_asks_for_authentication_waits_for_it_and_one_with_a_good_card_for_nothing(api: Api) -> None:
    good = start(api, trial_period_days=14)
    assert good["pending_setup_intent"] is None
    careful = start(api, card="pm_card_authenticationRequired", trial_period_days=14)
    assert careful["status"] == "trialing"
    waiting = api.get(f"/v1/setup_intents/{careful['pending_setup_intent']}")
    assert waiting["status"] == "requires_action"
    control(api, f"setup_intents/{waiting['id']}/authenticate", success=True)
    assert api.get(f"/v1/subscriptions/{careful['id']}")["pending_setup_intent"] is None


def test_a_resume_that_is_not_paid_offers_a_setup_intent(api: Api) -> None:
    subscription = start(api)
    path = f"/v1/subscriptions/{subscription['id']}"
    control(api, f"subscriptions/{subscription['id']}/pause")
    (method,) = api.get(f"/v1/customers/{subscription['customer']}/payment_methods")["data"]
    api.post(f"/v1/payment_methods/{method['id']}/detach")
    resumed = api.post(f"{path}/resume")
    assert (resumed["status"], resumed["pending_update"] is None) == ("paused", False)
    assert api.get(f"/v1/setup_intents/{resumed['pending_setup_intent']}")["status"] == "requires_payment_method"
