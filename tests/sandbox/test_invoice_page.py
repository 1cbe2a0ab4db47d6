"""The hosted invoice page: an open invoice can be paid there, once, also with a card that asks for authentication."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.sandbox.stripe_api import CARD, Api, subscribe, visible_text


def fail_renewal(api: Api) -> tuple[Any, Any]:
    """Make a subscription whose renewal was declined; returns it with its open invoice."""
    subscription = subscribe(api)
    url = f"{api.url}/_sandbox/api/subscriptions/{subscription['id']}/renew"
    httpx.post(url, json={"outcome": "declined"}).raise_for_status()
    subscription = api.get(f"/v1/subscriptions/{subscription['id']}")
    assert subscription["status"] == "past_due"
    return subscription, api.get(f"/v1/invoices/{subscription['latest_invoice']}")


def pay(invoice: Any, number: str = "5555 5555 5555 4444") -> httpx.Response:
    return httpx.post(invoice["hosted_invoice_url"], data={**CARD, "cardNumber": number}, timeout=20)


def test_an_open_invoice_is_paid_on_its_page_and_the_subscription_recovers(api: Api) -> None:
    subscription, invoice = fail_renewal(api)
    assert "Pay $12.99" in visible_text(httpx.get(invoice["hosted_invoice_url"]).text)
    answer = pay(invoice)
    assert answer.status_code == 303
    page = visible_text(httpx.get(invoice["hosted_invoice_url"]).text)
    assert "Paid on" in page and "Pay $12.99" not in page
    assert api.get(f"/v1/invoices/{invoice['id']}")["status"] == "paid"
    after = api.get(f"/v1/subscriptions/{subscription['id']}")
    assert after["status"] == "active"
    kept = api.get(f"/v1/payment_methods/{after['default_payment_method']}")
    assert (kept["card"]["last4"], kept["customer"]) == ("4444", subscription["customer"])


def test_a_declined_card_leaves_the_invoice_open(api: Api) -> None:
    _, invoice = fail_renewal(api)
    answer = pay(invoice, "4000000000009995")
    assert answer.status_code == 402
    assert "Your card has insufficient funds." in visible_text(answer.text)
    assert api.get(f"/v1/invoices/{invoice['id']}")["status"] == "open"
    assert pay(invoice).status_code == 303


def test_a_wrong_field_is_named_and_nothing_is_charged(api: Api) -> None:
    _, invoice = fail_renewal(api)
    before = len(api.get("/v1/charges")["data"])
    answer = pay(invoice, "4242")
    assert answer.status_code == 400 and "Your card number is incomplete." in visible_text(answer.text)
    assert len(api.get("/v1/charges")["data"]) == before


def test_a_card_that_asks_for_authentication_is_confirmed_at_the_bank(api: Api) -> None:
    subscription, invoice = fail_renewal(api)
    assert pay(invoice, "4000002760003184").status_code == 303
    page = httpx.get(invoice["hosted_invoice_url"])
    assert "A payment waits for your bank" in visible_text(page.text)
    intent = api.get("/v1/invoice_payments", invoice=invoice["id"])["data"][-1]["payment"]["payment_intent"]
    bank = f"{api.url}/authenticate/{intent}"
    assert f"/authenticate/{intent}" in page.text
    shown = httpx.get(bank)
    assert "Complete authentication" in visible_text(shown.text) and "Content-Security-Policy" in shown.headers
    assert "Payment confirmed" in visible_text(httpx.post(bank, data={"result": "complete"}).text)
    assert api.get(f"/v1/invoices/{invoice['id']}")["status"] == "paid"
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "active"
    assert "Nothing to confirm" in visible_text(httpx.get(bank).text)


def test_paying_twice_at_once_pays_once(api: Api) -> None:
    _, invoice = fail_renewal(api)
    before = len([one for one in api.get("/v1/charges")["data"] if one["status"] == "succeeded"])
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: pay(invoice), range(6)))
    assert {answer.status_code for answer in answers} == {303}
    assert len([one for one in api.get("/v1/charges")["data"] if one["status"] == "succeeded"]) == before + 1


def test_an_invoice_that_was_voided_takes_no_card(api: Api) -> None:
    _, invoice = fail_renewal(api)
    api.post(f"/v1/invoices/{invoice['id']}/void")
    assert "cardNumber" not in httpx.get(invoice["hosted_invoice_url"]).text
    assert pay(invoice).status_code == 303
    assert api.get(f"/v1/invoices/{invoice['id']}")["status"] == "void"
