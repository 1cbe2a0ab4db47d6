"""Lists: newest first, cursors, limits, filters; and what can be expanded."""

from __future__ import annotations

import pytest

from tests.sandbox.stripe_api import Api, create_price, subscribe


def make_customers(api: Api, count: int) -> list[str]:
    return [api.post("/v1/customers", name=str(number))["id"] for number in range(count)]


def ids(page: dict[str, list[dict[str, str]]]) -> list[str]:
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
