"""Alerts in the admin: developers set their own projects' rules and recipients, only staff the operator's; no secret is shown."""

import base64
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from notifications.models import AlertIncident, AlertRule, AlertTarget
from projects.models import Membership, Project, Role
from tests.cast import Developer, create_developer
from tests.notifications.test_brand import sign_in
from tests.notifications.trouble import NOON

SECRET = "whsec_" + base64.b64encode(b"CANARYalertsecret" * 2).decode()
RULE = {
    "kind": "failed_payments", "is_enabled": "on", "threshold": "20", "recovers_at": "5", "window_minutes": "30",
    "calm_minutes": "10",
}  # fmt: skip
TARGET = {"mail_to": "ops@acme.example\non-call@acme.example", "webhook_url": "https://ops.example/alerts"}
ADD_RULE, ADD_TARGET = "admin:notifications_alertrule_add", "admin:notifications_alerttarget_add"


@pytest.fixture(autouse=True)
def no_operator(database: None) -> Any:
    """Leave no rows without a project behind."""
    yield
    AlertTarget.objects.filter(project=None).delete()
    AlertRule.objects.filter(project=None).delete()


def operator() -> Client:
    user = User.objects.create_superuser("operator@payments.example", "x" * 12)
    client = Client()
    client.force_login(user)
    return client


def test_a_rule_that_only_switches_a_kind_off_needs_no_figures(acme: Project, bob: Developer) -> None:
    client = sign_in(bob)
    page = client.get(reverse(ADD_RULE)).content.decode()
    assert "Empty: for every project" in page and page.count("Empty: as it ships for the kind.") == 4
    assert f"{acme.name} ({acme.slug})" in page, "equal names are told apart"
    off = {"project": str(acme.pk), "kind": "failed_payments", "threshold": "", "recovers_at": "", "window_minutes": ""}
    assert client.post(reverse(ADD_RULE), {**off, "recovers_at": "30"}).status_code == 200
    assert client.post(reverse(ADD_RULE), {**off, "kind": ""}).status_code == 200
    assert not AlertRule.objects.for_project(acme).exists()
    assert client.post(reverse(ADD_RULE), off).status_code == 302
    rule = AlertRule.objects.for_project(acme).get()
    assert (rule.is_enabled, rule.threshold, rule.recovers_at, rule.window_minutes, rule.calm_minutes) == (
        False, 30, 15, 60, 10,
    )  # fmt: skip


def test_a_developer_sets_a_rule_and_who_is_told(acme: Project, bob: Developer) -> None:
    client = sign_in(bob)
    listed = client.get(reverse("admin:notifications_alertrule_changelist")).content.decode()
    assert 'add/?kind=failed_payments">Payments that fail</a>: from 30 percent of the payments' in listed
    begun = client.get(reverse(ADD_RULE), {"kind": "failed_payments"})
    assert begun.context["adminform"].form.initial == {
        "kind": "failed_payments", "threshold": 30, "recovers_at": 15, "window_minutes": 60, "calm_minutes": 10,
    }  # fmt: skip
    assert 'value="30"' in begun.content.decode()
    assert client.get(reverse(ADD_RULE), {"kind": "nonsense"}).status_code == 200
    assert client.post(reverse(ADD_RULE), {"project": str(acme.pk), **RULE}).status_code == 302
    rule = AlertRule.objects.for_project(acme).get()
    assert (rule.kind, rule.threshold, rule.recovers_at, rule.window_minutes) == ("failed_payments", 20, 5, 30)
    added = client.post(reverse(ADD_TARGET), {"project": str(acme.pk), **TARGET, "signing_secret": SECRET})
    assert added.status_code == 302, added.content.decode()[:2000]
    target = AlertTarget.objects.for_project(acme).get()
    assert target.mail_to == ["ops@acme.example", "on-call@acme.example"] and target.get_webhook_secret() == SECRET
    page = reverse("admin:notifications_alerttarget_change", args=[target.pk])
    for shown in (page, reverse("admin:notifications_alerttarget_changelist")):
        assert SECRET not in client.get(shown).content.decode()
    # A blank secret keeps the stored one; no listener means no secret.
    assert client.post(page, {**TARGET, "mail_to": "one@acme.example"}).status_code == 302
    target.refresh_from_db()
    assert target.mail_to == ["one@acme.example"] and target.get_webhook_secret() == SECRET
    client.post(page, {"mail_to": ""})
    target.refresh_from_db()
    assert (target.webhook_secret, target.webhook_secret_masked, target.mail_to) == ("", "", [])


