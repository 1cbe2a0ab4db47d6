"""Faults on demand and the request log."""

from __future__ import annotations

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
