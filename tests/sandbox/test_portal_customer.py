"""The portal's page for the customer's own details, and the flow that leads straight to it."""

from __future__ import annotations

from typing import Any

import httpx

from tests.sandbox.lives import event_types, make_customer
from tests.sandbox.stripe_api import Api

FLOW = {"type": "customer_update"}


def open_portal(api: Api, customer: str, *fields: str, expect: int = 200, **params: Any) -> Any:
    features = {"customer_update": {"enabled": bool(fields), "allowed_updates": list(fields) or ""}}
    configuration = api.post("/v1/billing_portal/configurations", features=features)["id"]
    return api.post("/v1/billing_portal/sessions", expect, customer=customer, configuration=configuration, **params)


def test_the_flow_leads_to_the_form_and_the_form_changes_what_is_allowed(api: Api) -> None:
    customer = make_customer(api, email="old@example.com", name="Old")["id"]
    session = open_portal(api, customer, "email", "address", flow_data=FLOW)
    assert session["flow"]["customer_update"] == {}
    page = httpx.get(session["url"], follow_redirects=True)
    assert "Your details" in page.text and 'value="old@example.com"' in page.text
    assert 'name="name"' not in page.text
    assert 'role="alert"' not in page.text and "Macro" not in page.text
    form = {"email": "new@example.com", "name": "Sneaky", "billingCountry": "DE", "billingLocality": "Berlin"}
    assert httpx.post(str(page.url), data=form).status_code == 303
    after = api.get(f"/v1/customers/{customer}")
    assert (after["email"], after["name"], after["address"]["city"]) == ("new@example.com", "Old", "Berlin")
    assert event_types(api)[-1] == "customer.updated"


def test_a_wrong_address_is_marked_at_its_field_and_nothing_changes(api: Api) -> None:
    customer = make_customer(api, email="old@example.com")["id"]
    session = open_portal(api, customer, "email")
    answer = httpx.post(session["url"] + "/customer", data={"email": "nonsense"})
    assert answer.status_code == 400 and 'id="email-problem"' in answer.text
    assert api.get(f"/v1/customers/{customer}")["email"] == "old@example.com"


def test_where_it_is_not_allowed_there_is_no_form_and_no_flow(api: Api) -> None:
    customer = make_customer(api, email="old@example.com")["id"]
    session = open_portal(api, customer)
    assert "Update details" not in httpx.get(session["url"]).text
    assert httpx.get(session["url"] + "/customer").status_code == 303
    assert httpx.post(session["url"] + "/customer", data={"email": "new@example.com"}).status_code == 400
    assert api.get(f"/v1/customers/{customer}")["email"] == "old@example.com"
    error = open_portal(api, customer, expect=400, flow_data=FLOW)["error"]
    assert error["param"] == "flow_data[type]"


def test_a_tax_id_is_added_and_a_wrong_one_is_marked(api: Api) -> None:
    customer = make_customer(api, name="Dana")["id"]
    session = open_portal(api, customer, "tax_id")
    address = session["url"] + "/customer"
    wrong = httpx.post(address, data={"taxIdType": "eu_vat", "taxId": "DE"})
    assert wrong.status_code == 400 and 'id="taxId-problem"' in wrong.text
    assert api.get(f"/v1/customers/{customer}/tax_ids")["data"] == []
    form = {"taxIdType": "eu_vat", "taxId": "DE123456789"}  # pragma: allowlist secret
    assert httpx.post(address, data=form).status_code == 303
    assert [each["value"] for each in api.get(f"/v1/customers/{customer}/tax_ids")["data"]] == ["DE123456789"]
    assert "Known: DE123456789" in httpx.get(address).text and event_types(api)[-1] == "customer.tax_id.created"
