"""/api/v1/projects/{id}/connections/litellm: the key goes in and never comes out, and goes nowhere else."""

from typing import Any

import pytest
from django.db import connection as database

from common.encryption import DecryptionError
from entitlements.models import Connection
from entitlements.services import litellm_client
from entitlements.services.connections import _checked_url
from moderation.models import ActionLog
from tests.cast import Developer, set_role
from tests.entitlements.provisioned import World
from tests.litellm import create_proxy
from tests.payments.shop import at_once

LEFT = "Left at a LiteLLM proxy that is not connected any more, with their last limits: 1 of the users"
FORBIDDEN = [
    "http://127.0.0.1:4000",
    "https://localhost/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[fd00::8]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://100.64.0.1/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://proxy.example:6379/",
    "https://key@proxy.example/",
    "https://proxy.example./",
    "http://proxy.example/",
    "https://proxy.example/?a=b",
    "https://proxy.example/#a",
    "file:///etc/passwd",
    "gopher://proxy.example/",
]


def get(world: World, who: Developer | None = None, *, query: str = "", leaf: str = "") -> Any:
    return (who or world.owner).client.get(f"{world.path}{leaf}{query}")


def check(world: World) -> dict[str, Any]:
    answer = world.owner.client.post(f"{world.path}/check", data={}, content_type="application/json")
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def stored(world: World) -> list[Connection]:
    return list(Connection.objects.for_project(world.project))


def test_a_key_is_written_checked_and_never_shown(unconnected: World) -> None:
    world = unconnected
    assert get(world).json()["code"] == "connection_not_found"
    put = world.put()
    assert put.status_code == 200, put.content
    body = put.json()
    assert (body["base_url"], body["is_test_mode"], body["kind"]) == (world.proxy.base_url, True, "litellm")
    assert (body["problem"], body["spend_reset"], body["share_email"]) == (None, "litellm", True)
    assert body["user_id_prefix"] == f"{world.project.slug}:test:"
    assert body["master_key_masked"] == f"...{world.proxy.master_key[-4:]}"
    assert body["users"] == dict.fromkeys(("total", "pending", "applied", "failed", "left_behind", "with_team_keys"), 0)
    assert get(world).json() == body
    row = world.connection()
    assert row.get_master_key() == world.proxy.master_key
    shown = put.content.decode() + get(world).content.decode() + repr(row) + str(row) + row.master_key
    assert world.proxy.master_key not in shown
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM entitlements_connection c WHERE c::text LIKE %s", [f"%{world.proxy.master_key}%"]
        )
        assert cursor.fetchone() == (0,)
    assert check(world) == {"ok": True, "problem": None, "message": "The proxy answers and takes the key."}
    # The check is two reads of somebody who does not exist, and nobody is made by it.
    assert {entry["method"] for entry in world.proxy.requests()} == {"GET"} and world.proxy.users() == {}
    assert list(ActionLog.objects.for_project(world.project).values_list("action", "mode")) == [
        ("connection.save", "test")
    ]


def test_each_mode_has_its_own_and_roles_hold(world: World, bob: Developer, charlie: Developer) -> None:
    assert get(world, query="?test_mode=false").status_code == 404
    live = world.connect(live=True)
    assert live.user_id_prefix == f"{world.project.slug}:live:"
    assert world.put(who=bob).status_code == 200
    set_role(world.project, bob, "viewer")
    assert get(world, bob).status_code == 200
    refused = [world.put(who=bob), bob.client.delete(world.path), bob.client.post(f"{world.path}/check")]
    assert [answer.status_code for answer in refused] == [403] * 3
    strangers = [get(world, charlie), world.put(who=charlie), charlie.client.delete(world.path)]
    assert [answer.json()["code"] for answer in strangers] == ["project_not_found"] * 3
    assert len(stored(world)) == 2


def test_s28_an_address_that_may_not_be_called_is_422_and_nothing_is_saved(unconnected: World, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = []
    for url in FORBIDDEN:
        answer = unconnected.put(base_url=url)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "base_url"]), url
    assert stored(unconnected) == [] and unconnected.proxy.requests() == []


