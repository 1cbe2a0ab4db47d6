"""Steps that the tests of subscriptions and payments share."""

from __future__ import annotations

from typing import Any

import httpx

from tests.sandbox.stripe_api import Api, create_price

THIRD_OF_MONTH = 864000


def event_types(api: Api, since: int = 0) -> list[str]:
    """Give the types of the account's events, oldest first, after the first `since` of them."""
    return [event["type"] for event in api.all_events()][since:]


def make_customer(api: Api, card: str = "pm_card_visa", **fields: Any) -> Any:
    """Make a customer with a default card."""
    customer = api.post("/v1/customers", **fields)
    method = api.post(f"/v1/payment_methods/{card}/attach", customer=customer["id"])
    return api.post(f"/v1/customers/{customer['id']}", invoice_settings={"default_payment_method": method["id"]})


def start(api: Api, unit_amount: int = 2000, card: str = "pm_card_visa", interval: str = "month", **params: Any) -> Any:
    """Start a subscription through the API."""
    customer = make_customer(api, card)
    price = create_price(api, unit_amount, interval)
    return api.post("/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}], **params)


def item_of(subscription: Any) -> Any:
    """Give the one item of a subscription."""
    (item,) = subscription["items"]["data"]
    return item


def switch(api: Api, subscription: Any, price: str, expect: int = 200, **params: Any) -> Any:
    """Move the one item of a subscription to another price."""
    items = [{"id": item_of(subscription)["id"], "price": price}]
    return api.post(f"/v1/subscriptions/{subscription['id']}", expect, items=items, **params)


def other_price(api: Api, subscription: Any, unit_amount: int, interval: str = "month") -> str:
    """Make another price of the same product and give its id."""
    price: str = create_price(api, unit_amount, interval, item_of(subscription)["price"]["product"])["id"]
    return price


def control(api: Api, path: str, **body: Any) -> Any:
    """Use one of the sandbox's own switches."""
    answer = httpx.post(f"{api.url}/_sandbox/api/{path}", json=body, timeout=20)
    answer.raise_for_status()
    return answer.json()


def latest_invoice(api: Api, subscription: Any) -> Any:
    """Read the latest invoice of a subscription."""
    current = api.get(f"/v1/subscriptions/{subscription['id']}")
    return api.get(f"/v1/invoices/{current['latest_invoice']}")
