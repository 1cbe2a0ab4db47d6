"""Idempotency keys: the first answer again, byte for byte; other parameters refused; conflicts told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Sandbox, SandboxAccount
from tests.sandbox.stripe_api import Api


@pytest.fixture
def clean_faults(sandbox: Sandbox, account: SandboxAccount) -> Iterator[None]:
    yield
    httpx.delete(f"{sandbox.url}/_sandbox/api/faults", params={"account_id": account.account_id})


def send(api: Api, key: str, path: str = "/v1/customers", **form: str) -> httpx.Response:
    return api.http.post(path, data=form, headers={"Idempotency-Key": key})


def test_a_repeat_gives_the_first_answer_byte_for_byte(api: Api) -> None:
    first = send(api, "k1", name="Dana")
    again = send(api, "k1", name="Dana")
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"]
    assert (again.headers["Idempotency-Key"], "Idempotent-Replayed" in first.headers) == ("k1", False)
    assert len(api.get("/v1/customers")["data"]) == 1
    assert len(api.get("/v1/events")["data"]) == 1


def test_the_order_of_parameters_does_not_matter(api: Api) -> None:
    first = send(api, "k2", name="Dana", email="d@example.com")
    assert send(api, "k2", email="d@example.com", name="Dana").content == first.content


def test_other_parameters_are_refused_and_change_nothing(api: Api) -> None:
    send(api, "k3", name="Dana")
    answer = send(api, "k3", name="Charlie")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")
    assert send(api, "k3", path="/v1/products", name="Dana").status_code == 400
    assert [customer["name"] for customer in api.get("/v1/customers")["data"]] == ["Dana"]
    assert api.get("/v1/products")["data"] == []


def test_a_refusal_for_its_parameters_is_not_kept(api: Api) -> None:
    assert send(api, "k4", nonsense="1").status_code == 400
    assert send(api, "k4", name="Dana").status_code == 200


def test_a_declined_payment_is_kept(api: Api) -> None:
    form = {"amount": "2000", "currency": "usd", "confirm": "true", "payment_method": "pm_card_chargeDeclined"}
    first = send(api, "k5", path="/v1/payment_intents", **form)
    again = send(api, "k5", path="/v1/payment_intents", **form)
    assert (first.status_code, again.content) == (402, first.content)
    assert len(api.get("/v1/charges")["data"]) == 1


def test_keys_belong_to_one_account_and_mode(sandbox: Sandbox, api: Api, account: SandboxAccount) -> None:
    live = Api(sandbox.url, account.live_secret_key)
    other = Api(sandbox.url, sandbox.create_account("Other").test_secret_key)
    answers = {send(each, "k6", name="Dana").json()["id"] for each in (api, live, other)}
    assert len(answers) == 3


def test_a_key_that_is_too_long_is_refused(api: Api) -> None:
    assert send(api, "k" * 256).status_code == 400


def test_the_event_carries_the_request_and_its_key(api: Api) -> None:
    answer = send(api, "k7", name="Dana")
    event = api.get("/v1/events")["data"][0]
    assert event["request"] == {"id": answer.headers["Request-Id"], "idempotency_key": "k7"}


@pytest.mark.usefixtures("clean_faults")
def test_a_second_use_while_the_first_is_answered_gets_409(sandbox: Sandbox, api: Api, account: SandboxAccount) -> None:
    statuses: list[int] = []
    barrier = threading.Barrier(20)

    def post() -> None:
        barrier.wait()
        with httpx.Client(base_url=sandbox.url, headers=api.http.headers, timeout=20) as http:
            answer = http.post("/v1/customers", data={"name": "Dana"}, headers={"Idempotency-Key": "k8"})
            statuses.append(answer.status_code)

    threads = [threading.Thread(target=post) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 409} and 200 in statuses
    assert len(api.get("/v1/customers")["data"]) == 1


@pytest.mark.usefixtures("clean_faults")
def test_a_time_out_after_the_effect_is_healed_by_the_same_key(
    sandbox: Sandbox, api: Api, account: SandboxAccount
) -> None:
    fault = {
        "account_id": account.account_id,
        "match": "POST /v1/customers",
        "do": "timeout_after_effect",
        "seconds": 30,
    }
    httpx.post(f"{sandbox.url}/_sandbox/api/faults", json=fault).raise_for_status()
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=sandbox.url, headers=api.http.headers) as http:
        http.post("/v1/customers", data={"name": "Dana"}, headers={"Idempotency-Key": "k9"}, timeout=0.5)
    time.sleep(0.1)
    answer = send(api, "k9", name="Dana")
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")
    assert len(api.get("/v1/customers")["data"]) == 1
