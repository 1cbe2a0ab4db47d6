"""Payment intents, charges, refunds, payment methods and invoices outside of subscriptions."""

from __future__ import annotations

import pytest
import stripe

from tests.sandbox.lives import event_types, make_customer, start
from tests.sandbox.stripe_api import Api, create_price


def pay(api: Api, expect: int = 200, **params: object) -> dict[str, object]:
    wanted = {"amount": 2000, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa", **params}
    answer: dict[str, object] = api.post("/v1/payment_intents", expect, **wanted)
    return answer


def test_an_intent_confirmed_at_once_is_paid(api: Api) -> None:
    intent = pay(api, metadata={"order": "7"})
    assert (intent["status"], intent["amount_received"], intent["capture_method"]) == (
        "succeeded",
        2000,
        "automatic_async",
    )
    assert "invoice" not in intent
    charge = api.get(f"/v1/charges/{intent['latest_charge']}", expand=["balance_transaction"])
    assert (charge["paid"], charge["metadata"]) == (True, {"order": "7"})
    # 2000 * 2.9 % = 58, and 30
    assert (charge["balance_transaction"]["fee"], charge["balance_transaction"]["net"]) == (88, 1912)
    assert event_types(api) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
    ],
)
def test_a_decline_names_the_reason_the_charge_and_the_intent(
    api: Api, card: str, code: str, decline_code: str | None
) -> None:
    error = api.post("/v1/payment_intents", 402, amount=2000, currency="usd", confirm=True, payment_method=card)[
        "error"
    ]
    assert (error["type"], error["code"], error.get("decline_code"), "param" in error) == (
        "card_error",
        code,
        decline_code,
        False,
    )
    intent = api.get(f"/v1/payment_intents/{error['payment_intent']['id']}")
    assert (intent["status"], intent["last_payment_error"]["code"]) == ("requires_payment_method", code)
    charge = api.get(f"/v1/charges/{error['charge']}")
    assert (charge["status"], charge["failure_code"], charge["paid"]) == ("failed", code, False)
    assert event_types(api) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def test_the_sdk_raises_a_card_error(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_intents.create(
            {"amount": 2000, "currency": "usd", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
        )
    assert (refused.value.code, refused.value.http_status) == ("card_declined", 402)


def test_an_intent_is_confirmed_and_canceled_in_the_right_state_only(api: Api) -> None:
    intent = api.post("/v1/payment_intents", amount=2000, currency="usd")
    path = f"/v1/payment_intents/{intent['id']}"
    assert intent["status"] == "requires_payment_method"
    assert api.post(f"{path}/confirm", 400)["error"]["code"] == "payment_intent_unexpected_state"
    assert api.post(f"{path}/confirm", payment_method="pm_card_visa")["status"] == "succeeded"
    error = api.post(f"{path}/cancel", 400)["error"]
    assert (error["code"], "requires_action" in error["message"]) == ("payment_intent_unexpected_state", True)
    other = api.post("/v1/payment_intents", amount=2000, currency="usd")
    canceled = api.post(f"/v1/payment_intents/{other['id']}/cancel", cancellation_reason="abandoned")
    assert (canceled["status"], event_types(api)[-1]) == ("canceled", "payment_intent.canceled")


def test_authentication_can_be_refused_by_the_caller(api: Api) -> None:
    off = pay(api, 402, payment_method="pm_card_authenticationRequired", off_session=True)
    assert off["error"]["code"] == "authentication_required"  # type: ignore[index]
    error = pay(api, 402, payment_method="pm_card_authenticationRequired", error_on_requires_action=True)["error"]
    assert error["decline_code"] == "authentication_not_handled"  # type: ignore[index]


@pytest.mark.parametrize(
    ("params", "param"), [({"amount": 10}, "amount"), ({"amount": None}, "amount"), ({"customer": "cus_x"}, "customer")]
)
def test_an_intent_is_refused_and_nothing_is_written(api: Api, params: dict[str, object], param: str) -> None:
    assert pay(api, 400, **params)["error"]["param"] == param  # type: ignore[index]
    assert event_types(api) == []


def test_an_unknown_intent_blames_the_parameter_intent(api: Api) -> None:
    error = api.get("/v1/payment_intents/pi_x", 404)["error"]
    assert (error["param"], error["message"]) == ("intent", "No such payment_intent: 'pi_x'")


def test_refunds_add_up_and_only_the_full_one_marks_the_charge(api: Api) -> None:
    intent = pay(api, amount=7000)
    first = api.post("/v1/refunds", payment_intent=intent["id"], amount=4000, reason="requested_by_customer")
    charge = api.get(f"/v1/charges/{intent['latest_charge']}")
    assert (first["status"], charge["amount_refunded"], charge["refunded"]) == ("succeeded", 4000, False)
    error = api.post("/v1/refunds", 400, charge=charge["id"], amount=4000)["error"]
    assert error["message"] == ("Refund amount ($40.00) is greater than unrefunded amount on charge ($30.00)")
    assert error["param"] == "amount"
    api.post("/v1/refunds", charge=charge["id"])
    charge = api.get(f"/v1/charges/{charge['id']}", expand=["refunds"])
    assert (charge["amount_refunded"], charge["refunded"]) == (7000, True)
    assert [refund["amount"] for refund in charge["refunds"]["data"]] == [3000, 4000]
    assert api.get(f"/v1/payment_intents/{intent['id']}")["status"] == "succeeded"
    error = api.post("/v1/refunds", 400, charge=charge["id"])["error"]
    assert (error["code"], error["message"]) == (
        "charge_already_refunded",
        f"Charge {charge['id']} has already been refunded.",
    )
    assert event_types(api, 3) == ["refund.created", "charge.refunded"] * 2
    assert len(api.get("/v1/refunds", payment_intent=intent["id"])["data"]) == 2


def test_a_refund_changes_neither_subscription_nor_invoice(api: Api) -> None:
    subscription = start(api, 2000)
    charge = api.get("/v1/charges")["data"][0]
    invoice = api.get(f"/v1/invoices/{subscription['latest_invoice']}")
    api.post("/v1/refunds", charge=charge["id"])
    assert api.get(f"/v1/subscriptions/{subscription['id']}") == subscription
    assert api.get(f"/v1/invoices/{invoice['id']}") == invoice


def test_a_failed_charge_cannot_be_refunded(api: Api) -> None:
    error = pay(api, 402, payment_method="pm_card_chargeDeclined")["error"]
    api.post("/v1/refunds", 400, charge=error["charge"])  # type: ignore[index]
    assert api.get("/v1/refunds")["data"] == []
    api.post("/v1/refunds", 400)


def test_cards_that_decline_cannot_be_attached(api: Api) -> None:
    customer = api.post("/v1/customers")
    error = api.post("/v1/payment_methods/pm_card_chargeDeclined/attach", 402, customer=customer["id"])["error"]
    assert error["code"] == "card_declined"
    assert api.get("/v1/payment_methods", customer=customer["id"])["data"] == []


def test_detaching_takes_the_default_away(api: Api) -> None:
    customer = make_customer(api)
    method = customer["invoice_settings"]["default_payment_method"]
    assert api.post(f"/v1/payment_methods/{method}/detach")["customer"] is None
    assert api.get(f"/v1/customers/{customer['id']}")["invoice_settings"]["default_payment_method"] is None
    api.post(f"/v1/payment_methods/{method}/detach", 400)


@pytest.mark.parametrize(
    ("number", "code"), [("4242424242424241", "incorrect_number"), ("4111111111111111", "card_declined")]
)
def test_numbers_that_are_no_test_cards_are_refused(api: Api, number: str, code: str) -> None:
    card = {"number": number, "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    assert api.post("/v1/payment_methods", 402, type="card", card=card)["error"]["code"] == code


def test_a_manual_invoice_bills_pending_items_once(api: Api) -> None:
    customer = make_customer(api)
    price = create_price(api, 250, interval=None)
    api.post("/v1/invoiceitems", customer=customer["id"], amount=1000, currency="usd", description="Setup")
    api.post("/v1/invoiceitems", customer=customer["id"], pricing={"price": price["id"]}, quantity=4)
    invoice = api.post("/v1/invoices", customer=customer["id"], pending_invoice_items_behavior="include")
    # 1000 + 4 * 250
    assert (invoice["status"], invoice["amount_due"]) == ("draft", 2000)
    assert api.post(f"/v1/invoices/{invoice['id']}/finalize")["status"] == "open"
    assert api.post(f"/v1/invoices/{invoice['id']}/pay")["amount_paid"] == 2000
    api.post(f"/v1/invoices/{invoice['id']}/void", 400)
    again = api.post("/v1/invoices", customer=customer["id"], pending_invoice_items_behavior="include")
    assert again["total"] == 0
    assert api.delete(f"/v1/invoices/{again['id']}")["deleted"] is True


def test_a_voided_invoice_cannot_be_paid(api: Api) -> None:
    subscription = start(api, card="pm_card_chargeCustomerFail")
    invoice = subscription["latest_invoice"]
    assert api.post(f"/v1/invoices/{invoice}/void")["status"] == "void"
    api.post(f"/v1/invoices/{invoice}/pay", 400, payment_method="pm_card_visa")
    assert "invoice.voided" in event_types(api)
