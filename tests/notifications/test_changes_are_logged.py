"""Whoever changes a project's mails, alerts or webhook endpoints, by API or in the admin, is in the action log: no secret is."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from moderation.models import ActionLog
from notifications.models import AlertRule, AlertTarget, Brand
from projects.models import Project
from tests.cast import Developer, set_role
from tests.notifications.consumer import Consumer
from tests.notifications.listening import deliver, record
from tests.notifications.test_brand import sign_in

Lines = Callable[[Developer], list[tuple[str, dict[str, Any]]]]
SECRET = "whsec_" + base64.b64encode(b"CANARYlogged" * 3).decode()
HOOK = "https://93.184.215.14/alerts?token=CANARYpath"


def ask(who: Developer, project: Project, leaf: str, body: Any = None, method: str = "put") -> Any:
    address = f"/api/v1/projects/{project.pk}/{leaf}"
    return getattr(who.client, method)(address, data=body, content_type="application/json")


@pytest.fixture
def lines(acme: Project) -> Lines:
    """Return what was written down since the last look, all of it by `who`."""
    seen: set[Any] = set()

    def look(who: Developer) -> list[tuple[str, dict[str, Any]]]:
        rows = ActionLog.objects.for_project(acme).exclude(pk__in=seen).order_by("at", "id")
        found = list(rows)
        seen.update(row.pk for row in found)
        assert {(row.actor_id, row.actor_label) for row in found} <= {(who.user.pk, who.user.email)}
        assert "CANARY" not in str([row.details for row in found])
        return [(row.action, row.details) for row in found]

    return look


def test_settings_of_mails_and_alerts_by_the_api(acme: Project, bob: Developer, lines: Lines) -> None:
    set_role(acme, bob, "developer")
    assert ask(bob, acme, "mail-brand", {"from_name": "Acme Ltd"}).status_code == 200
    ((action, details),) = lines(bob)
    assert (action, details) == ("mail_brand.save", {"changed": {"from_name": ["", "Acme Ltd"]}})
    wanted = {
        "rules": [{"kind": "failed_payments", "threshold": 20, "recovers_at": 5}], "mail_to": ["ops@acme.example"],
        "webhook_url": HOOK, "webhook_secret": SECRET,
    }  # fmt: skip
    assert ask(bob, acme, "alert-settings", wanted).status_code == 200
    ((action, details),) = lines(bob)
    assert action == "alert_settings.save" and details["new_secret"] is True and details["new_listener"] is True
    assert details["changed"]["mail_to"] == [[], ["ops@acme.example"]]
    assert details["changed"]["listener"] == ["", "https://93.184.215.14"]
    assert [rule["threshold"] for rule in details["changed"]["rules"][1]] == [20]
    moved = wanted | {"webhook_url": f"{HOOK}2", "webhook_secret": None}
    assert ask(bob, acme, "alert-settings", moved).status_code == 200
    assert lines(bob) == [("alert_settings.save", {"changed": {}, "new_listener": True, "new_secret": False})]
    # What changes nothing, and what is refused, is no line.
    for leaf, body, status in (
        ("mail-brand", {"from_name": "Acme Ltd"}, 200), ("alert-settings", moved, 200),
        ("mail-brand", {"color": "red"}, 422), ("alert-settings", {"mail_to": ["nobody"]}, 422),
    ):  # fmt: skip
        assert ask(bob, acme, leaf, body).status_code == status
    set_role(acme, bob, "viewer")
    assert ask(bob, acme, "mail-brand", {}).status_code == ask(bob, acme, "alert-settings", {}).status_code == 403
    assert lines(bob) == []


def test_webhook_endpoints_by_the_api(acme: Project, alice: Developer, app: Consumer, lines: Lines) -> None:
    made = ask(alice, acme, "webhook-endpoints", {"url": app.url("/CANARYpath")}, "post").json()
    one = f"webhook-endpoints/{made['id']}"
    host = f"http://{app.host}"
    assert lines(alice) == [("webhook_endpoint.create", {"endpoint": host, "event_types": ["*"]})]
    for body in (
        {"event_types": ["payment.*"], "is_active": False},
        {"url": app.url("/CANARYother"), "is_active": True},
    ):
        assert ask(alice, acme, one, body).status_code == 200
        assert ask(alice, acme, one, body).status_code == 200, "the same again is no change"
    (_, first), (action, second) = lines(alice)
    assert first["changed"] == {"event_types": [["*"], ["payment.*"]], "is_active": [True, False]}
    assert (action, second["new_url"], second["changed"]) == (
        "webhook_endpoint.change", True, {"is_active": [False, True]},
    )  # fmt: skip
    record(acme)
    deliver(acme)
    (delivery,) = ask(alice, acme, f"{one}/deliveries", method="get").json()["webhook_deliveries"]
    since = {"since": "2026-01-01T00:00:00Z", "which": "all"}
    replay = f"deliveries/{delivery['id']}/replay"
    calls: dict[str, dict[str, str] | None] = {"rotate-secret": {}, replay: None, "replay": since}
    for leaf, asked in calls.items():
        assert ask(alice, acme, f"{one}/{leaf}", asked, "post").status_code == 200, leaf
    deliver(acme)
    assert ask(alice, acme, one, method="delete").status_code == 204
    found = lines(alice)
    assert [action for action, _ in found] == [
        "webhook_endpoint.rotate_secret", "webhook_delivery.replay", "webhook_endpoint.replay", "webhook_endpoint.delete",
    ]  # fmt: skip
    assert found[2][1]["which"] == "all" and {details["endpoint"] for _, details in found} == {host}


def test_in_the_admin(acme: Project, bob: Developer, lines: Lines) -> None:
    set_role(acme, bob, "developer")
    client = sign_in(bob)

    def send(model: str, row: Any, form: dict[str, Any]) -> None:
        leaf = "change" if row else "add"
        path = reverse(f"admin:notifications_{model}_{leaf}", args=[row.pk] if row else [])
        answer = client.post(path, {"project": str(acme.pk), **form})
        assert answer.status_code == 302, answer.content.decode()[:1000]

    def delete(model: str, row: Any) -> None:
        path = reverse(f"admin:notifications_{model}_delete", args=[row.pk])
        assert client.post(path, {"post": "yes"}).status_code == 302

    send("brand", None, {"from_name": "Acme"})
    brand = Brand.objects.for_project(acme).get()
    send("brand", brand, {"from_name": "Acme Ltd"})
    delete("brand", brand)
    send("alertrule", None, {"kind": "failed_payments", "is_enabled": "on", "threshold": "20", "recovers_at": "5"})
    delete("alertrule", AlertRule.objects.for_project(acme).get())
    target = {"mail_to": "ops@acme.example", "webhook_url": HOOK}
    send("alerttarget", None, {**target, "signing_secret": SECRET})
    row = AlertTarget.objects.for_project(acme).get()
    send("alerttarget", row, {**target, "webhook_url": f"{HOOK}2"})
    found = lines(bob)
    assert [action for action, _ in found] == [
        "mail_brand.save", "mail_brand.save", "mail_brand.delete", "alert_rule.save", "alert_rule.delete",
        "alert_recipients.save", "alert_recipients.save",
    ]  # fmt: skip
    assert found[1][1] == {"changed": {"from_name": ["Acme", "Acme Ltd"]}}
    assert found[3][1]["changed"]["threshold"] == [None, 20]
    assert found[6][1] == {"changed": {}, "new_listener": True, "new_secret": False}
    # Saved as it was is no line.
    send("alerttarget", row, {**target, "webhook_url": f"{HOOK}2"})
    assert lines(bob) == []
