"""Request parameters: what Stripe's form encoding means, and what is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from sandbox.errors import StripeError
from sandbox.params import match_route, parse_request, routes


def parse(method: str, route: str, body: dict[str, str] | str = "", query: str = "") -> dict[str, Any]:
    encoded = urlencode(body) if isinstance(body, dict) else body
    pairs = MultiDict(parse_qsl(query, keep_blank_values=True))
    return parse_request(method, route, pairs, encoded.encode(), {})


def refusal(method: str, route: str, body: dict[str, str] | str = "", query: str = "") -> StripeError:
    with pytest.raises(StripeError) as caught:
        parse(method, route, body, query)
    return caught.value


def test_nested_objects_and_arrays_are_decoded_and_coerced() -> None:
    params = parse(
        "POST",
        "/v1/checkout/sessions",
        {
            "mode": "subscription",
            "line_items[0][price_data][currency]": "usd",
            "line_items[0][price_data][unit_amount]": "1299",
            "line_items[0][price_data][recurring][interval]": "month",
            "line_items[0][price_data][product_data][name]": "Maker & co + ü",
            "line_items[0][quantity]": "2",
            "metadata[user id]": "7",
            "allow_promotion_codes": "true",
            "expand[]": "line_items",
            "subscription_data[trial_period_days]": "3",
        },
    )
    assert params == {
        "mode": "subscription",
        "line_items": [
            {
                "price_data": {
                    "currency": "usd",
                    "unit_amount": 1299,
                    "recurring": {"interval": "month"},
                    "product_data": {"name": "Maker & co + ü"},
                },
                "quantity": 2,
            }
        ],
        "metadata": {"user id": "7"},
        "allow_promotion_codes": True,
        "expand": ["line_items"],
        "subscription_data": {"trial_period_days": 3},
    }


def test_array_indices_give_the_order_and_empty_brackets_append() -> None:
    indexed = parse(
        "POST", "/v1/subscriptions", "customer=c&items[1][price]=b&items[0][price]=a&expand[0]=x&expand[1]=y"
    )
    assert [item["price"] for item in indexed["items"]] == ["a", "b"]
    assert indexed["expand"] == ["x", "y"]
    appended = parse(
        "POST",
        "/v1/subscriptions",
        "customer=c&items[][price]=a&items[][quantity]=1&items[][price]=b&items[][quantity]=2",
    )
    assert appended["items"] == [{"price": "a", "quantity": 1}, {"price": "b", "quantity": 2}]


def test_an_empty_string_stays_where_stripe_reads_it_as_unset() -> None:
    params = parse("POST", "/v1/customers/{customer}", {"metadata[a]": "", "shipping": "", "description": ""})
    assert params == {"metadata": {"a": ""}, "shipping": "", "description": ""}
    assert parse("POST", "/v1/customers/{customer}", {"metadata": ""}) == {"metadata": ""}
    assert parse("POST", "/v1/subscriptions/{id}", {"cancel_at": ""}) == {"cancel_at": ""}
    assert parse("POST", "/v1/subscriptions/{id}", {"pause_collection": ""}) == {"pause_collection": ""}


def test_unions_of_words_and_numbers_keep_their_types() -> None:
    assert parse("POST", "/v1/subscriptions/{id}", {"trial_end": "now"}) == {"trial_end": "now"}
    assert parse("POST", "/v1/subscriptions/{id}", {"trial_end": "1800000000"}) == {"trial_end": 1800000000}
    assert parse("GET", "/v1/events", query="created[gte]=5&limit=3") == {"created": {"gte": 5}, "limit": 3}
    assert parse("GET", "/v1/events", query="created=5") == {"created": 5}
    assert parse("POST", "/v1/coupons", {"percent_off": "12.5", "duration": "once"})["percent_off"] == 12.5


def test_the_name_inside_a_routes_braces_does_not_matter() -> None:
    assert parse("POST", "/v1/customers/{id}", {"name": "A"}) == parse(
        "POST", "/v1/customers/{customer}", {"name": "A"}
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"foo": "1"}, "foo"),
        ({"items[0][foo]": "1"}, "items[0][foo]"),
        ({"items[0][price_data][recurring][every]": "1"}, "items[0][price_data][recurring][every]"),
        ({"]": "1"}, "]"),
        ({"a[b": "1"}, "a[b"),
    ],
)
def test_an_unknown_parameter_is_named_with_its_full_path(body: dict[str, str], param: str) -> None:
    error = refusal("POST", "/v1/subscriptions", body)
    assert (error.http_status, error.type, error.code) == (400, "invalid_request_error", "parameter_unknown")
    assert error.param == param
    assert error.message == f"Received unknown parameter: {param}"


@pytest.mark.parametrize("value", ["abc", "1.5", "1e3", "0x10", "٣", "9" * 40, " 1", "--1"])
def test_an_invalid_integer_is_refused(value: str) -> None:
    error = refusal("GET", "/v1/customers", query=urlencode({"limit": value}))
    assert (error.code, error.param) == ("parameter_invalid_integer", "limit")
    assert error.message == f"Invalid integer: {value}"


@pytest.mark.parametrize("value", ["0", "-1", "101"])
def test_a_page_limit_is_between_1_and_100(value: str) -> None:
    error = refusal("GET", "/v1/customers", query=f"limit={value}")
    assert (error.code, error.param) == ("parameter_invalid_integer", "limit")


@pytest.mark.parametrize(
    ("route", "body", "param"),
    [
        ("/v1/checkout/sessions", {"mode": "rent"}, "mode"),
        ("/v1/subscriptions/{id}", {"proration_behavior": "yes"}, "proration_behavior"),
        ("/v1/checkout/sessions", {"line_items": "x"}, "line_items"),
        ("/v1/checkout/sessions", {"line_items[a][price]": "x"}, "line_items"),
        ("/v1/checkout/sessions", {"automatic_tax": "true"}, "automatic_tax"),
        ("/v1/checkout/sessions", {"automatic_tax[enabled]": "yes"}, "automatic_tax[enabled]"),
        ("/v1/checkout/sessions", {"customer[id]": "cus_1"}, "customer"),
        ("/v1/prices", {"currency": "usd", "unit_amount_decimal": "1,5"}, "unit_amount_decimal"),
        (
            "/v1/webhook_endpoints",
            {"url": "https://a.test", "enabled_events[0]": "customer.exploded"},
            "enabled_events[0]",
        ),
        ("/v1/customers", {"metadata[a][b]": "1"}, "metadata[a]"),
        ("/v1/customers", {"metadata[a]": "x" * 501}, "metadata[a]"),
        ("/v1/customers", {"metadata[" + "k" * 41 + "]": "x"}, "metadata[" + "k" * 41 + "]"),
    ],
)
def test_wrong_values_name_their_parameter(route: str, body: dict[str, str], param: str) -> None:
    error = refusal("POST", route, body)
    assert (error.http_status, error.type, error.param) == (400, "invalid_request_error", param)


def test_a_missing_required_parameter_is_named_also_when_nested() -> None:
    error = refusal("POST", "/v1/prices", {"unit_amount": "5"})
    assert (error.code, error.param) == ("parameter_missing", "currency")
    error = refusal("POST", "/v1/checkout/sessions", {"line_items[0][price_data][unit_amount]": "5"})
    assert (error.code, error.param) == ("parameter_missing", "line_items[0][price_data][currency]")


def test_an_empty_value_that_cannot_be_unset_is_refused() -> None:
    for body in ({"currency": ""}, {"currency": "usd", "unit_amount": ""}, {"currency": "usd", "active": ""}):
        error = refusal("POST", "/v1/prices", body)
        assert error.code == "parameter_invalid_empty"


@pytest.mark.parametrize("body", ["name=%ff%fe", "%ff=1", "name=a%00b", "metadata[%00]=1", "name=%ED%A0%80"])
def test_bytes_that_are_no_text_are_refused(body: str) -> None:
    assert refusal("POST", "/v1/customers", body).http_status == 400


def test_size_depth_and_count_are_bounded() -> None:
    assert refusal("POST", "/v1/customers", "name=" + "x" * 1_000_001).http_status == 413
    assert refusal("POST", "/v1/customers", "metadata" + "[a]" * 5_00 + "=1").http_status == 400
    assert refusal("POST", "/v1/customers", "&".join(f"metadata[{n}]=1" for n in range(2_001))).http_status == 400
    assert refusal("POST", "/v1/customers", "&".join(f"metadata[{n}]=1" for n in range(51))).param == "metadata"
    assert refusal("POST", "/v1/customers", {"name": "x" * 5_001}).param == "name"


def test_a_value_and_an_object_under_one_name_are_refused() -> None:
    assert refusal("POST", "/v1/customers", "metadata=1&metadata[a]=2").http_status == 400
    assert refusal("POST", "/v1/customers", "metadata[a]=2&metadata=1").http_status == 400


def test_an_unknown_route_is_stripes_404() -> None:
    error = refusal("POST", "/v1/nonsense")
    assert error.http_status == 404
    assert error.message.startswith("Unrecognized request URL (POST: /v1/nonsense)")


def test_routes_match_literals_before_placeholders() -> None:
    found = match_route("GET", "/v1/customers/search")
    assert found is not None and found[0].path == "/v1/customers/search"
    found = match_route("GET", "/v1/customers/cus_1")
    assert found is not None and list(found[1].values()) == ["cus_1"]
    found = match_route("POST", "/v1/subscriptions/sub_1/resume")
    assert found is not None and list(found[1].values()) == ["sub_1"]
    assert match_route("POST", "/v1/customers/a/b/c") is None
    assert match_route("DELETE", "/v1/prices/p") is None
    assert len(routes()) > 500


ROUTES = [route for route in routes() if route.method == "POST"]
FRAGMENTS = st.sampled_from(
    ["items", "metadata", "[0]", "[]", "[price]", "[", "]", "=", "&", "%00", "%ff", "now", "-1", "ü", ""]
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ROUTES), st.lists(FRAGMENTS, max_size=25).map("".join))
def test_any_body_is_either_understood_or_refused_in_stripes_words(route: Any, body: str) -> None:
    try:
        parsed = parse("POST", route.path, body)
    except StripeError as error:
        assert 400 <= error.http_status < 500 and error.message
    else:
        assert isinstance(parsed, dict)
