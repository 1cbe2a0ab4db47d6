"""SEPA direct debits: paid or failed days later, by switch or by clock, and what that means for sessions and invoices."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import control, event_types, latest_invoice
from tests.sandbox.stripe_api import CARD, Api, create_session

PAYS, FAILS = "AT611904300234573201", "AT86 1904 3002 3547 3202"
KINDS = ["card", "sepa_debit"]


def euro_price(api: Api, amount: int = 2500, interval: str | None = "month") -> str:
    product = api.post("/v1/products", name="Maker")["id"]
    recurring = {"interval": interval} if interval else None
    price: str = api.post("/v1/prices", product=product, currency="eur", unit_amount=amount, recurring=recurring)["id"]
    return price


def debit_on_page(session: Any, iban: str) -> httpx.Response:
    fields = {name: value for name, value in CARD.items() if not name.startswith("card")}
    return httpx.post(session["url"], data={**fields, "iban": iban}, timeout=20)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_debited_session_is_complete_but_unpaid_until_the_bank_answers(api: Api, outcome: str) -> None:
    session = create_session(api, euro_price(api, 2500, None), mode="payment", payment_method_types=KINDS)
    assert "IBAN" in httpx.get(session["url"]).text
    assert debit_on_page(session, PAYS).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    intent = api.get(f"/v1/payment_intents/{done['payment_intent']}")
    charge = api.get(f"/v1/charges/{intent['latest_charge']}")
    assert (intent["status"], charge["status"], charge["paid"]) == ("processing", "pending", False)
    assert {"charge.pending", "payment_intent.processing", "checkout.session.completed"} <= set(event_types(api))
    api.post("/v1/refunds", 400, charge=charge["id"])
    before = len(event_types(api))
    control(api, f"payment_intents/{intent['id']}/settle", outcome=outcome)
    paid = outcome == "succeeded"
    assert event_types(api, before) == (
        ["charge.succeeded", "payment_intent.succeeded", "checkout.session.async_payment_succeeded"]
        if paid
        else ["charge.failed", "payment_intent.payment_failed", "checkout.session.async_payment_failed"]
    )
    after = api.get(f"/v1/checkout/sessions/{session['id']}")
    assert after["payment_status"] == ("paid" if paid else "unpaid")
    # 2500 less 2.9 % (72) and 30, once the money is there
    assert [e["net"] for e in api.get("/v1/balance_transactions")["data"]] == ([2398] if paid else [])
    assert (
        httpx.post(
            f"{api.url}/_sandbox/api/payment_intents/{intent['id']}/settle", json={"outcome": "failed"}
        ).status_code
        == 400
    )


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_debited_subscription_runs_while_its_first_invoice_waits(api: Api, outcome: str) -> None:
    session = create_session(api, euro_price(api), payment_method_types=KINDS)
    assert debit_on_page(session, PAYS).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["subscription", "invoice"])
    subscription = done["subscription"]
    assert (done["payment_status"], subscription["status"], done["invoice"]["status"]) == ("unpaid", "active", "open")
    (payment,) = api.get("/v1/invoice_payments", invoice=done["invoice"]["id"])["data"]
    control(api, f"payment_intents/{payment['payment']['payment_intent']}/settle", outcome=outcome)
    now = api.get(f"/v1/subscriptions/{subscription['id']}")["status"]
    invoice = latest_invoice(api, subscription)
    if outcome == "succeeded":
        assert (now, invoice["status"], invoice["amount_paid"]) == ("active", "paid", 2500)
    else:
        assert (now, invoice["status"], invoice["attempt_count"]) == ("past_due", "open", 1)


def test_a_debit_is_made_by_the_api_and_renews(api: Api) -> None:
    customer = api.post("/v1/customers")["id"]
    method = api.post(
        "/v1/payment_methods", type="sepa_debit", sepa_debit={"iban": PAYS}, billing_details={"name": "D"}
    )
    assert (method["sepa_debit"]["last4"], method["sepa_debit"]["country"]) == ("3201", "AT")
    api.post(f"/v1/payment_methods/{method['id']}/attach", customer=customer)
    subscription = api.post(
        "/v1/subscriptions",
        customer=customer,
        items=[{"price": euro_price(api)}],
        default_payment_method=method["id"],
    )
    assert (subscription["status"], latest_invoice(api, subscription)["status"]) == ("active", "open")
    control(api, f"subscriptions/{subscription['id']}/renew", outcome="card")
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"
    assert [each["status"] for each in api.get("/v1/charges", customer=customer)["data"]] == ["pending", "pending"]


def test_a_debit_comes_out_by_itself_as_its_account_has_it(api: Api) -> None:
    clock = api.post("/v1/test_helpers/test_clocks", frozen_time=1_800_000_000)
    customer = api.post("/v1/customers", test_clock=clock["id"])["id"]
    method = api.post("/v1/payment_methods", type="sepa_debit", sepa_debit={"iban": FAILS})["id"]
    api.post(f"/v1/payment_methods/{method}/attach", customer=customer)
    intent = api.post(
        "/v1/payment_intents",
        amount=2500,
        currency="eur",
        customer=customer,
        payment_method=method,
        payment_method_types=["sepa_debit"],
        confirm=True,
    )
    assert intent["status"] == "processing"
    path = f"/v1/test_helpers/test_clocks/{clock['id']}"
    api.post(f"{path}/advance", frozen_time=1_800_000_000 + 6 * 86400)
    for _ in range(100):
        if api.get(path)["status"] == "ready":
            break
    failed = api.get(f"/v1/payment_intents/{intent['id']}")
    assert (failed["status"], failed["last_payment_error"]["code"]) == ("requires_payment_method", "insufficient_funds")


def test_only_test_accounts_in_euros_are_debited(api: Api) -> None:
    assert (
        api.post("/v1/payment_methods", 400, type="sepa_debit", sepa_debit={"iban": "DE00"})["error"]["code"]
        == "invalid_iban"
    )
    method = api.post("/v1/payment_methods", type="sepa_debit", sepa_debit={"iban": PAYS})["id"]
    api.post("/v1/payment_intents", 400, amount=900, currency="usd", payment_method=method, confirm=True)
    assert api.get("/v1/charges")["data"] == []
    session = create_session(api, euro_price(api), payment_method_types=KINDS)
    wrong = debit_on_page(session, "DE00")
    assert wrong.status_code == 402 and "only test account numbers work" in wrong.text
    assert api.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"
