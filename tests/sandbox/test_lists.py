"""Lists: newest first, cursors, limits, filters; and what can be expanded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import SandboxAccount
from tests.sandbox.lives import control, item_of, start
from tests.sandbox.stripe_api import Api, create_price, subscribe


def make_customers(api: Api, count: int) -> list[str]:
    return [api.post("/v1/customers", name=str(number))["id"] for number in range(count)]


def ids(page: dict[str, Any]) -> list[str]:
    return [entry["id"] for entry in page["data"]]


def test_the_newest_comes_first_ten_at_a_time(api: Api) -> None:
    made = make_customers(api, 12)
    page = api.get("/v1/customers")
    assert ids(page) == made[::-1][:10]
    assert (page["has_more"], page["url"]) == (True, "/v1/customers")


def test_starting_after_and_ending_before_walk_both_ways(api: Api) -> None:
    made = make_customers(api, 5)[::-1]
    later = api.get("/v1/customers", limit=2, starting_after=made[1])
    assert (ids(later), later["has_more"]) == (made[2:4], True)
    assert api.get("/v1/customers", limit=2, starting_after=made[3])["has_more"] is False
    earlier = api.get("/v1/customers", limit=2, ending_before=made[3])
    assert (ids(earlier), earlier["has_more"]) == (made[1:3], True)


def test_both_cursors_at_once_are_refused(api: Api) -> None:
    made = make_customers(api, 2)
    error = api.get("/v1/customers", 400, starting_after=made[0], ending_before=made[1])["error"]
    assert error["type"] == "invalid_request_error" and "only one" in error["message"]


def test_a_cursor_that_does_not_exist_is_a_400(api: Api) -> None:
    error = api.get("/v1/customers", 400, starting_after="cus_aaa")["error"]
    assert (error["code"], error["param"], error["message"]) == (
        "resource_missing",
        "starting_after",
        "No such customer: 'cus_aaa'",
    )


@pytest.mark.parametrize("limit", [0, 101])
def test_the_limit_is_between_1_and_100(api: Api, limit: int) -> None:
    assert api.get("/v1/customers", 400, limit=limit)["error"]["param"] == "limit"


def test_a_limit_that_is_no_number_is_refused_as_stripe_does(api: Api) -> None:
    error = api.get("/v1/customers", 400, limit="abc")["error"]
    assert (error["code"], error["message"]) == ("parameter_invalid_integer", "Invalid integer: abc")


def test_created_filters_by_time(api: Api) -> None:
    customer = api.post("/v1/customers")
    assert ids(api.get("/v1/customers", created={"gte": customer["created"]})) == [customer["id"]]
    assert ids(api.get("/v1/customers", created=customer["created"])) == [customer["id"]]
    assert ids(api.get("/v1/customers", created={"gt": customer["created"] + 5})) == []


def test_prices_are_found_by_lookup_key_product_and_activity(api: Api) -> None:
    first = create_price(api)
    second = create_price(api, product=first["product"])
    api.post(f"/v1/prices/{first['id']}", lookup_key="pro", active=False)
    assert ids(api.get("/v1/prices", lookup_keys=["pro", "other"])) == [first["id"]]
    assert ids(api.get("/v1/prices", product=first["product"])) == [second["id"], first["id"]]
    assert ids(api.get("/v1/prices", active=True)) == [second["id"]]


def test_events_are_found_by_type_types_and_wildcard(api: Api) -> None:
    create_price(api)
    types = [event["type"] for event in api.get("/v1/events")["data"]]
    assert types == ["plan.created", "price.created", "product.created"]
    assert len(api.get("/v1/events", type="price.created")["data"]) == 1
    assert len(api.get("/v1/events", types=["price.created", "plan.created"])["data"]) == 2
    assert len(api.get("/v1/events", type="p*.created")["data"]) == 3
    assert len(api.get("/v1/events", type="charge.*")["data"]) == 0


def test_nested_fields_expand(api: Api) -> None:
    subscription = subscribe(api)
    shown = api.get(
        f"/v1/subscriptions/{subscription['id']}",
        expand=[
            "customer.invoice_settings.default_payment_method",
            "latest_invoice.payments",
            "items.data.price.product",
        ],
    )
    assert shown["customer"]["id"] == subscription["customer"]
    assert shown["items"]["data"][0]["price"]["product"]["name"] == "Maker"
    assert shown["latest_invoice"]["payments"]["data"][0]["status"] == "paid"


def test_lists_expand_through_data(api: Api) -> None:
    subscribe(api)
    shown = api.get("/v1/invoices", expand=["data.customer"])["data"][0]
    assert shown["customer"]["object"] == "customer"


def test_what_stays_away_unless_expanded(api: Api) -> None:
    subscription = subscribe(api)
    customer = api.get(f"/v1/customers/{subscription['customer']}")
    assert "subscriptions" not in customer
    shown = api.get(f"/v1/customers/{customer['id']}", expand=["subscriptions"])
    assert ids(shown["subscriptions"]) == [subscription["id"]]


@pytest.mark.parametrize("path", ["name", "nothing", "data.x"])
def test_what_cannot_be_expanded_is_refused(api: Api, path: str) -> None:
    customer = api.post("/v1/customers")
    error = api.get(f"/v1/customers/{customer['id']}", 400, expand=[path])["error"]
    assert error["message"] == f"This property cannot be expanded ({path})."


def test_a_list_hints_at_data(api: Api) -> None:
    api.post("/v1/customers")
    error = api.get("/v1/customers", 400, expand=["default_source"])["error"]
    assert "You may want to try expanding 'data.default_source' instead." in error["message"]


def test_a_write_whose_expansion_is_refused_writes_nothing(api: Api) -> None:
    api.post("/v1/customers", 400, expand=["nothing"])
    assert api.get("/v1/customers")["data"] == []
    assert api.get("/v1/events")["data"] == []


def test_a_reader_catches_up_on_events_from_the_last_one_it_saw(api: Api) -> None:
    make_customers(api, 3)
    last_seen = api.get("/v1/events", limit=1)["data"][0]
    make_customers(api, 7)
    api.post("/v1/products", name="Maker")
    since = {"gte": last_seen["created"]}
    filters: dict[str, Any] = {"types": ["customer.*"], "created": since, "delivery_success": True, "limit": 3}
    caught: list[str] = []
    cursor = last_seen["id"]
    while True:
        page = api.get("/v1/events", ending_before=cursor, **filters)
        assert ids(page) == [event["id"] for event in sorted(page["data"], key=lambda event: -event["created"])]
        caught += ids(page)[::-1]
        if not page["has_more"]:
            break
        cursor = caught[-1]
    wanted = [event["id"] for event in api.all_events() if event["type"] == "customer.created"][3:]
    assert caught == wanted and len(caught) == 7


def test_events_older_than_stripe_keeps_them_are_gone_and_no_cursor_any_more(api: Api, account: SandboxAccount) -> None:
    make_customers(api, 2)
    old = api.get("/v1/events", limit=1)["data"][0]
    path = f"accounts/{account.account_id}/events/forget"
    assert control(api, path, before=old["created"] + 1)["forgotten"] >= 2
    assert api.get("/v1/events")["data"] == []
    api.get(f"/v1/events/{old['id']}", 404)
    refused = api.get("/v1/events", 400, ending_before=old["id"])["error"]
    assert (refused["code"], refused["param"]) == ("resource_missing", "ending_before")
    make_customers(api, 1)
    assert len(api.get("/v1/events")["data"]) == 1 and len(api.get("/v1/customers")["data"]) == 3


def test_everything_that_is_reconciled_is_listed_a_hundred_at_a_time_by_creation(api: Api) -> None:
    subscription = start(api, 2000, automatic_tax={"enabled": False})
    charge = api.get("/v1/charges")["data"][0]
    api.post("/v1/refunds", charge=charge["id"], amount=100)
    control(api, f"charges/{charge['id']}/dispute")
    for noun in ("customers", "subscriptions", "invoices", "payment_intents", "charges", "refunds", "disputes"):
        more: dict[str, Any] = {"status": "all"} if noun == "subscriptions" else {}
        (one,) = api.get(f"/v1/{noun}", limit=100, created={"gte": 1, "lte": 2**31}, **more)["data"]
        assert ids(api.get(f"/v1/{noun}", created=one["created"], limit=100, **more)) == [one["id"]]
        assert api.get(f"/v1/{noun}", created={"gt": one["created"]}, **more)["data"] == []
        assert ids(api.get(f"/v1/{noun}", created={"lt": one["created"]}, **more)) == []
    api.delete(f"/v1/subscriptions/{subscription['id']}")
    assert api.get("/v1/subscriptions")["data"] == []
    for status in ("all", "canceled", "ended"):
        assert ids(api.get("/v1/subscriptions", status=status)) == [subscription["id"]]


def test_subscriptions_are_found_by_period_price_and_tax(api: Api) -> None:
    subscription = start(api)
    item = item_of(subscription)
    end = item["current_period_end"]
    for wanted in (
        {"current_period_end": {"lte": end}},
        {"current_period_start": {"gte": item["current_period_start"]}, "current_period_end": end},
        {"plan": item["price"]["id"]},
        {"automatic_tax": {"enabled": False}},
    ):
        assert ids(api.get("/v1/subscriptions", **wanted)) == [subscription["id"]]
    for other in ({"current_period_end": {"lt": end}}, {"automatic_tax": {"enabled": True}}, {"plan": "price_none"}):
        assert ids(api.get("/v1/subscriptions", **other)) == []
