"""/api/v1/projects/{id}/mail-brand and alert-settings: developers set what the admin's forms set, by the same checks."""

import base64
from typing import Any

import pytest

from notifications.models import AlertKind, AlertRule, AlertTarget, Brand
from notifications.services.brand import look_of
from projects.models import Project
from tests.cast import Developer, set_role

SECRET = "whsec_" + base64.b64encode(b"CANARYalertsecret" * 2).decode()
HOOK = "https://93.184.215.14/alerts?token=hidden"


def ask(who: Developer, project: Project, leaf: str, body: Any = None) -> Any:
    address = f"/api/v1/projects/{project.pk}/{leaf}"
    if body is None:
        return who.client.get(address)
    return who.client.put(address, data=body, content_type="application/json")


def rules(answer: Any) -> dict[str, Any]:
    return {rule["kind"]: rule for rule in answer.json()["rules"]}


def test_a_brand_is_set_read_and_taken_back(acme: Project, bob: Developer, charlie: Developer) -> None:
    set_role(acme, bob, "developer")
    assert set(ask(bob, acme, "mail-brand").json().values()) == {str(acme.pk), None}
    wanted = {
        "from_name": "Acme Ltd",
        "reply_to": "help@acme.example",
        "color": "#0F766E",
        "footer_text": "Acme\nBerlin",
    }
    saved = ask(bob, acme, "mail-brand", wanted)
    assert saved.status_code == 200 and saved.json() == saved.json() | wanted | {"color": "#0f766e", "logo_url": None}
    assert ask(bob, acme, "mail-brand").json() == saved.json()
    look = look_of(acme)
    assert (look.from_name, look.reply_to, look.color) == ("Acme Ltd", "help@acme.example", "#0f766e")
    for name, value in (
        ("from_address", "ceo@bank.example"), ("reply_to", "nobody"), ("color", "red"), ("logo_url", "http://10.0.0.1/x"),
        ("from_name", "Acme\nBcc: x@example.com"),
    ):  # fmt: skip
        refused = ask(bob, acme, "mail-brand", wanted | {name: value})
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", name]), name
    assert ask(bob, acme, "mail-brand").json() == saved.json()
    set_role(acme, bob, "viewer")
    assert ask(bob, acme, "mail-brand", {}).status_code == 403 and ask(bob, acme, "mail-brand").status_code == 200
    assert [ask(charlie, acme, "mail-brand").status_code, ask(charlie, acme, "mail-brand", {}).status_code] == [404] * 2
    set_role(acme, bob, "developer")
    assert ask(bob, acme, "mail-brand", {}).status_code == 200 and look_of(acme).from_name == acme.name
    assert Brand.objects.for_project(acme).count() == 1


def test_alerts_are_set_read_and_taken_back(acme: Project, bob: Developer, charlie: Developer) -> None:
    set_role(acme, bob, "developer")
    shipped = ask(bob, acme, "alert-settings")
    assert shipped.status_code == 200 and set(rules(shipped)) == set(AlertKind.values)
    assert not any(rule["is_own"] for rule in rules(shipped).values())
    wanted = {
        "rules": [{"kind": "failed_payments", "threshold": 20, "recovers_at": 5}, {"kind": "odd_credit_use", "is_enabled": False}],
        "mail_to": ["Ops@Acme.example", "ops@acme.example"], "webhook_url": HOOK, "webhook_secret": SECRET,
    }  # fmt: skip
    saved = ask(bob, acme, "alert-settings", wanted)
    assert saved.status_code == 200, saved.content
    own = rules(saved)["failed_payments"]
    assert (own["is_own"], own["threshold"], own["recovers_at"], own["window_minutes"]) == (True, 20, 5, 60)
    assert rules(saved)["odd_credit_use"]["is_enabled"] is False
    assert (saved.json()["mail_to"], saved.json()["webhook_url"]) == (["ops@acme.example"], HOOK)
    target = AlertTarget.objects.for_project(acme).get()
    assert target.get_webhook_secret() == SECRET and SECRET not in saved.content.decode() + target.webhook_secret
    assert (
        "threshold" in saved.content.decode() and rules(saved)["failed_payments"]["unit"] == "percent of the payments"
    )
    # The secret stays with its listener and goes with it; rules that are not named ship again.
    kept = ask(bob, acme, "alert-settings", {"webhook_url": HOOK})
    assert kept.status_code == 200 and AlertTarget.objects.for_project(acme).get().get_webhook_secret() == SECRET
    assert rules(kept) == rules(shipped) and kept.json()["mail_to"] == []
    set_role(acme, bob, "viewer")
    seen = ask(bob, acme, "alert-settings")
    assert seen.json()["webhook_url"] == "https://93.184.215.14/..." and "hidden" not in seen.content.decode()
    assert ask(bob, acme, "alert-settings", {}).status_code == 403
    strange = (ask(charlie, acme, "alert-settings"), ask(charlie, acme, "alert-settings", {}))
    assert [one.status_code for one in strange] == [404, 404]
    set_role(acme, bob, "developer")
    assert ask(bob, acme, "alert-settings", {}).json() == shipped.json()
    assert not AlertTarget.objects.for_project(acme).exists() and not AlertRule.objects.for_project(acme).exists()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"rules": [{"kind": "failed_payments", "threshold": 10, "recovers_at": 10}]}, ["rules", 0, "recovers_at"]),
        ({"rules": [{"kind": "failed_payments"}, {"kind": "failed_payments"}]}, ["rules", 1, "kind"]),
        ({"rules": [{"kind": "everything"}]}, ["rules", 0, "kind"]),
        ({"rules": [{"kind": "failed_payments", "calm_minutes": 1441}]}, ["rules", 0, "calm_minutes"]),
        ({"mail_to": ["nobody"]}, ["mail_to", 0]),
        ({"webhook_url": "https://127.0.0.1/x", "webhook_secret": SECRET}, ["webhook_url"]),
        ({"webhook_url": "http://93.184.215.14/x", "webhook_secret": SECRET}, ["webhook_url"]),
        ({"webhook_url": HOOK}, ["webhook_secret"]),
        ({"webhook_url": HOOK, "webhook_secret": "whsec_short"}, ["webhook_secret"]),
    ],
    ids=lambda value: None,
)
def test_what_could_not_work_is_refused_and_nothing_is_written(
    acme: Project, alice: Developer, settings: Any, change: dict[str, Any], where: list[Any]
) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = []
    refused = ask(alice, acme, "alert-settings", {"mail_to": ["ops@acme.example"]} | change)
    assert refused.status_code == 422, refused.content
    error = refused.json()["detail"][0]
    assert error["loc"] == ["body", *where] and "whsec_short" not in error["msg"]
    assert not AlertRule.objects.for_project(acme).exists() and not AlertTarget.objects.for_project(acme).exists()
