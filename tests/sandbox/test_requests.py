"""What every request has in common: headers, unknown URLs, versions, parallel use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import stripe

from sandbox import API_VERSION
from tests.conftest import Sandbox
from tests.sandbox.stripe_api import Api


def test_answers_carry_stripes_headers(api: Api) -> None:
    answer = api.http.get("/v1/customers")
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"] == API_VERSION
    assert answer.headers["Content-Type"] == "application/json"


def test_another_version_is_answered_in_this_one(api: Api) -> None:
    answer = api.http.get("/v1/account", headers={"Stripe-Version": "2020-08-27"})
    assert (answer.status_code, answer.headers["Stripe-Version"]) == (200, API_VERSION)


def test_the_sdk_works_with_its_own_paging(client: stripe.StripeClient) -> None:
    for number in range(12):
        client.v1.customers.create({"name": f"Customer {number}"})
    names = [customer.name for customer in client.v1.customers.list({"limit": 5}).auto_paging_iter()]
    assert names == [f"Customer {number}" for number in reversed(range(12))]


def test_an_unknown_url_gets_stripes_404(api: Api) -> None:
    answer = api.http.get("/v1/x")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("Unrecognized request URL (GET: /v1/x).")


def test_a_price_cannot_be_deleted_since_stripe_has_no_such_url(api: Api) -> None:
    answer = api.http.delete("/v1/prices/price_1")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("Unrecognized request URL (DELETE: /v1/prices/price_1).")


def test_what_stripe_has_and_the_sandbox_lacks_is_said_plainly(api: Api) -> None:
    error = api.post("/v1/quotes", 404, description="A quote")["error"]
    assert error["message"] == "The sandbox does not implement POST /v1/quotes yet."


def test_a_parameter_without_effect_is_refused_and_nothing_is_made(api: Api) -> None:
    error = api.post(
        "/v1/products", 400, name="Pro", package_dimensions={"height": 1, "length": 1, "weight": 1, "width": 1}
    )
    assert error["error"]["param"] == "package_dimensions"
    assert api.get("/v1/products")["data"] == []


def test_an_unknown_parameter_is_named_with_its_full_path(api: Api) -> None:
    error = api.post("/v1/customers", 400, address={"planet": "Mars"})["error"]
    assert (error["code"], error["param"]) == ("parameter_unknown", "address[planet]")
    assert error["message"] == "Received unknown parameter: address[planet]"


def test_fifty_connections_at_once_are_all_answered(sandbox: Sandbox, api: Api) -> None:
    limits = httpx.Limits(max_connections=50)
    with httpx.Client(base_url=sandbox.url, headers=api.http.headers, timeout=30, limits=limits) as http:

        def create(number: int) -> int:
            return http.post("/v1/customers", data={"name": str(number)}).status_code

        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(create, range(100))) == [200] * 100
    names = {customer["name"] for customer in api.get("/v1/customers", limit=100)["data"]}
    assert names == {str(number) for number in range(100)}
