"""What the checkout page asks beside the card: tax id, phone number, consent; and what is kept of the answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.sandbox.lives import event_types
from tests.sandbox.stripe_api import Api, create_price, create_session, pay_on_page, visible_text

BUSINESS = {"businessName": "Acme GmbH", "taxIdType": "eu_vat", "taxId": "DE 123456789"}
ASKS: dict[str, Any] = {"tax_id_collection": {"enabled": True}}


def test_a_tax_id_is_kept_on_the_new_customer_and_shown_on_session_and_invoice(api: Api) -> None:
    session = create_session(api, create_price(api)["id"], **ASKS)
    assert session["tax_id_collection"] == {"enabled": True, "required": "never"}
    assert pay_on_page(session, **BUSINESS).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["customer.tax_ids", "invoice"])
    wanted = [{"type": "eu_vat", "value": "DE123456789"}]  # pragma: allowlist secret
    assert done["customer_details"]["tax_ids"] == done["invoice"]["customer_tax_ids"] == wanted
    assert done["customer_details"]["name"] == done["customer"]["name"] == "Acme GmbH"
    (tax_id,) = done["customer"]["tax_ids"]["data"]
    assert (tax_id["value"], tax_id["country"]) == ("DE123456789", "DE")
    types = event_types(api)
    assert types.index("customer.created") < types.index("customer.tax_id.created")
    # Who has a tax id is not asked again.
    update = {"name": "auto"}
    again = create_session(
        api, create_price(api)["id"], customer=done["customer"]["id"], customer_update=update, **ASKS
    )
    assert "Business name" not in visible_text(httpx.get(again["url"]).text)


def test_a_one_time_payment_keeps_the_tax_id_of_its_known_customer(api: Api) -> None:
    customer = api.post("/v1/customers", email="dana@example.com", name="Dana")["id"]
    price = create_price(api, 500, interval=None)["id"]
    refused = api.post(
        "/v1/checkout/sessions",
        400,
        mode="payment",
        customer=customer,
        line_items=[{"price": price, "quantity": 1}],
        success_url="https://a.example",
        **ASKS,
    )
    assert "set `customer_update[name]` to `auto`" in refused["error"]["message"]
    update = {"name": "auto", "address": "auto"}
    session = create_session(api, price, mode="payment", customer=customer, customer_update=update, **ASKS)
    assert pay_on_page(session, **BUSINESS).status_code == 303
    kept = api.get(f"/v1/customers/{customer}", expand=["tax_ids"])
    assert (kept["name"], kept["address"]["city"]) == ("Acme GmbH", "Berlin")
    assert [each["value"] for each in kept["tax_ids"]["data"]] == ["DE123456789"]
    assert {"customer.tax_id.created", "customer.updated"} <= set(event_types(api))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({**BUSINESS, "taxId": ""}, "taxId"),
        ({**BUSINESS, "taxId": "12"}, "taxId"),
        ({**BUSINESS, "taxIdType": "xx"}, "taxIdType"),
        ({**BUSINESS, "businessName": ""}, "businessName"),
        ({"phoneNumber": ""}, "phoneNumber"),
        ({"phoneNumber": "call me"}, "phoneNumber"),
        ({"termsOfService": ""}, "termsOfService"),
    ],
    ids=["none", "short", "kind", "name", "no phone", "bad phone", "terms"],
)
def test_what_is_missing_is_said_beside_its_field_and_nothing_is_paid(
    api: Api, fields: dict[str, str], field: str
) -> None:
    session = create_session(
        api,
        create_price(api)["id"],
        phone_number_collection={"enabled": True},
        consent_collection={"terms_of_service": "required"},
        **ASKS,
    )
    answer = pay_on_page(session, **{"phoneNumber": "030 1234567", "termsOfService": "yes", **fields})
    assert answer.status_code == 400
    assert f'id="{field}-problem"' in answer.text and answer.text.count('class="problem"') == 1
    assert api.get("/v1/charges")["data"] == [] == api.get("/v1/customers")["data"]


def test_a_required_tax_id_cannot_be_left_out(api: Api) -> None:
    collection = {"enabled": True, "required": "if_supported"}
    session = create_session(api, create_price(api)["id"], tax_id_collection=collection)
    assert pay_on_page(session).status_code == 400
    assert pay_on_page(session, **BUSINESS).status_code == 303


@pytest.mark.parametrize(("ticked", "news"), [("yes", "opt_in"), ("", "opt_out")])
def test_consent_and_phone_number_are_on_the_completed_session(api: Api, ticked: str, news: str) -> None:
    wants = {"promotions": "auto", "terms_of_service": "required"}
    session = create_session(
        api, create_price(api)["id"], consent_collection=wants, phone_number_collection={"enabled": True}
    )
    assert session["consent_collection"] == {"payment_method_reuse_agreement": None, **wants}
    page = httpx.get(session["url"]).text
    assert 'type="checkbox"' in page and 'autocomplete="tel"' in page
    pay_on_page(session, termsOfService="yes", promotions=ticked, phoneNumber="+1 (415) 555-0100")
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["customer"])
    assert done["consent"] == {"promotions": news, "terms_of_service": "accepted"}
    assert done["customer_details"]["phone"] == done["customer"]["phone"] == "+14155550100"


def test_a_trial_can_be_begun_from_a_bank_account(api: Api) -> None:
    product = api.post("/v1/products", name="Maker")["id"]
    price = api.post("/v1/prices", product=product, currency="eur", unit_amount=900, recurring={"interval": "month"})[
        "id"
    ]
    session = create_session(
        api, price, payment_method_types=["card", "sepa_debit"], subscription_data={"trial_period_days": 7}
    )
    blank = {"cardNumber": "", "cardExpiry": "", "cardCvc": ""}
    assert pay_on_page(session, iban="AT611904300234573201", **blank).status_code == 303
    done = api.get(f"/v1/checkout/sessions/{session['id']}", expand=["subscription.default_payment_method"])
    assert done["subscription"]["default_payment_method"]["type"] == "sepa_debit"
    assert done["subscription"]["status"] == "trialing"
