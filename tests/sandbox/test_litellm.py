"""The stand-in for LiteLLM behaves as docs/litellm.md says that a proxy does: each fact has its test."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config.embedded import stop_process
from sandbox.litellm.resets import is_duration, reset_after
from tests.conftest import Sandbox, start_sandbox
from tests.litellm import Proxy, create_proxy

LIMITS = ("max_budget", "budget_duration", "tpm_limit", "rpm_limit")


@pytest.fixture
def proxy(sandbox: Sandbox) -> Proxy:
    return create_proxy(sandbox.url)


def test_only_the_master_key_may(proxy: Proxy, sandbox: Sandbox) -> None:
    for key in ("", "sk-wrong", create_proxy(sandbox.url).master_key[:-1]):
        answer = proxy.ask("POST", "/user/new", {"user_id": "u"}, key=key)
        assert (answer.status_code, set(answer.json())) == (401, {"error"})
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    member = proxy.new(user_id="member")["key"]
    assert proxy.ask("GET", "/v2/user/info", key=member, user_id="member").status_code == 403
    other = create_proxy(sandbox.url)
    assert other.ask("GET", "/v2/user/info", user_id="member").status_code == 404
    assert set(proxy.users()) == {"member"}
    rolled = proxy.roll()
    assert proxy.ask("GET", "/v2/user/info", user_id="member").status_code == 401
    assert rolled.row("member")["user_id"] == "member"


def test_a_user_is_made_with_a_key_unless_that_is_declined(proxy: Proxy) -> None:
    made = proxy.new(user_id="a", user_email="A@example.com", max_budget=5, budget_duration="30d", tpm_limit=10)
    assert (made["user_id"], made["max_budget"], made["key"][:3]) == ("a", 5, "sk-")
    assert proxy.new(user_id="b", auto_create_key=False)["key"] == ""
    assert [len(user["keys"]) for user in (proxy.users()["a"], proxy.users()["b"])] == [1, 0]
    row = proxy.row("a")
    assert {name: row[name] for name in LIMITS} == {
        "max_budget": 5, "budget_duration": "30d", "tpm_limit": 10, "rpm_limit": None,
    }  # fmt: skip
    assert (row["user_role"], row["models"], row["metadata"], row["spend"]) == (None, [], {}, 0)
    for taken in ({"user_id": "a"}, {"user_id": "c", "user_email": "a@EXAMPLE.com"}):
        assert proxy.ask("POST", "/user/new", taken).status_code == 409
    whole = proxy.ask("GET", "/user/info", user_id="a").json()
    assert (whole["user_id"], whole["user_info"]["max_budget"], len(whole["keys"])) == ("a", 5, 1)
    assert [proxy.ask("GET", path, user_id="z").status_code for path in ("/user/info", "/v2/user/info")] == [404, 404]


def test_an_update_makes_unknown_users_silently(proxy: Proxy) -> None:
    answer = proxy.update(user_id="ghost", max_budget=3)
    assert (answer.status_code, answer.json()["data"]["max_budget"]) == (200, 3)
    assert (proxy.row("ghost")["user_role"], proxy.users()["ghost"]["keys"]) == (None, [])
    # By an unknown address: the answer refuses, the row is there.
    assert proxy.update(user_email="nobody@example.com", max_budget=4).status_code == 400
    assert sorted(user["max_budget"] for user in proxy.users().values()) == [3, 4]
    assert proxy.update(max_budget=1).status_code == 422


def test_null_clears_four_fields_and_nothing_else(proxy: Proxy) -> None:
    full = {"max_budget": 5, "budget_duration": "1d", "tpm_limit": 1, "rpm_limit": 2, "max_parallel_requests": 3}
    proxy.new(user_id="u", models=["m"], user_alias="Uma", metadata={"a": 1, "b": 2}, **full)
    empty: dict[str, Any] = {"models": [], "metadata": {}, "user_alias": None, "max_parallel_requests": None}
    assert proxy.update(user_id="u", soft_budget=1, unheard_of=1, **dict.fromkeys(LIMITS), **empty).status_code == 200
    row = proxy.row("u")
    assert [row[name] for name in LIMITS] == [None] * 4 and row["budget_reset_at"] is None
    assert (row["models"], row["metadata"], row["user_alias"]) == (["m"], {"a": 1, "b": 2}, "Uma")
    assert row["max_parallel_requests"] == 3
    proxy.update(user_id="u", metadata={"c": 3}, max_budget=-1)
    assert (proxy.row("u")["metadata"], proxy.row("u")["max_budget"]) == ({"c": 3}, -1)


def test_a_budget_blocks_at_once_and_is_reported_late(proxy: Proxy) -> None:
    key = proxy.new(user_id="u", max_budget=1)["key"]
    assert proxy.call_model(key, 1.0).status_code == 200
    refused = proxy.call_model(key)
    assert (refused.status_code, refused.json()["error"]["type"]) == (422, "budget_exceeded")
    assert (proxy.row("u")["spend"], proxy.users()["u"]["enforced_spend"]) == (0, 1.0)
    proxy.settings(spend_lag_seconds=0)
    assert proxy.row("u")["spend"] == 1.0
    # A field that is wrong is 422 as well, in another shape.
    assert proxy.update(user_id="u", max_budget="much").json()["detail"][0]["loc"] == ["body", "max_budget"]
    # A duration leaves the spend as it is; only zero resets it.
    proxy.update(user_id="u", budget_duration="30d")
    assert proxy.call_model(key).status_code == 422
    proxy.update(user_id="u", spend=0)
    assert proxy.call_model(key, 1.0).status_code == 200
    proxy.update(user_id="u", max_budget=None)
    assert proxy.call_model(key).status_code == 200
    proxy.update(user_id="u", max_budget=0)
    assert proxy.call_model(key).status_code == 422


def test_rates_hold_for_a_minute_and_a_teams_key_skips_the_budget(proxy: Proxy) -> None:
    key = proxy.new(user_id="u", max_budget=0)["key"]
    team = proxy.key_of("u", "team-1")
    assert [proxy.call_model(key).status_code, proxy.call_model(team).status_code] == [422, 200]
    proxy.update(user_id="u", max_budget=None, rpm_limit=2)
    assert [proxy.call_model(key).status_code for _ in range(2)] == [200, 429]
    proxy.update(user_id="u", rpm_limit=None, tpm_limit=0)
    assert proxy.call_model(key).status_code == 429
    proxy.settings(offset_seconds=61)
    proxy.update(user_id="u", tpm_limit=1)
    assert [proxy.call_model(key).status_code for _ in range(2)] == [200, 429]
    keys = proxy.ask("GET", "/user/info", user_id="u").json()["keys"]
    assert [entry["team_id"] for entry in keys] == [None, "team-1"] and team not in str(keys)


def test_budgets_begin_anew_by_the_calendar(proxy: Proxy) -> None:
    key = proxy.new(user_id="u", max_budget=1, budget_duration="1d")["key"]
    proxy.call_model(key, 1.0)
    assert proxy.call_model(key).status_code == 422
    proxy.settings(offset_seconds=86_400)
    assert proxy.call_model(key).status_code == 200
    now = datetime(2026, 12, 30, 13, 5, tzinfo=UTC).timestamp()
    for duration, moment in {
        "1d": "2026-12-31", "24h": "2026-12-31", "7d": "2027-01-04", "30d": "2027-01-01", "1mo": "2027-01-01",
    }.items():  # fmt: skip
        assert datetime.fromtimestamp(reset_after(duration, now), UTC).isoformat()[:10] == moment, duration
    assert not is_duration("monthly") and proxy.update(user_id="u", budget_duration="monthly").status_code == 400


def test_users_are_deleted_all_or_none_with_their_keys(proxy: Proxy) -> None:
    key = proxy.new(user_id="a")["key"]
    proxy.new(user_id="b")
    refused = proxy.ask("POST", "/user/delete", {"user_ids": ["a", "z"]})
    assert (refused.status_code, set(refused.json()["detail"])) == (404, {"error"})
    assert set(proxy.users()) == {"a", "b"}
    assert proxy.ask("POST", "/user/delete", {"user_ids": ["a", "b"]}).json() == 2
    assert (proxy.users(), proxy.call_model(key).status_code) == ({}, 401)


def test_an_unknown_path_is_fastapis_404(proxy: Proxy) -> None:
    answer = proxy.ask("GET", "/v3/user/info", user_id="u")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_forced_faults_hit_one_proxy_only(proxy: Proxy, sandbox: Sandbox) -> None:
    proxy.fault("POST /user/*", "status:500")
    assert create_proxy(sandbox.url).new(user_id="u")["user_id"] == "u"
    assert proxy.ask("POST", "/user/new", {"user_id": "u"}).status_code == 500
    proxy.fault("POST /user/new", "reset_after_effect")
    with pytest.raises(httpx.TransportError):
        proxy.new(user_id="u")
    assert set(proxy.users()) == {"u"}
    proxy.fault("* /v2/*", "redirect", times=9)
    assert proxy.ask("GET", "/v2/user/info", user_id="u").status_code == 302
    proxy.clear_faults()
    assert proxy.row("u")["user_id"] == "u"
    bad = httpx.post(f"{sandbox.url}/_sandbox/api/litellm/{proxy.proxy_id}/faults", json={"match": "*", "do": "x"})
    assert bad.status_code == 400 and "do must be" in bad.json()["error"]
    assert [entry["path"] for entry in proxy.requests("/user/new")] == ["/user/new"] * 2


def test_the_page_shows_users_and_their_limits_without_a_key(proxy: Proxy, sandbox: Sandbox) -> None:
    proxy.new(
        user_id="demo:test:dana",
        max_budget=20,
        budget_duration="30d",
        rpm_limit=60,
        metadata={"payments": {"plan": "pro"}},
    )
    with httpx.Client(base_url=sandbox.url, timeout=20, follow_redirects=True) as browser:
        page = browser.get("/_litellm").text
        address = re.search(rf'href="([^"]+{proxy.proxy_id})"', page)
        assert address and proxy.master_key not in page
        assert "LiteLLM stand-in</title>" in page and '<a class="brand" href="/_litellm' in page
        users = browser.get(address.group(1)).text
        for text in ("demo:test:dana", "pro", "$20.00", "each 30d", "60 a minute", "no limit"):
            assert text in users
        assert proxy.master_key not in users and "<script" not in users
        pressed = browser.post(f"{address.group(1)}/try", data={"user_id": "demo:test:dana", "what": "spent"})
        assert "$1.00" in pressed.text
        browser.post(f"{address.group(1)}/try", data={"user_id": "demo:test:dana", "what": "changed"})
        assert proxy.row("demo:test:dana")["max_budget"] == 1000
        made = browser.post("/_litellm/_proxies", data={"name": "From the page"})
        assert made.status_code == 201 and re.search(r"sk-[\w-]{20,}", made.text)
        foreign = browser.post("/_litellm/_proxies", data={"name": "x"}, headers={"Origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert browser.get("/_litellm/_proxies/nobody").status_code == 404


def test_proxies_outlive_a_restart(tmp_path: Path) -> None:
    running, process = start_sandbox(tmp_path)
    proxy = create_proxy(running.url)
    proxy.new(user_id="u", max_budget=7)
    stop_process(psutil.Process(process.pid))
    again, process = start_sandbox(tmp_path)
    try:
        assert Proxy(again.url, proxy.proxy_id, proxy.master_key).row("u")["max_budget"] == 7
    finally:
        stop_process(psutil.Process(process.pid))
