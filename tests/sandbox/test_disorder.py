"""Deliveries that go astray by account, and how fast an account is asked: both by the sandbox's JSON switches."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.conftest import Sandbox, SandboxAccount
from tests.sandbox.receiver import Receiver
from tests.sandbox.stripe_api import Api, until


def ask(sandbox: Sandbox, method: str, path: str, expect: int = 200, **body: Any) -> Any:
    answer = httpx.request(method, f"{sandbox.url}/_sandbox/api/{path}", json=body or None, timeout=20)
    assert answer.status_code == expect, answer.text
    return answer.json()


def listen(api: Api, receiver: Receiver) -> None:
    api.post("/v1/webhook_endpoints", url=receiver.url, enabled_events=["customer.created"])


def names(receiver: Receiver) -> list[str]:
    """Who arrived, in the order of arrival."""
    return [json.loads(body)["data"]["object"]["name"] for _, body in list(receiver.received)]


def people(api: Api, count: int) -> list[str]:
    made = [f"p{number}" for number in range(count)]
    for name in made:
        api.post("/v1/customers", name=name)
    return made


def test_one_accounts_deliveries_are_held_back_and_let_go_in_a_shuffle_that_a_seed_repeats(
    sandbox: Sandbox, account: SandboxAccount, api: Api, receiver: Receiver
) -> None:
    listen(api, receiver)
    other = Api(sandbox.url, sandbox.create_account("Other").test_secret_key)
    listen(other, receiver)
    path = f"accounts/{account.account_id}/deliveries"
    assert ask(sandbox, "POST", path, paused=True, mode="test") == {"held": ["test"]}
    made = people(api, 6)
    other.post("/v1/customers", name="elsewhere")
    until(lambda: names(receiver) == ["elsewhere"])
    release: dict[str, Any] = {"account_id": account.account_id, "order": "shuffle", "seed": 5, "gap_seconds": 0.05}
    first = ask(sandbox, "POST", "deliveries/release", **release)["events"]
    until(lambda: len(names(receiver)) == 7)
    assert sorted(names(receiver)[1:]) == made != names(receiver)[1:]
    assert ask(sandbox, "GET", f"accounts/{account.account_id}/disorder")["held"] == []
    replay: dict[str, Any] = {
        "account_id": account.account_id,
        "last": 6,
        "order": "shuffle",
        "seed": 5,
        "gap_seconds": 0,
    }
    assert ask(sandbox, "POST", "deliveries/replay", **replay)["events"] == first


def test_deliveries_are_lost_doubled_and_late_by_a_seed_and_reconciliation_can_see_the_lost(
    sandbox: Sandbox, account: SandboxAccount, api: Api, receiver: Receiver
) -> None:
    listen(api, receiver)
    path = f"accounts/{account.account_id}/disorder"
    wanted: dict[str, Any] = {"drop": 0.2, "duplicate": 0.3, "late_seconds": 0.4, "seed": 11, "types": ["customer.*"]}
    assert ask(sandbox, "POST", path, **wanted)["on"]
    made = people(api, 30)
    lost = ask(sandbox, "GET", f"deliveries?account_id={account.account_id}&state=lost")["data"]
    doubled = [
        row for row in ask(sandbox, "GET", f"deliveries?account_id={account.account_id}")["data"] if row["manual"]
    ]
    assert 1 <= len(lost) <= 15 and 1 <= len(doubled) <= 20
    until(lambda: len(names(receiver)) == 30 - len(lost) + len(doubled))
    arrived = Counter(names(receiver))
    assert len(arrived) == 30 - len(lost) and max(arrived.values()) == 2
    assert list(arrived) != [name for name in made if name in arrived]
    unsent = api.get("/v1/events", delivery_success=False, type="customer.created", limit=100)["data"]
    assert {event["id"] for event in unsent} == {row["event"] for row in lost}
    # The same seed again: the same ones are lost.
    ask(sandbox, "POST", path, **wanted)
    people(api, 30)
    rows = ask(sandbox, "GET", f"deliveries?account_id={account.account_id}&state=lost")["data"]
    assert len(rows) == 2 * len(lost) == ask(sandbox, "GET", path)["lost"]
    assert ask(sandbox, "DELETE", path)["on"] is False
    api.post("/v1/customers", name="at last")
    until(lambda: "at last" in names(receiver))


@pytest.mark.parametrize(
    "body",
    [{"drop": 1.5}, {"duplicate": True}, {"seed": -1}, {"mode": "both"}, {"types": []}, {"late_seconds": 61}, {"x": 1}],
    ids=lambda body: next(iter(body)),
)
def test_disorder_that_makes_no_sense_is_refused(
    sandbox: Sandbox, account: SandboxAccount, body: dict[str, Any]
) -> None:
    path = f"accounts/{account.account_id}/disorder"
    assert ask(sandbox, "POST", path, 400, **body)["error"]["param"] == next(iter(body))
    assert ask(sandbox, "GET", path)["on"] is False
    assert ask(sandbox, "POST", "accounts/acct_none/disorder", 404, drop=0.5)["error"]["code"] == "resource_missing"


def test_the_peak_of_an_account_is_measured_by_mode_and_endpoint(
    sandbox: Sandbox, account: SandboxAccount, api: Api
) -> None:
    customer = api.post("/v1/customers")["id"]
    for _ in range(3):
        api.get(f"/v1/customers/{customer}")
    rate = ask(sandbox, "GET", f"accounts/{account.account_id}/rate")
    assert (rate["per_second"], rate["endpoint_per_second"], rate["live"]["requests"]) == (None, None, 0)
    assert (rate["test"]["requests"], rate["test"]["limited"]) == (4, 0)
    assert 1 <= rate["test"]["peak_per_second"] <= 4
    assert set(rate["test"]["endpoints"]) == {"POST /v1/customers", "GET /v1/customers/*"}
    assert rate["test"]["endpoints"]["GET /v1/customers/*"]["requests"] == 3
    assert ask(sandbox, "DELETE", f"accounts/{account.account_id}/rate")["test"]["requests"] == 0


def test_beyond_its_rate_an_account_gets_stripes_429_without_effect_and_others_do_not(
    sandbox: Sandbox, account: SandboxAccount, api: Api
) -> None:
    other = Api(sandbox.url, sandbox.create_account("Other").test_secret_key)
    path = f"accounts/{account.account_id}/rate"
    ask(sandbox, "POST", path, per_second=5, endpoint_per_second=3)
    began = time.monotonic()
    answers = [api.http.post("/v1/customers") for _ in range(4)] + [api.http.get("/v1/products") for _ in range(3)]
    seen = [answer.headers.get("Stripe-Rate-Limited-Reason") for answer in answers]
    # On a machine that was held up for a whole second there is nothing to see.
    if time.monotonic() - began < 0.9:
        assert seen == [None, None, None, "endpoint-rate", None, None, "global-rate"]
        assert (answers[3].status_code, answers[3].json()["error"]["code"]) == (429, "rate_limit")
    assert other.http.get("/v1/customers").status_code == 200
    rate = ask(sandbox, "GET", path)["test"]
    assert rate["requests"] == 7 and rate["limited"] == sum(reason is not None for reason in seen)
    lifted = ask(sandbox, "POST", path, per_second=None, endpoint_per_second=None)
    assert (lifted["per_second"], lifted["endpoint_per_second"]) == (None, None)
    assert len(api.get("/v1/customers")["data"]) == 4 - (seen[3] is not None)
    for wrong in ({"per_second": 0}, {"endpoint_per_second": "25"}, {"per_minute": 5}):
        ask(sandbox, "POST", path, 400, **wrong)
