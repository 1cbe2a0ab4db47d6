"""Alerts: an incident is told once when it opens and once when it is over, to whoever is to hear of it, signed."""

import base64
import threading
from typing import Any

import pytest
import standardwebhooks
from django.core import mail
from django.db import connection, transaction

from common.ids import uuid7
from common.locks import EVALUATE_ALERTS
from notifications.models import AlertIncident, AlertKind, AlertTarget, OutboxRow
from notifications.services import alert_measures
from notifications.services.running import carry_out_row, lease_due_rows
from notifications.tasks import watch_for_trouble
from projects.models import Project
from projects.services.projects import delete_project
from tests.builders import run_all, waits_for_a_lock
from tests.cast import Developer
from tests.live import wait_until
from tests.notifications.consumer import Consumer
from tests.notifications.test_mail import run
from tests.notifications.trouble import BACKLOG, leave_waiting, look, set_rule, told, wait_for_review

SECRET = "whsec_" + base64.b64encode(b"alert" * 6).decode()
STRANGER = "whsec_" + base64.b64encode(b"other" * 6).decode()


def listen(project: Project | None, **fields: Any) -> AlertTarget:
    """Have somewhere that alerts go."""
    AlertTarget.objects.filter(project=project).delete()
    row = AlertTarget(project=project, **fields)
    if row.webhook_url:
        row.set_webhook_secret(SECRET)
    row.save()
    return row


@pytest.fixture
def app(app: Consumer, settings: Any) -> Consumer:
    """A listener for alerts, which the operator has opened as such and not to webhook endpoints."""
    settings.OUTGOING_ALLOWED_HOSTS, settings.WEBHOOK_ALLOWED_HOSTS = [app.host], []
    return app


@pytest.fixture(autouse=True)
def no_operator(database: None) -> Any:
    """Leave no rows without a project behind: they would be every other test's as well."""
    yield
    AlertTarget.objects.filter(project=None).delete()


# Works


def test_an_incident_opens_once_and_ends_after_it_was_calm_for_long_enough(acme: Project, alice: Developer) -> None:
    set_rule(acme)
    wait_for_review(acme, 2)
    assert look(acme) is None and told(acme) == [], "below the threshold nothing opens"
    wait_for_review(acme, 1)
    incident = look(acme, 1)
    assert incident is not None and (incident.value, incident.peak, incident.threshold) == (3, 3, 3)
    wait_for_review(acme, 1)
    for minute in (2, 3):
        incident = look(acme, minute)
    assert incident is not None and incident.peak == 4 and len(told(acme)) == 1
    # Between the two levels nothing happens, and a short calm ends nothing.
    leave_waiting(acme, 2)
    assert (again := look(acme, 30)) is not None and again.calm_since is None
    leave_waiting(acme, 1)
    assert (again := look(acme, 31)) is not None and again.calm_since is not None
    look(acme, 40.9)
    wait_for_review(acme, 1)
    assert (again := look(acme, 41)) is not None and again.calm_since is None and again.resolved_at is None
    leave_waiting(acme, 0)
    look(acme, 42)
    assert len(told(acme)) == 1
    over = look(acme, 52)
    assert over is not None and over.pk == incident.pk and over.resolved_at is not None
    look(acme, 53)
    opened, recovered = told(acme)
    for row in (opened, recovered):
        run(row)
    first, second = mail.outbox
    assert first.to == second.to == [alice.user.email]
    assert first.subject == f"[Test] {acme.name}: Review items that wait" and "Reached: 3 items" in first.body
    assert second.subject.endswith("Over: review items that wait") and "Reached: 4 items" in second.body
    assert f"/admin/notifications/alertincident/{incident.pk}/change/" in first.body
    # Trouble that comes again is an incident of its own.
    wait_for_review(acme, 3)
    assert (new := look(acme, 60)) is not None and new.pk != incident.pk and len(told(acme)) == 3