def test_a_key_that_the_proxy_refuses_changes_nothing(world: World) -> None:
    before = world.connection()
    member = world.proxy.new(user_id="member")["key"]
    for key, text in (("sk-wrong-key", "refuses the master key"), (member, "no admin's")):
        answer = world.put(master_key=key)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "master_key"])
        assert text in answer.json()["detail"][0]["msg"] and key not in answer.content.decode()
    for key in ("", "a key", "käse", "x" * 501):
        assert world.put(master_key=key).status_code == 422
    assert world.put(spend_reset="never").status_code == world.put(share_email="yes").status_code == 422
    after = world.connection()
    assert (after.master_key, after.base_url, after.updated_at) == (
        before.master_key,
        before.base_url,
        before.updated_at,
    )


def test_s45_what_is_no_litellm_is_refused_without_a_word_of_it(unconnected: World) -> None:
    for odd in ("html", "list", "redirect"):
        unconnected.proxy.fault("GET /v2/*", odd)
        answer = unconnected.put()
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "base_url"]), odd
        assert "169.254" not in answer.content.decode() and "Sign in" not in answer.content.decode()
    assert stored(unconnected) == []


def test_an_address_without_a_litellm_is_refused(unconnected: World) -> None:
    answer = unconnected.put(base_url=f"{unconnected.proxy.base_url}/nothing/here")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "base_url"])


def test_a_sign_in_of_something_else_is_the_addresss_fault_not_the_keys(unconnected: World) -> None:
    """The stand-in for Stripe is at the root, and says 401 in Stripe's words to a key that is none of its own."""
    for path in ("", "/v1"):
        answer = unconnected.put(base_url=f"{unconnected.proxy.url}{path}")
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "base_url"])
    assert answer.json()["detail"][0]["msg"] == "No LiteLLM answers there (401)."
    assert stored(unconnected) == []


def test_a_proxy_in_trouble_is_saved_with_its_problem(unconnected: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm_client, "TIMEOUT_SECONDS", 0.5)
    for trouble in ("status:503", "reset", "hang", "huge", "drip"):
        unconnected.proxy.fault("GET /v2/*", trouble, seconds=1)
        answer = unconnected.put()
        assert (answer.status_code, answer.json()["problem"]) == (200, "unreachable"), trouble
    unconnected.proxy.clear_faults()
    assert get(unconnected).json()["answered_at"] is None
    assert check(unconnected)["ok"] is True
    assert (unconnected.connection().problem, get(unconnected).json()["problem_since"]) == ("", None)


def test_a_stored_key_is_sent_to_its_own_address_only(world: World) -> None:
    elsewhere = create_proxy(world.proxy.url)
    moved = world.put(base_url=f"{elsewhere.base_url}/sub", master_key="left out")
    assert (moved.status_code, moved.json()["detail"][0]["loc"]) == (422, ["body", "master_key"])
    assert elsewhere.requests() == [] and len(world.proxy.requests()) == 2
    assert world.connection().base_url == world.proxy.base_url
    kept = world.put(master_key=None, spend_reset="payment", share_email=False)
    assert (kept.status_code, kept.json()["spend_reset"], kept.json()["share_email"]) == (200, "payment", False)
    assert world.connection().get_master_key() == world.proxy.master_key
    first = world.owner.client.put(
        f"{world.path}?test_mode=false", data={"base_url": world.proxy.base_url}, content_type="application/json"
    )
    assert first.json()["detail"][0]["type"] == "missing"


def test_two_connections_to_one_proxy_never_name_the_same_user(
    world: World, other_project: Any, charlie: Developer
) -> None:
    for prefix in ("", world.connection().user_id_prefix, f"{world.project.slug}:"):
        answer = world.put(live=True, user_id_prefix=prefix)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "user_id_prefix"])
        others = f"/api/v1/projects/{other_project.pk}/connections/litellm"
        body = {"base_url": world.proxy.base_url, "master_key": world.proxy.master_key, "user_id_prefix": prefix}
        assert charlie.client.put(others, data=body, content_type="application/json").status_code == 422
    assert world.put(live=True, user_id_prefix="a b").status_code == 422
    body["user_id_prefix"] = "same/"
    two = [
        lambda: world.put(live=True, user_id_prefix="same/"),
        lambda: charlie.client.put(others, data=body, content_type="application/json"),
    ]
    assert sorted(at_once(2, lambda number: two[number]().status_code)) == [200, 422]
    assert world.put(user_id_prefix="acme/").status_code == 200
    world.hold(world.plan("pro", compute_budget_cents=2000))
    assert world.put(user_id_prefix="other/").status_code == 422
    assert world.provisioned().litellm_user_id == f"acme/{world.user.user_id}"


