"""What a portal's configuration opens and closes: quantity, payment method, invoices, links, flows."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import item_of, latest_invoice, start
from tests.sandbox.stripe_api import Api, visible_text

OPEN: dict[str, Any] = {
    "subscription_update": {
        "enabled": True,
        "default_allowed_updates": ["quantity"],
        "proration_behavior": "always_invoice",
        "products": "",
    }
}


def open_portal(api: Api, customer: str, features: dict[str, Any], expect: int = 200, **params: Any) -> Any:
    profile = params.pop("business_profile", None)
    wanted = {"features": features, "business_profile": profile}
    configuration = api.post("/v1/billing_portal/configurations", **wanted)["id"]
    return api.post("/v1/billing_portal/sessions", expect, customer=customer, configuration=configuration, **params)


def test_a_customer_takes_more_of_a_plan_and_is_charged_for_the_rest_of_the_period(api: Api) -> None:
    subscription = start(api, 2000)
    session = open_portal(api, subscription["customer"], OPEN)
    page = visible_text(httpx.get(session["url"]).text)
    assert "Quantity" in page and "Update plan" not in page
    address = f"{session['url']}/subscriptions/{subscription['id']}/quantity"
    assert httpx.post(address, data={"quantity": "3"}).status_code == 303
    assert item_of(api.get(f"/v1/subscriptions/{subscription['id']}"))["quantity"] == 3
    # Within the first seconds of a month: nearly all of the old is given back, and nearly three are charged.
    assert 3990 <= latest_invoice(api, subscription)["total"] <= 4000


@pytest.mark.parametrize("typed", ["0", "-1", "many", "", "9999999"])
def test_a_quantity_that_is_none_is_refused_and_nothing_changes(api: Api, typed: str) -> None:
    subscription = start(api, 2000)
    session = open_portal(api, subscription["customer"], OPEN)
    answer = httpx.post(f"{session['url']}/subscriptions/{subscription['id']}/quantity", data={"quantity": typed})
    assert answer.status_code == 400 and "Enter a whole number" in answer.text
    assert item_of(api.get(f"/v1/subscriptions/{subscription['id']}"))["quantity"] == 1


def test_what_is_closed_cannot_be_reached_by_its_address(api: Api) -> None:
    subscription = start(api, 2000)
    session = open_portal(api, subscription["customer"], {"invoice_history": {"enabled": False}})
    page = visible_text(httpx.get(session["url"]).text)
    for words in ("Invoice history", "Update card", "Cancel plan", "Quantity"):
        assert words not in page
    quantity = f"{session['url']}/subscriptions/{subscription['id']}/quantity"
    assert httpx.post(quantity, data={"quantity": "3"}).status_code == 400
    card = {"cardNumber": "4242424242424242", "cardExpiry": "12/34", "cardCvc": "123", "billingName": "Eve"}
    assert httpx.post(f"{session['url']}/payment-method", data=card).status_code == 400
    assert httpx.get(f"{session['url']}/payment-method").status_code == 303
    assert len(api.get(f"/v1/customers/{subscription['customer']}/payment_methods")["data"]) == 1


@pytest.mark.parametrize(
    "kind", ["payment_method_update", "subscription_cancel", "subscription_update", "subscription_update_confirm"]
)
def test_a_flow_to_a_closed_feature_is_refused(api: Api, kind: str) -> None:
    subscription = start(api, 2000)
    flow: dict[str, Any] = {"type": kind}
    if kind.startswith("subscription_"):
        flow[kind] = {"subscription": subscription["id"]}
    if kind == "subscription_update_confirm":
        flow[kind]["items"] = [{"id": item_of(subscription)["id"], "quantity": 2}]
    error = open_portal(api, subscription["customer"], {"invoice_history": {"enabled": True}}, 400, flow_data=flow)[
        "error"
    ]
    assert error["param"] == "flow_data[type]" and "disabled" in error["message"]


def test_the_portal_shows_its_headline_and_links_to_web_addresses(api: Api) -> None:
    subscription = start(api, 2000)
    profile = {"headline": "Acme looks after your notes", "privacy_policy_url": "https://acme.example/privacy"}
    session = open_portal(api, subscription["customer"], OPEN, business_profile=profile)
    page = httpx.get(session["url"]).text
    assert "Acme looks after your notes" in page and 'href="https://acme.example/privacy"' in page


def test_what_the_portal_cannot_do_is_refused_by_name(api: Api) -> None:
    for features in (
        {"customer_update": {"enabled": True, "allowed_updates": ["shipping"]}},
        {"subscription_update": {**OPEN["subscription_update"], "default_allowed_updates": ["promotion_code"]}},
    ):
        error = api.post("/v1/billing_portal/configurations", 400, features=features)["error"]
        assert "does not support" in error["message"]