def test_modes_and_projects_have_incidents_of_their_own(acme: Project, other_project: Project) -> None:
    for project in (acme, other_project):
        set_rule(project)
    wait_for_review(acme, 2)
    wait_for_review(acme, 2, mode="live")
    wait_for_review(other_project, 3, mode="live")
    assert look(acme) is None
    (incident,) = AlertIncident.objects.for_project(other_project)
    assert incident.mode == "live"


def test_a_projects_rule_comes_first_and_then_the_operators(acme: Project, other_project: Project) -> None:
    general = set_rule(None)
    set_rule(acme, threshold=5)
    try:
        for project in (acme, other_project):
            wait_for_review(project, 4)
        assert look(acme) is None and look(other_project) is not None
    finally:
        general.delete()


def test_named_addresses_and_the_operator_are_told_as_well(acme: Project, other_project: Project) -> None:
    for project in (acme, other_project):
        set_rule(project)
        wait_for_review(project, 3)
    listen(acme, mail_to=["ops@acme.example", "on-call@acme.example"])
    listen(None, mail_to=["operator@payments.example"])
    look(acme)
    mine = {row.pk for row in (*told(acme), *told(other_project))}
    for leased in lease_due_rows(limit=1000):
        if leased.pk in mine:
            carry_out_row(leased)
    owners = other_project.memberships.get(role="owner").user.email
    assert sorted(sent.to for sent in mail.outbox) == sorted(
        [["on-call@acme.example", "ops@acme.example"], [owners], *[["operator@payments.example"]] * 2]
    )


def test_a_listener_gets_both_notices_in_order_signed_by_its_own_secret(acme: Project, app: Consumer) -> None:
    set_rule(acme)
    listen(acme, webhook_url=app.url("/alerts"))
    wait_for_review(acme, 3)
    incident = look(acme)
    leave_waiting(acme, 0)
    look(acme, 1)
    look(acme, 11)
    opened, recovered = told(acme, "alert_webhook")
    app.answers = ["503", "200", "200"]
    assert run(opened).status == "pending", "an answer that is no 2xx is tried again"
    OutboxRow.objects.filter(pk=opened.pk).update(next_attempt_at=opened.created_at)
    assert (run(opened).status, run(recovered).status) == ("done", "done")
    refused, first, second = app.seen
    assert refused.headers["webhook-id"] == first.headers["webhook-id"] != second.headers["webhook-id"]
    for sent in app.seen:
        assert standardwebhooks.Webhook(SECRET).verify(sent.body.decode(), sent.headers) == sent.event
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(STRANGER).verify(sent.body.decode(), sent.headers)
    assert [sent.event["type"] for sent in (first, second)] == ["alert.opened", "alert.recovered"]
    assert incident is not None and first.event["data"] == {
        "incident_id": str(incident.pk), "project_id": str(acme.pk), "is_test_mode": True, "kind": "review_backlog",
        "title": "Review items that wait", "about": None, "value": 3, "peak": 3, "threshold": 3, "unit": "items",
        "opened_at": "2026-03-10T12:00:00Z", "recovered_at": None,
    }  # fmt: skip
    assert second.event["data"]["recovered_at"] == second.event["timestamp"] == "2026-03-10T12:11:00Z"
    assert SECRET not in str(list(OutboxRow.objects.for_project(acme).values()))


# Refuses


def test_a_listener_inside_the_network_gets_nothing(acme: Project, app: Consumer, settings: Any) -> None:
    set_rule(acme)
    listen(acme, webhook_url=app.url())
    wait_for_review(acme, 3)
    look(acme)
    settings.OUTGOING_ALLOWED_HOSTS = []
    (row,) = told(acme, "alert_webhook")
    assert run(row).status == "dead" and app.seen == []


def test_a_listener_that_is_gone_by_then_is_not_called(acme: Project, app: Consumer) -> None:
    set_rule(acme)
    listen(acme, webhook_url=app.url()).delete()
    target = listen(acme, webhook_url=app.url())
    wait_for_review(acme, 3)
    look(acme)
    target.delete()
    (row,) = told(acme, "alert_webhook")
    assert run(row).status == "skipped" and app.seen == []


