"""The billing portal page: plan, cancel, resume, switch price, card, invoices, and links straight to one step."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.conftest import Sandbox
from tests.sandbox.stripe_api import CARD, Api, create_price, subscribe, visible_text


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    return Api(sandbox.url, sandbox.create_account("Acme").test_secret_key)


def open_portal(api: Api, customer: str, **params: Any) -> str:
    wanted = {"customer": customer, "return_url": "https://shop.example/account", **params}
    return str(api.post("/v1/billing_portal/sessions", **wanted)["url"])


def step(portal: str, subscription: dict[str, Any], name: str) -> str:
    return f"{portal}/subscriptions/{subscription['id']}/{name}"


def reload(api: Api, subscription: dict[str, Any]) -> Any:
    return api.get(f"/v1/subscriptions/{subscription['id']}")


def test_the_overview_shows_plan_renewal_card_and_invoices(api: Api) -> None:
    subscription = subscribe(api)
    page = httpx.get(open_portal(api, subscription["customer"]))
    text = visible_text(page.text)
    for words in ("Maker", "Active", "$12.99", "per month", "renews on", "Visa ending in 4242", "Cancel plan", "Paid"):
        assert words in text
    assert 'href="https://shop.example/account"' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_cancel_is_confirmed_first_and_takes_effect_at_the_end_of_the_period(api: Api) -> None:
    subscription = subscribe(api)
    portal = open_portal(api, subscription["customer"])
    confirmation = visible_text(httpx.get(step(portal, subscription, "cancel")).text)
    assert "still available until the end of the billing period" in confirmation
    assert reload(api, subscription)["cancel_at"] is None
    done = httpx.post(
        step(portal, subscription, "cancel"), data={"feedback": "unused", "comment": "bye"}, follow_redirects=True
    )
    assert "has been canceled" in visible_text(done.text)
    after = reload(api, subscription)
    assert after["status"] == "active"
    assert after["cancel_at"] == after["items"]["data"][0]["current_period_end"]
    assert (after["cancellation_details"]["feedback"], after["cancellation_details"]["comment"]) == ("unused", "bye")


def test_a_cancellation_can_be_taken_back(api: Api) -> None:
    subscription = subscribe(api)
    portal = open_portal(api, subscription["customer"])
    httpx.post(step(portal, subscription, "cancel"))
    assert "Don't cancel" in visible_text(httpx.get(portal).text)
    done = httpx.post(step(portal, subscription, "resume"), follow_redirects=True)
    assert "will go on as before" in visible_text(done.text)
    after = reload(api, subscription)
    assert (after["cancel_at"], after["cancel_at_period_end"]) == (None, False)


def test_the_price_can_be_switched_to_another_active_one(api: Api) -> None:
    subscription = subscribe(api)
    product = subscription["items"]["data"][0]["price"]["product"]
    yearly = create_price(api, 11691, "year", product)
    retired = create_price(api, 100, "month", product)
    api.post(f"/v1/prices/{retired['id']}", active=False)
    portal = open_portal(api, subscription["customer"])
    page = httpx.get(step(portal, subscription, "update")).text
    assert yearly["id"] in page and "$116.91 per year" in visible_text(page)
    assert retired["id"] not in page and "Current plan" in page
    refused = httpx.post(step(portal, subscription, "update"), data={"price": retired["id"]})
    assert refused.status_code == 400
    done = httpx.post(step(portal, subscription, "update"), data={"price": yearly["id"]}, follow_redirects=True)
    assert "plan has been updated" in visible_text(done.text)
    assert reload(api, subscription)["items"]["data"][0]["price"]["id"] == yearly["id"]


def test_a_new_card_becomes_the_one_that_pays(api: Api) -> None:
    subscription = subscribe(api)
    portal = open_portal(api, subscription["customer"])
    fields = {**CARD, "cardNumber": "5555 5555 5555 4444"}
    done = httpx.post(f"{portal}/payment-method", data=fields, follow_redirects=True)
    assert "ending in 4444" in visible_text(done.text)
    customer = api.get(f"/v1/customers/{subscription['customer']}")
    method = api.get(f"/v1/payment_methods/{customer['invoice_settings']['default_payment_method']}")
    assert method["card"]["last4"] == "4444"


def test_a_declined_card_is_not_kept(api: Api) -> None:
    subscription = subscribe(api)
    portal = open_portal(api, subscription["customer"])
    refused = httpx.post(f"{portal}/payment-method", data={**CARD, "cardNumber": "4000000000000002"})
    assert refused.status_code == 402
    assert "Your card was declined." in visible_text(refused.text)
    assert "ending in 4242" in visible_text(httpx.get(portal).text)


def test_links_lead_straight_to_one_step_and_back(api: Api) -> None:
    subscription = subscribe(api)
    flows = {
        "subscription_cancel": {"subscription_cancel": {"subscription": subscription["id"]}},
        "subscription_update": {"subscription_update": {"subscription": subscription["id"]}},
        "payment_method_update": {},
    }
    words = {
        "subscription_cancel": "Cancel your plan",
        "subscription_update": "Update your plan",
        "payment_method_update": "Update your card",
    }
    for kind, details in flows.items():
        after = {"type": "redirect", "redirect": {"return_url": "https://shop.example/after"}}
        flow = {"type": kind, "after_completion": after, **details}
        portal = open_portal(api, subscription["customer"], flow_data=flow)
        page = httpx.get(portal, follow_redirects=True)
        assert words[kind] in visible_text(page.text)
        if kind == "subscription_cancel":
            done = httpx.post(step(portal, subscription, "cancel"))
            assert done.headers["Location"] == "https://shop.example/after"


def test_invoices_open_as_pages_as_files_and_with_receipts(api: Api) -> None:
    subscription = subscribe(api)
    invoice = api.get(f"/v1/invoices/{subscription['latest_invoice']}")
    page = httpx.get(invoice["hosted_invoice_url"])
    text = visible_text(page.text)
    assert invoice["number"] in text and "$12.99" in text and "Paid" in text and "dana@example.com" in text
    file = httpx.get(invoice["invoice_pdf"])
    assert file.headers["Content-Type"] == "application/pdf"
    assert file.content.startswith(b"%PDF-1.4") and invoice["number"].encode() in file.content
    receipt_url = api.get("/v1/charges")["data"][0]["receipt_url"]
    assert receipt_url in page.text
    assert "$12.99" in visible_text(httpx.get(receipt_url).text)


def test_a_portal_shows_nothing_of_another_customer(api: Api) -> None:
    mine, other = subscribe(api), subscribe(api)
    portal = open_portal(api, mine["customer"])
    assert other["id"] not in httpx.get(portal).text
    assert httpx.get(step(portal, other, "cancel")).status_code == 404
    for name in ("cancel", "resume", "update"):
        data = {"price": other["items"]["data"][0]["price"]["id"]}
        assert httpx.post(step(portal, other, name), data=data).status_code in (400, 404)
    assert reload(api, other)["cancel_at"] is None


def test_unknown_links_are_plain_pages(sandbox: Sandbox) -> None:
    for path in ("/p/session/bps_nope", "/i/in_nope", "/i/in_nope/pdf", "/receipts/ch_nope"):
        answer = httpx.get(sandbox.url + path)
        assert answer.status_code == 404
        assert re.search("wrong, or it has expired", visible_text(answer.text))
