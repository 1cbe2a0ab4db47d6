"""Faults on demand and the request log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import stripe

from tests.conftest import Sandbox, SandboxAccount
from tests.sandbox.stripe_api import Api


@pytest.fixture
def fault(sandbox: Sandbox, account: SandboxAccount) -> Iterator[Callable[..., None]]:
    def add(**wanted: Any) -> None:
        body = {"account_id": account.account_id, **wanted}
        httpx.post(f"{sandbox.url}/_sandbox/api/faults", json=body).raise_for_status()

    yield add
    httpx.delete(f"{sandbox.url}/_sandbox/api/faults", params={"account_id": account.account_id})


@pytest.mark.parametrize(
    ("do", "status", "error_type"),
    [
        ("status:500", 500, "api_error"),
        ("status:503", 503, "api_error"),
        ("status:429", 429, "invalid_request_error"),
        ("status:401", 401, "invalid_request_error"),
        ("status:402", 402, "card_error"),
        ("status:409", 409, "invalid_request_error"),
        ("status:400:idempotency_error", 400, "idempotency_error"),
    ],
)
def test_a_status_comes_instead_of_the_effect(
    api: Api, fault: Callable[..., None], do: str, status: int, error_type: str
) -> None:
    fault(match="POST /v1/customers", do=do)
    assert api.post("/v1/customers", status)["error"]["type"] == error_type
    assert api.get("/v1/customers")["data"] == []
    api.post("/v1/customers")


def test_429_says_why_as_the_sdk_expects(client: stripe.StripeClient, fault: Callable[..., None]) -> None:
    fault(match="GET /v1/customers*", do="status:429")
    with pytest.raises(stripe.RateLimitError) as refused:
        client.v1.customers.list()
    assert '"code": "rate_limit"' in str(refused.value.http_body)
    assert (refused.value.headers or {})["Stripe-Rate-Limited-Reason"] == "global-rate"


@pytest.mark.parametrize("reason", ["endpoint-rate", "global-concurrency", "resource-specific"])
def test_429_comes_with_each_of_stripes_reasons(api: Api, fault: Callable[..., None], reason: str) -> None:
    fault(match="GET /v1/customers", do=f"status:429:{reason}")
    answer = api.http.get("/v1/customers")
    assert (answer.status_code, answer.headers["Stripe-Rate-Limited-Reason"]) == (429, reason)
    assert "Retry-After" not in answer.headers


def test_a_lock_timeout_is_a_429_of_its_own_which_sdks_retry(client: stripe.StripeClient, api: Api, fault: Any) -> None:
    fault(match="POST /v1/customers", do="status:429:lock_timeout")
    answer = api.http.post("/v1/customers")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "lock_timeout")
    assert answer.headers["Stripe-Should-Retry"] == "true"
    assert "Stripe-Rate-Limited-Reason" not in answer.headers


def test_a_key_in_use_is_retried_by_the_sdk_and_done_once(
    sandbox: Sandbox, account: SandboxAccount, api: Api, fault: Callable[..., None]
) -> None:
    fault(match="POST /v1/customers", do="status:409", times=2)
    patient = stripe.StripeClient(account.test_secret_key, base_addresses={"api": sandbox.url}, max_network_retries=2)
    patient.v1.customers.create({"name": "Dana"})
    assert len(api.get("/v1/customers")["data"]) == 1


def test_an_answer_lost_after_the_effect_is_given_to_the_sdks_retry(
    sandbox: Sandbox, account: SandboxAccount, api: Api, fault: Callable[..., None]
) -> None:
    fault(match="POST /v1/customers", do="reset_after_effect")
    patient = stripe.StripeClient(account.test_secret_key, base_addresses={"api": sandbox.url}, max_network_retries=1)
    created = patient.v1.customers.create({"name": "Dana"})
    assert [found["id"] for found in api.get("/v1/customers")["data"]] == [created.id]


def test_a_limit_lets_so_many_requests_a_second_pass(api: Api, fault: Callable[..., None]) -> None:
    fault(match="GET /v1/customers", do="limit:5")
    statuses = [api.http.get("/v1/customers").status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    time.sleep(1.1)
    assert api.http.get("/v1/customers").status_code == 200


def test_one_mode_alone_is_hit(sandbox: Sandbox, account: SandboxAccount, fault: Callable[..., None]) -> None:
    fault(match="* /v1/*", do="status:401", mode="live", times=9)
    Api(sandbox.url, account.test_secret_key).get("/v1/customers")
    refused = Api(sandbox.url, account.live_secret_key).get("/v1/customers", 401)
    assert "sk_live_" in refused["error"]["message"]


def test_one_fault_is_taken_back_and_the_others_stay(sandbox: Sandbox, api: Api, account: SandboxAccount) -> None:
    address = f"{sandbox.url}/_sandbox/api/faults"
    rules = [
        httpx.post(address, json={"account_id": account.account_id, "match": f"GET /v1/{noun}", "do": "status:500"})
        for noun in ("customers", "products")
    ]
    assert httpx.delete(f"{address}/{rules[0].json()['id']}").status_code == 200
    assert httpx.delete(f"{address}/{rules[0].json()['id']}").status_code == 404
    api.get("/v1/customers")
    assert api.http.get("/v1/products").status_code == 500
    (left,) = httpx.get(address, params={"account_id": account.account_id}).json()["data"]
    assert (left["match"], left["seen"], left["struck"]) == ("GET /v1/products", 1, 1)


def test_the_nth_request_and_so_many_of_them(api: Api, fault: Callable[..., None]) -> None:
    fault(match="POST /v1/customers", do="status:500", nth=2, times=2)
    statuses = [api.http.post("/v1/customers").status_code for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]


def test_a_reset_breaks_the_connection_and_does_nothing(api: Api, fault: Callable[..., None]) -> None:
    fault(match="POST /v1/customers", do="reset")
    with pytest.raises(httpx.TransportError):
        api.http.post("/v1/customers")
    assert api.get("/v1/customers")["data"] == []


def test_a_reset_after_the_effect_breaks_the_connection_and_does_it(api: Api, fault: Callable[..., None]) -> None:
    fault(match="POST /v1/customers", do="reset_after_effect")
    with pytest.raises(httpx.TransportError):
        api.http.post("/v1/customers")
    assert len(api.get("/v1/customers")["data"]) == 1


def test_a_hanging_request_never_has_an_effect(sandbox: Sandbox, api: Api, fault: Callable[..., None]) -> None:
    fault(match="POST /v1/customers", do="hang", seconds=1)
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{sandbox.url}/v1/customers", headers=api.http.headers, timeout=3)
    assert api.get("/v1/customers")["data"] == []


def test_other_accounts_and_paths_are_not_hit(sandbox: Sandbox, api: Api, fault: Callable[..., None]) -> None:
    fault(match="POST /v1/customers", do="status:500", times=10)
    other = Api(sandbox.url, sandbox.create_account("Other").test_secret_key)
    other.post("/v1/customers")
    api.post("/v1/products", name="Pro")


@pytest.mark.parametrize(
    "body",
    [
        {"match": "GET /", "do": "explode"},
        {"match": "GET /", "do": "status:200"},
        {"do": "reset"},
        {"match": "GET /", "do": "reset", "nth": 0},
        {"match": "GET /", "do": "hang", "seconds": 9999},
        {"match": "GET /", "do": "reset", "typo": 1},
        {"match": "GET /", "do": "status:429:whatever"},
        {"match": "GET /", "do": "limit:0"},
        {"match": "GET /", "do": "reset", "mode": "both"},
        {"match": "GET /", "do": "reset", "times": "many"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(sandbox: Sandbox, body: dict[str, Any]) -> None:
    assert httpx.post(f"{sandbox.url}/_sandbox/api/faults", json=body).status_code == 400


def test_the_request_log_shows_what_came_and_no_secret(sandbox: Sandbox, api: Api, account: SandboxAccount) -> None:
    api.call("POST", "/v1/customers", headers={"Idempotency-Key": "k"}, name="Dana")
    card = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2034, "cvc": "123"}
    api.post("/v1/payment_methods", type="card", card=card)
    answer = httpx.get(f"{sandbox.url}/_sandbox/api/requests", params={"account_id": account.account_id})
    first, second = answer.json()["data"]
    assert (first["method"], first["path"], first["idempotency_key"], first["params"], first["status"]) == (
        "POST",
        "/v1/customers",
        "k",
        {"name": "Dana"},
        200,
    )
    assert second["params"]["card"]["number"] == "***"
    assert account.test_secret_key not in answer.text and "4242424242424242" not in answer.text