@pytest.mark.parametrize("how", ["hang", "redirect", "reset", "large"])
def test_a_listener_that_misbehaves_is_tried_again_within_bounds(
    how: str, acme: Project, app: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifications.services.alert_notices.TIMEOUT_SECONDS", 0.5)
    set_rule(acme)
    listen(acme, webhook_url=app.url(f"/{how}"))
    wait_for_review(acme, 3)
    look(acme)
    (row,) = told(acme, "alert_webhook")
    after = run(row)
    assert (after.status, after.attempts) == ("pending", 1) and [sent.path for sent in app.seen] == [f"/{how}"]


def test_a_rule_that_is_switched_off_opens_nothing_and_ends_what_is_open_in_silence(acme: Project) -> None:
    rule = set_rule(acme, is_enabled=False)
    wait_for_review(acme, 3)
    assert look(acme) is None
    rule.is_enabled = True
    rule.save()
    assert look(acme, 1) is not None
    rule.is_enabled = False
    rule.save()
    assert (ended := look(acme, 2)) is not None and ended.resolved_at is not None and len(told(acme)) == 1


def test_a_deleted_project_is_not_told_of(acme: Project) -> None:
    set_rule(acme)
    wait_for_review(acme, 3)
    delete_project(project=acme)
    assert look(acme) is None


# Trouble


def test_a_measure_that_fails_silences_no_other_and_ends_nothing(
    acme: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_rule(acme)
    set_rule(acme, AlertKind.REPORTS_SPIKE, threshold=1, recovers_at=0, calm_minutes=1)
    wait_for_review(acme, 3)
    assert look(acme) is not None

    def broken(*_: Any) -> Any:
        raise RuntimeError("the query ran into its time-out")

    monkeypatch.setitem(alert_measures._measures, BACKLOG, broken)
    wait_for_review(acme, 1, kind="report")
    look(acme, 1)
    incident = look(acme, 30)
    assert incident is not None and incident.resolved_at is None and incident.calm_since is None
    assert AlertIncident.objects.for_project(acme).filter(kind=AlertKind.REPORTS_SPIKE).exists()


def test_a_project_that_vanished_meanwhile_silences_no_other_kind(
    acme: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_rule(acme)
    wait_for_review(acme, 3)
    vanished = alert_measures.Reading(uuid7(), "test", 1000)
    monkeypatch.setitem(alert_measures._measures, AlertKind.INBOUND_FAILURES, lambda *_: [vanished])
    assert next(iter(AlertKind)) == AlertKind.INBOUND_FAILURES, "it is looked at before the other"
    assert look(acme) is not None and len(told(acme)) == 1


def test_two_rounds_at_once_tell_once(acme: Project) -> None:
    set_rule(acme)
    wait_for_review(acme, 3)
    barrier = threading.Barrier(4)
    ended: list[AlertIncident | None] = []

    def round_() -> None:
        barrier.wait()
        ended.append(look(acme))

    run_all([threading.Thread(target=round_) for _ in range(4)])
    assert len(ended) == 4, "none ran into another"
    assert AlertIncident.objects.for_project(acme).count() == len(told(acme)) == 1


def test_a_round_waits_for_the_one_before_it(acme: Project) -> None:
    set_rule(acme)
    wait_for_review(acme, 3)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [EVALUATE_ALERTS])
        other = threading.Thread(target=look, args=(acme,))
        other.start()
        wait_until(lambda: waits_for_a_lock("pg_advisory_xact_lock"), seconds=20, what="the second round waits")
        assert told(acme) == []
    other.join(20)
    assert len(told(acme)) == 1


def test_the_round_of_beat_looks_now(acme: Project) -> None:
    set_rule(acme)
    wait_for_review(acme, 3)
    watch_for_trouble()
    assert len(told(acme)) == 1
