"""Products, prices, customers, webhook endpoints: made, changed, deleted, refused."""

from __future__ import annotations

import pytest

from tests.sandbox.lives import event_types, start
from tests.sandbox.stripe_api import Api, create_price


def test_an_update_tells_the_old_values(api: Api) -> None:
    product = api.post("/v1/products", name="Pro", metadata={"a": "1"})
    api.post(f"/v1/products/{product['id']}", name="Pro 2", metadata={"b": "2"})
    event = api.get("/v1/events", type="product.updated")["data"][0]
    previous = event["data"]["previous_attributes"]
    assert (previous["name"], previous["metadata"]) == ("Pro", {"b": None})
    assert event["data"]["object"]["metadata"] == {"a": "1", "b": "2"}


def test_an_update_that_changes_nothing_has_no_event(api: Api) -> None:
    product = api.post("/v1/products", name="Pro")
    api.post(f"/v1/products/{product['id']}", name="Pro")
    assert event_types(api) == ["product.created"]


def test_a_product_is_deleted_only_without_prices(api: Api) -> None:
    price = create_price(api)
    api.delete(f"/v1/products/{price['product']}", 400)
    spare = api.post("/v1/products", name="Spare")
    assert api.delete(f"/v1/products/{spare['id']}") == {"id": spare["id"], "object": "product", "deleted": True}
    api.get(f"/v1/products/{spare['id']}", 404)
    assert api.get("/v1/events")["data"][0]["data"]["object"]["active"] is False


def test_a_product_id_is_taken_once(api: Api) -> None:
    api.post("/v1/products", id="pro", name="Pro")
    assert api.post("/v1/products", 400, id="pro", name="Pro")["error"]["code"] == "resource_already_exists"


def test_a_lookup_key_is_held_once_and_can_be_transferred(api: Api) -> None:
    first = create_price(api)
    api.post(f"/v1/prices/{first['id']}", lookup_key="pro")
    wanted = {"product": first["product"], "currency": "usd", "unit_amount": 5, "lookup_key": "pro"}
    api.post("/v1/prices", 400, **wanted)
    second = api.post("/v1/prices", **wanted, transfer_lookup_key=True)
    assert api.get(f"/v1/prices/{first['id']}")["lookup_key"] is None
    assert [price["id"] for price in api.get("/v1/prices", lookup_keys=["pro"])["data"]] == [second["id"]]
    event = api.get("/v1/events", type="price.updated")["data"][0]
    assert (event["data"]["object"]["id"], event["data"]["previous_attributes"]) == (first["id"], {"lookup_key": "pro"})


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": None}, "currency"),
        ({"unit_amount": None}, "unit_amount"),
        ({"unit_amount": -1}, "unit_amount"),
        ({"product": None}, "product"),
        ({"product": "prod_x"}, "product"),
        ({"recurring": {"interval": "month", "usage_type": "metered"}}, "recurring[meter]"),
        ({"billing_scheme": "tiered"}, "unit_amount"),
    ],
)
def test_a_price_is_refused_and_not_made(api: Api, params: dict[str, object], param: str) -> None:
    product = api.post("/v1/products", name="Pro")["id"]
    wanted = {"product": product, "currency": "usd", "unit_amount": 5, **params}
    assert api.post("/v1/prices", 400, **wanted)["error"]["param"] == param
    assert api.get("/v1/prices")["data"] == []


def test_a_changed_price_is_seen_in_its_subscriptions(api: Api) -> None:
    subscription = start(api)
    price = subscription["items"]["data"][0]["price"]["id"]
    api.post(f"/v1/prices/{price}", active=False, nickname="Old")
    item = api.get(f"/v1/subscriptions/{subscription['id']}")["items"]["data"][0]
    assert (item["price"]["active"], item["plan"]["nickname"]) == (False, "Old")
    assert api.get(f"/v1/subscription_items/{item['id']}")["price"]["nickname"] == "Old"


