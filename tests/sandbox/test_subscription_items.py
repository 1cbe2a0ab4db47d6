"""Subscription items changed by themselves, as libraries for teams and seats do."""

from __future__ import annotations

from tests.sandbox.lives import event_types, item_of, latest_invoice, other_price, start
from tests.sandbox.stripe_api import Api, create_price


def test_an_item_takes_another_quantity_and_price_and_its_subscription_is_billed(api: Api) -> None:
    subscription = start(api, 1000)
    item = item_of(subscription)
    path = f"/v1/subscription_items/{item['id']}"
    middle = (item["current_period_start"] + item["current_period_end"]) // 2
    changed = api.post(path, quantity=3, proration_behavior="always_invoice", proration_date=middle)
    assert (changed["quantity"], changed["id"]) == (3, item["id"])
    # Half of 10.00 back, half of 30.00 due.
    assert [line["amount"] for line in latest_invoice(api, subscription)["lines"]["data"]] == [-500, 1500]
    price = other_price(api, subscription, 2500)
    assert api.post(path, price=price, proration_behavior="none", metadata={"team": "a"})["price"]["id"] == price
    shown = item_of(api.get(f"/v1/subscriptions/{subscription['id']}"))
    assert (shown["price"]["id"], shown["quantity"], shown["metadata"]) == (price, 3, {"team": "a"})
    assert event_types(api)[-1] == "customer.subscription.updated"


def test_an_item_is_added_and_taken_away(api: Api) -> None:
    subscription = start(api, 1000)
    extra = create_price(api, 400)["id"]
    added = api.post("/v1/subscription_items", subscription=subscription["id"], price=extra, quantity=2)
    assert (added["quantity"], added["subscription"]) == (2, subscription["id"])
    listed = api.get("/v1/subscription_items", subscription=subscription["id"])["data"]
    assert {item["id"] for item in listed} == {item_of(subscription)["id"], added["id"]}
    gone = api.delete(f"/v1/subscription_items/{added['id']}", proration_behavior="none")
    assert gone == {"id": added["id"], "object": "subscription_item", "deleted": True}
    assert item_of(api.get(f"/v1/subscriptions/{subscription['id']}"))["id"] == item_of(subscription)["id"]
    api.get(f"/v1/subscription_items/{added['id']}", 404)


def test_a_refusal_names_the_items_own_parameters_and_changes_nothing(api: Api) -> None:
    subscription = start(api, 1000)
    path = f"/v1/subscription_items/{item_of(subscription)['id']}"
    seen = event_types(api)
    assert api.post(path, 400, price="price_none")["error"]["param"] == "price"
    assert api.post(path, 400, quantity=-1)["error"]["param"] == "quantity"
    assert api.post("/v1/subscription_items", 400, subscription=subscription["id"])["error"]["param"] == "price"
    # The last item stays.
    api.delete(path, 400)
    api.delete("/v1/subscription_items/si_none", 404)
    assert api.get(f"/v1/subscriptions/{subscription['id']}") == subscription
    assert event_types(api) == seen