def test_viewers_see_where_a_listener_is_and_not_its_path(acme: Project, bob: Developer) -> None:
    erin = create_developer("erin")
    target = AlertTarget.objects.create(project=acme, webhook_url="https://ops.example/hook?token=CANARYpath")
    Membership.objects.create(project=acme, user=erin.user, role=Role.VIEWER)
    pages = [
        reverse("admin:notifications_alerttarget_change", args=[target.pk]),
        reverse("admin:notifications_alerttarget_changelist"),
    ]
    for who, is_whole in ((erin, False), (bob, True)):
        client = sign_in(who)
        for page in pages:
            shown = client.get(page).content.decode()
            assert "https://ops.example/" in shown and ("CANARYpath" in shown) == is_whole, page


def test_the_operator_sets_what_holds_for_every_project_once() -> None:
    client = operator()
    assert client.post(reverse(ADD_RULE), RULE).status_code == 302
    assert client.post(reverse(ADD_TARGET), {**TARGET, "signing_secret": SECRET}).status_code == 302
    assert AlertTarget.objects.get(project=None).get_webhook_secret() == SECRET
    for name, form in ((ADD_RULE, RULE), (ADD_TARGET, {**TARGET, "signing_secret": SECRET})):
        assert client.post(reverse(name), form).status_code == 200, "a second one is refused by the form"
    assert AlertRule.objects.filter(project=None).count() == AlertTarget.objects.filter(project=None).count() == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"recovers_at": "20"}, "threshold"),
        ({"window_minutes": "0"}, "minutes"),
        ({"calm_minutes": "2000"}, "minutes"),
        ({"kind": "weather"}, "kind"),
        ({"threshold": "-1"}, "threshold"),
    ],
)
def test_a_rule_that_could_never_open_or_end_is_refused(change: Any, field: str, acme: Project, bob: Developer) -> None:
    answer = sign_in(bob).post(reverse(ADD_RULE), {"project": str(acme.pk), **RULE, **change})
    assert answer.status_code == 200 and field in answer.content.decode()
    assert not AlertRule.objects.for_project(acme).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"signing_secret": ""},
        {"signing_secret": "short"},
        {"signing_secret": "whsec_CANARYnotbase64!"},
        {"webhook_url": "http://127.0.0.1:6379/"},
        {"webhook_url": "file:///etc/passwd"},
        {"webhook_url": "http://ops.example/alerts"},
        {"webhook_url": "https://ops.example/alerts#token"},
        {"webhook_url": "https://127.0.0.1/alerts"},
        {"webhook_url": "https://localhost/alerts"},
        {"webhook_url": "https://[::ffff:10.0.0.1]/alerts"},
        {"webhook_url": "https://user:x@ops.example/"},  # pragma: allowlist secret
        {"mail_to": "not an address"},
        {"mail_to": "ops@acme.example\r\nBcc:victim@example.com"},
        {"mail_to": "\n".join(f"ops{number}@acme.example" for number in range(21))},
    ],
    ids=str,
)
def test_recipients_that_cannot_be_told_are_refused(change: Any, acme: Project, bob: Developer) -> None:
    form = {"project": str(acme.pk), **TARGET, "signing_secret": SECRET, **change}
    answer = sign_in(bob).post(reverse(ADD_TARGET), form)
    assert answer.status_code == 200 and "CANARY" not in answer.content.decode()
    assert not AlertTarget.objects.for_project(acme).exists()


def test_nobody_sets_anothers_rules_or_the_operators_and_incidents_are_read_only(
    acme: Project, bob: Developer, charlie: Developer, other_project: Project
) -> None:
    theirs = AlertIncident.objects.create(
        project=acme, mode="live", kind="failed_payments", threshold=30, value=40, peak=44, opened_at=NOON
    )
    client = sign_in(charlie)
    for form in ({"project": str(acme.pk), **RULE}, RULE):
        assert client.post(reverse(ADD_RULE), form).status_code == 200
    assert not AlertRule.objects.for_project(acme).exists() and not AlertRule.objects.filter(project=None).exists()
    page = reverse("admin:notifications_alertincident_change", args=[theirs.pk])
    assert "44 percent" not in client.get(page, follow=True).content.decode()
    own = sign_in(bob)
    assert "44 percent of the payments" in own.get(page).content.decode()
    assert own.post(page, {"value": "1"}).status_code == 403
    theirs.refresh_from_db()
    assert theirs.value == 40