def test_a_customer_is_changed_and_unset(api: Api) -> None:
    customer = api.post("/v1/customers", email="a@example.com", name="A", metadata={"k": "v", "l": "w"})
    path = f"/v1/customers/{customer['id']}"
    after = api.post(path, name="", metadata={"k": ""}, address={"country": "DE"})
    assert (after["name"], after["metadata"], after["address"]["country"]) == (None, {"l": "w"}, "DE")
    assert api.post(path, metadata="")["metadata"] == {}
    assert [entry["id"] for entry in api.get("/v1/customers", email="a@example.com")["data"]] == [customer["id"]]


def test_an_address_that_is_no_email_is_refused(api: Api) -> None:
    error = api.post("/v1/customers", 400, email="nobody")["error"]
    assert (error["code"], error["param"]) == ("email_invalid", "email")
    assert api.get("/v1/customers")["data"] == []


def test_deleting_a_customer_ends_its_subscriptions_and_leaves_a_stub(api: Api) -> None:
    subscription = start(api)
    path = f"/v1/customers/{subscription['customer']}"
    stub = api.delete(path)
    assert stub == {"id": subscription["customer"], "object": "customer", "deleted": True}
    assert api.get(path) == stub
    assert api.get("/v1/customers")["data"] == []
    assert api.get(f"/v1/subscriptions/{subscription['id']}")["status"] == "canceled"
    assert event_types(api)[-2:] == ["customer.subscription.deleted", "customer.deleted"]
    deleted = api.get("/v1/events")["data"][0]["data"]["object"]
    assert ("deleted" in deleted, deleted["invoice_settings"]["default_payment_method"] is not None) == (False, True)
    api.delete(path, 404)
    api.post(path, 404, name="Ghost")


def test_an_endpoints_secret_is_shown_once(api: Api) -> None:
    made = api.post("/v1/webhook_endpoints", url="https://shop.example/hook", enabled_events=["*"])
    path = f"/v1/webhook_endpoints/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert "secret" not in api.get(path)
    assert "secret" not in api.get("/v1/webhook_endpoints")["data"][0]
    after = api.post(path, enabled_events=["charge.succeeded"], disabled=True)
    assert (after["enabled_events"], after["status"]) == (["charge.succeeded"], "disabled")
    assert api.delete(path) == {"id": made["id"], "object": "webhook_endpoint", "deleted": True}
    api.get(path, 404)


def test_there_are_at_most_sixteen_endpoints(api: Api) -> None:
    for number in range(16):
        api.post("/v1/webhook_endpoints", url=f"https://shop.example/{number}", enabled_events=["*"])
    api.post("/v1/webhook_endpoints", 400, url="https://shop.example/17", enabled_events=["*"])
    assert len(api.get("/v1/webhook_endpoints", limit=100)["data"]) == 16


@pytest.mark.parametrize(
    "params",
    [
        {"url": "shop", "enabled_events": ["*"]},
        {"url": "https://shop.example", "enabled_events": ["no.such_event"]},
        {"url": "https://shop.example"},
        {"enabled_events": ["*"]},
    ],
)
def test_an_endpoint_is_refused_and_not_made(api: Api, params: dict[str, object]) -> None:
    api.post("/v1/webhook_endpoints", 400, **params)
    assert api.get("/v1/webhook_endpoints")["data"] == []


def test_an_event_counts_what_is_still_owed(api: Api) -> None:
    api.post("/v1/webhook_endpoints", url="http://127.0.0.1:9/hook", enabled_events=["product.created"])
    api.post("/v1/products", name="Pro")
    event = api.get("/v1/events")["data"][0]
    assert (event["pending_webhooks"], event["api_version"]) == (1, "2026-08-26.dahlia")
    assert api.get(f"/v1/events/{event['id']}")["data"] == event["data"]
    assert [entry["id"] for entry in api.get("/v1/events", delivery_success=False)["data"]] == [event["id"]]