def test_one_proxy_spelled_in_several_ways_is_one_proxy(world: World, other_project: Any, charlie: Developer) -> None:
    mine = world.connection()
    others = f"/api/v1/projects/{other_project.pk}/connections/litellm"
    port = mine.base_url.split(":")[2].split("/")[0]
    path = [f"{scheme}://127.0.0.1:{port}" for scheme in ("http", "HTTP")]
    spelled = [
        f"{path[1]}/_litellm/",
        f"{path[0]}//_litellm",
        f"{path[0]}/a/../%5flitellm/.",
        f"{path[0]}/%2E%2e/_litellm//",
    ]
    body = {"master_key": world.proxy.master_key, "user_id_prefix": mine.user_id_prefix}
    for url in spelled:
        theirs = charlie.client.put(others, data=body | {"base_url": url}, content_type="application/json")
        assert (theirs.status_code, theirs.json()["detail"][0]["loc"]) == (422, ["body", "user_id_prefix"]), url
        # It is the address that the stored key belongs to.
        same = world.put(base_url=url, master_key=None)
        assert (same.status_code, same.json()["base_url"]) == (200, mine.base_url), url
    world.hold(world.plan("pro", compute_budget_cents=2000))
    Connection.objects.filter(pk=mine.pk).update(base_url=spelled[0])
    assert world.put(master_key=None).status_code == 200 and world.connection().base_url == mine.base_url
    assert (world.reviews(), Connection.objects.for_project(other_project).exists()) == ([], False)


def test_a_projects_modes_never_share_a_prefix_whatever_the_address(world: World) -> None:
    """Two names of one proxy look like two proxies."""
    named = world.proxy.base_url.replace("127.0.0.1", "localhost")
    for prefix in (world.connection().user_id_prefix, ""):
        answer = world.put(live=True, base_url=named, user_id_prefix=prefix)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "user_id_prefix"])
        assert "other mode" in answer.json()["detail"][0]["msg"]
    assert len(stored(world)) == 1
    assert world.put(live=True, base_url=named).status_code == 200


def test_the_one_spelling_of_an_address(unconnected: World, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = ["proxy.internal:4000"]
    spelled = {
        "https://1.1.1.1:443/": "https://1.1.1.1",
        "HTTPS://1.1.1.1/a/./b/..//%7Ec/%2fd/": "https://1.1.1.1/a/~c/%2Fd",
        "https://[2606:4700:4700:0:0::1111]:8443/A": "https://[2606:4700:4700::1111]:8443/A",
        "http://Proxy.Internal:4000/..": "http://proxy.internal:4000",
    }
    assert {url: _checked_url(url, whose="") for url in spelled} == spelled


def test_a_ciphertext_is_bound_to_its_project_and_mode(world: World) -> None:
    live = world.connect(live=True)
    Connection.objects.filter(pk=live.pk).update(master_key=world.connection().master_key)
    with pytest.raises(DecryptionError):
        world.connection("live").get_master_key()
    answer = world.owner.client.post(f"{world.path}/check?test_mode=false")
    assert (answer.json()["ok"], answer.json()["problem"]) == (False, "key_unreadable")
    assert world.put(live=True, master_key=None).json()["detail"][0]["loc"] == ["body", "master_key"]
    assert world.put(live=True).status_code == 200


def test_a_rolled_key_is_told_once_and_mended_by_saving(world: World) -> None:
    rolled = world.proxy.roll()
    for _ in range(2):
        verdict = check(world)
        assert (verdict["ok"], verdict["problem"]) == (False, "key_rejected")
    assert len(world.reviews()) == 1 and get(world).json()["problem"] == "key_rejected"
    world.connect(master_key=rolled.master_key)
    assert check(world)["ok"] is True


def test_a_deleted_connection_forgets_the_key_and_nobody(world: World) -> None:
    world.hold(world.plan("pro", compute_budget_cents=2000))
    world.run()
    assert world.owner.client.delete(world.path).status_code == 204
    assert get(world).status_code == world.owner.client.delete(world.path).status_code == 404
    row = world.connection()
    assert (row.is_active, row.master_key, row.master_key_masked) == (False, "", "")
    assert world.reviews() == [LEFT]
    assert world.provisioned().status == "left_behind"
    asked = len(world.proxy.requests())
    world.hold(None)
    world.run()
    assert (len(world.proxy.requests()), world.limits()[0]) == (asked, 20)
    assert world.put(master_key="left out").status_code == 422
    world.connect()
    assert (world.provisioned().status, world.provisioned().last_read_at) == ("pending", None)
