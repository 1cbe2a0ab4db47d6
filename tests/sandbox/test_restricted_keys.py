"""Restricted keys: what they may do, what Stripe's 403 says, and keys that are no longer valid."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.conftest import Sandbox, SandboxAccount
from tests.sandbox.stripe_api import Api


def make_key(sandbox: Sandbox, account: SandboxAccount, expect: int = 201, **body: Any) -> Any:
    answer = httpx.post(f"{sandbox.url}/_sandbox/api/accounts/{account.account_id}/keys", json=body)
    assert answer.status_code == expect, answer.text
    return answer.json()


def with_key(sandbox: Sandbox, account: SandboxAccount, **granted: str) -> Api:
    return Api(sandbox.url, make_key(sandbox, account, permissions=granted)["key"])


def test_a_key_reads_and_writes_what_it_may(sandbox: Sandbox, account: SandboxAccount) -> None:
    limited = with_key(sandbox, account, customer="write", product="read")
    assert limited.key.startswith("rk_test_")
    customer = limited.post("/v1/customers", email="dana@example.com")
    assert limited.get(f"/v1/customers/{customer['id']}")["email"] == "dana@example.com"
    assert limited.get("/v1/products")["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("POST", "/v1/products", "rak_product_write"),
        ("GET", "/v1/subscriptions", "rak_subscription_read"),
        ("DELETE", "/v1/subscriptions/sub_x", "rak_subscription_write"),
        ("GET", "/v1/prices", "rak_plan_read"),
        ("POST", "/v1/checkout/sessions", "rak_checkout_session_write"),
        ("POST", "/v1/refunds", "rak_charge_write"),
        ("GET", "/v1/webhook_endpoints", "rak_webhook_read"),
    ],
)
def test_403_names_the_permission_that_is_missing(
    sandbox: Sandbox, account: SandboxAccount, api: Api, method: str, path: str, permission: str
) -> None:
    limited = with_key(sandbox, account, customer="write", product="read")
    error = limited.call(method, path, 403)["error"]
    assert error["type"] == "invalid_request_error"
    assert f"Having the '{permission}' permission would allow this request to continue." in error["message"]
    assert account.account_id in error["message"] and limited.key not in error["message"]
    assert api.get("/v1/products")["data"] == []


def test_the_account_itself_is_never_open_to_them(sandbox: Sandbox, account: SandboxAccount) -> None:
    limited = with_key(sandbox, account, customer="write")
    assert account.account_id in limited.get("/v1/account", 403)["error"]["message"]


def test_the_sdk_raises_a_permission_error(sandbox: Sandbox, account: SandboxAccount) -> None:
    key = make_key(sandbox, account, permissions={})["key"]
    client = stripe.StripeClient(key, base_addresses={"api": sandbox.url}, max_network_retries=0)
    with pytest.raises(stripe.PermissionError):
        client.v1.customers.list()


def test_a_live_key_sees_live_objects_only(sandbox: Sandbox, account: SandboxAccount, api: Api) -> None:
    api.post("/v1/customers")
    key = make_key(sandbox, account, permissions={"customer": "read"}, livemode=True)["key"]
    assert key.startswith("rk_live_")
    assert Api(sandbox.url, key).get("/v1/customers")["data"] == []


@pytest.mark.parametrize("granted", [{"nonsense": "read"}, {"customer": "sometimes"}, None])
def test_a_key_with_unknown_permissions_is_not_made(sandbox: Sandbox, account: SandboxAccount, granted: Any) -> None:
    make_key(sandbox, account, 400, permissions=granted)


def test_an_expired_key_is_refused_with_401(sandbox: Sandbox, account: SandboxAccount, api: Api) -> None:
    limited = with_key(sandbox, account, customer="read")
    limited.get("/v1/customers")
    url = f"{sandbox.url}/_sandbox/api/keys/expire"
    assert httpx.post(url, json={"key": limited.key}).status_code == 200
    assert limited.get("/v1/customers", 401)["error"]["code"] == "api_key_expired"
    api.get("/v1/customers")
    assert httpx.post(url, json={"key": "sk_test_nope"}).status_code == 404
