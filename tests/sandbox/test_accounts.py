"""Accounts: made by the control call, told apart by key and mode."""

from __future__ import annotations

import httpx
import pytest

from tests.conftest import Sandbox, SandboxAccount
from tests.sandbox.stripe_api import Api


def test_a_new_account_gets_four_keys_that_look_real(sandbox: Sandbox) -> None:
    account = sandbox.create_account("Acme")
    assert account.account_id.startswith("acct_1")
    assert account.test_secret_key.startswith("sk_test_51")
    assert account.live_secret_key.startswith("sk_live_51")
    assert account.test_publishable_key.startswith("pk_test_51")
    assert account.live_publishable_key.startswith("pk_live_51")


def test_the_list_of_accounts_holds_no_secret(sandbox: Sandbox, account: SandboxAccount) -> None:
    answer = httpx.get(f"{sandbox.url}/_sandbox/api/accounts")
    assert account.account_id in {entry["account_id"] for entry in answer.json()["data"]}
    assert "sk_" not in answer.text


def test_no_key_is_kept_in_clear(sandbox: Sandbox, account: SandboxAccount) -> None:
    stored = b"".join(path.read_bytes() for path in sandbox.data_dir.glob("sandbox.sqlite3*"))
    assert account.account_id.encode() in stored
    assert account.test_secret_key.encode() not in stored


def test_the_account_of_the_key_is_shown(api: Api, account: SandboxAccount) -> None:
    shown = api.get("/v1/account")
    assert (shown["id"], shown["charges_enabled"], shown["business_profile"]["name"]) == (
        account.account_id,
        True,
        "Acme",
    )
    assert api.get(f"/v1/accounts/{account.account_id}")["id"] == account.account_id


def test_basic_authentication_works_like_bearer(sandbox: Sandbox, account: SandboxAccount) -> None:
    answer = httpx.get(f"{sandbox.url}/v1/account", auth=(account.test_secret_key, ""))
    assert answer.json()["id"] == account.account_id


@pytest.mark.parametrize("name", ["", None, 7, "x" * 201])
def test_an_account_needs_a_name(sandbox: Sandbox, name: object) -> None:
    assert httpx.post(f"{sandbox.url}/_sandbox/api/accounts", json={"name": name}).status_code == 400


def test_a_request_without_a_key_gets_401(sandbox: Sandbox) -> None:
    answer = httpx.get(f"{sandbox.url}/v1/account")
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You did not provide an API key.")


def test_an_unknown_key_gets_401_and_is_shown_masked(sandbox: Sandbox) -> None:
    answer = httpx.get(f"{sandbox.url}/v1/account", headers={"Authorization": "Bearer sk_test_unknownkey1234"})
    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "message": "Invalid API Key provided: sk_test_**********1234",
        "type": "invalid_request_error",
    }


def test_a_publishable_key_is_refused(sandbox: Sandbox, account: SandboxAccount) -> None:
    api = Api(sandbox.url, account.test_publishable_key)
    assert api.get("/v1/customers", 401)["error"]["code"] == "secret_key_required"


def test_another_accounts_id_in_the_header_gets_403(sandbox: Sandbox, api: Api) -> None:
    other = sandbox.create_account("Other")
    answer = api.call("GET", "/v1/account", 403, headers={"Stripe-Account": other.account_id})
    assert answer["error"]["code"] == "account_invalid"


def test_another_accounts_objects_do_not_exist(sandbox: Sandbox, api: Api) -> None:
    other = Api(sandbox.url, sandbox.create_account("Other").test_secret_key)
    customer = api.post("/v1/customers", email="a@example.com")
    path = f"/v1/customers/{customer['id']}"
    error = other.get(path, 404)["error"]
    assert (error["code"], error["message"]) == ("resource_missing", f"No such customer: '{customer['id']}'")
    other.post(path, 404, name="Mallory")
    other.delete(path, 404)
    assert other.get("/v1/customers")["data"] == []
    assert api.get(path) == customer


def test_two_accounts_may_choose_the_same_product_id(sandbox: Sandbox, api: Api) -> None:
    other = Api(sandbox.url, sandbox.create_account("Other").test_secret_key)
    api.post("/v1/products", id="pro", name="Ours")
    other.post("/v1/products", id="pro", name="Theirs")
    assert (api.get("/v1/products/pro")["name"], other.get("/v1/products/pro")["name"]) == ("Ours", "Theirs")


def test_the_modes_are_kept_apart_and_the_error_says_where_the_object_is(
    sandbox: Sandbox, api: Api, account: SandboxAccount
) -> None:
    live = Api(sandbox.url, account.live_secret_key)
    customer = api.post("/v1/customers")
    error = live.get(f"/v1/customers/{customer['id']}", 404)["error"]
    assert error["message"] == (
        f"No such customer: '{customer['id']}'; a similar object exists in test mode, but a live mode key was used to "
        "make this request."
    )
    assert live.post("/v1/customers")["livemode"] is True
    assert customer["livemode"] is False
