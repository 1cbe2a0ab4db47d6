"""What alerts are measured by, each from the rows that it counts: above its threshold an incident opens, below it none does."""

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from common.ids import first_uuid7_of, uuid7
from notifications.models import AlertIncident, AlertKind, OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services.alert_measures import Reading, measure_of
from payments.models import WebhookEvent
from projects.models import Project
from projects.services.projects import delete_project
from tests.cast import AppUser
from tests.entitlements.credits import give, spend
from tests.notifications.trouble import MINUTE, NOON, look, told, wait_for_review
from tests.payments.rows import create_payment

HOUR = dt.timedelta(hours=1)


def reading(project: Project, kind: AlertKind, *, at: dt.datetime | None = None, mode: str = "test") -> Reading | None:
    """Measure a kind over the hour before a moment; returns what was read of a project."""
    measure = measure_of(kind)
    assert measure is not None
    found = [one for one in measure(at or clock.now(), HOUR) if (one.project_id, one.mode) == (project.pk, mode)]
    assert len(found) <= 1
    return found[0] if found else None


def value(project: Project, kind: AlertKind, **options: Any) -> int:
    return found.value if (found := reading(project, kind, **options)) else 0


def create_event(project: Project, **fields: Any) -> WebhookEvent:
    values = {"mode": "test", "event_id": f"evt_{uuid.uuid4().hex}", "type": "invoice.paid", "payload": {}} | fields
    return WebhookEvent.objects.create(project=project, **values)


def test_every_kind_is_measured_in_one_query() -> None:
    for kind in AlertKind:
        measure = measure_of(kind)
        assert measure is not None, kind
        with CaptureQueriesContext(
            connection,
        ) as queries:
            measure(clock.now(), HOUR)
        assert len(queries) == 1, kind


def test_events_that_failed_lately_and_are_not_processed_since(acme: Project, other_project: Project) -> None:
    now = clock.now()
    create_event(acme, status="dead", failed_at=now)
    create_event(acme, status="pending", failed_at=now)
    create_event(acme, status="processed", failed_at=now)
    create_event(acme, status="dead", failed_at=now - 2 * HOUR)
    create_event(acme, status="pending")
    create_event(acme, status="dead", failed_at=now, mode="live")
    create_event(other_project, status="dead", failed_at=now)
    assert value(acme, AlertKind.INBOUND_FAILURES) == 2
    assert value(acme, AlertKind.INBOUND_FAILURES, mode="live") == value(other_project, AlertKind.INBOUND_FAILURES) == 1


def test_the_oldest_unfinished_event_whatever_it_waits_for(acme: Project) -> None:
    now = clock.now()
    create_event(acme, status="processed", received_at=now - dt.timedelta(hours=9))
    assert value(acme, AlertKind.OLDEST_EVENT) == 0
    create_event(acme, status="pending", received_at=now - dt.timedelta(minutes=7))
    create_event(acme, status="pending", received_at=now - dt.timedelta(minutes=20), wait_reason="config_error")
    assert value(acme, AlertKind.OLDEST_EVENT, at=now) == 20


def test_the_share_of_payments_that_failed_where_there_are_enough(acme: Project) -> None:
    for _ in range(4):
        create_payment(acme, status="failed")
    for _ in range(5):
        create_payment(acme)
    create_payment(acme, status="pending")
    create_payment(acme, status="failed", created_at=clock.now() - 2 * HOUR)
    assert reading(acme, AlertKind.FAILED_PAYMENTS) is None, "nine payments say nothing"
    create_payment(acme, status="refunded")
    found = reading(acme, AlertKind.FAILED_PAYMENTS)
    assert found is not None and (found.value, found.about) == (40, "4 of 10 payments failed")


def test_too_few_payments_neither_open_an_incident_nor_end_one(acme: Project) -> None:
    def pay(number: int, minute: float, **fields: Any) -> None:
        for _ in range(number):
            create_payment(acme, created_at=NOON + minute * MINUTE, **fields)

    def look_at(minute: float) -> AlertIncident | None:
        return look(acme, minute, AlertKind.FAILED_PAYMENTS)

    pay(9, 0, status="failed")
    assert look_at(1) is None
    pay(6, 1)
    assert (incident := look_at(2)) is not None and incident.value == 60
    # Nobody pays any more, since paying does not work at all: that is not over.
    for minute in (70, 90):
        assert (now := look_at(minute)) is not None
        assert (now.pk, now.value, now.calm_since, now.resolved_at) == (incident.pk, 60, None, None)
    pay(9, 100)
    assert (now := look_at(101)) is not None and now.calm_since is None
    pay(1, 100)
    assert (now := look_at(102)) is not None and now.calm_since is not None and now.value == 0
    assert (now := look_at(112)) is not None and now.resolved_at is not None
    assert len(told(acme)) == 2


def test_credits_that_are_used_many_times_faster_than_usual(acme: Project, dana: AppUser, erin: AppUser) -> None:
    now = clock.now()
    for user in (dana, erin):
        give(user, 100_000)
    # Erin always spends a lot, in a few large steps; dana starts today.
    for day in range(1, 8):
        spend(erin, 4000, at=now - dt.timedelta(days=day))
    spend(erin, 900)
    spend(dana, 499)
    assert value(acme, AlertKind.ODD_CREDIT_USE) == 5, "erin's 900 are five times her hours of the week before"
    spend(dana, 1101)
    found = reading(acme, AlertKind.ODD_CREDIT_USE)
    assert (
        found is not None and found.value == 32 and found.about == f"user {dana.end_user.external_id} used 1600 credits"
    )
    assert reading(acme, AlertKind.ODD_CREDIT_USE, at=now + 2 * HOUR) is None


def test_items_that_wait_and_reports_of_the_last_hour(acme: Project) -> None:
    wait_for_review(acme, 2)
    wait_for_review(acme, 3, kind="report")
    wait_for_review(acme, 1, kind="report", mode="live")
    assert value(acme, AlertKind.REVIEW_BACKLOG) == 5
    assert value(acme, AlertKind.REPORTS_SPIKE) == 3
    assert value(acme, AlertKind.REPORTS_SPIKE, at=clock.now() + 2 * HOUR) == 0
    delete_project(project=acme)
    assert value(acme, AlertKind.REVIEW_BACKLOG) == value(acme, AlertKind.REPORTS_SPIKE) == 0


def test_deliveries_to_the_app_that_fail(acme: Project) -> None:
    now = clock.now()
    endpoint = WebhookEndpoint(project=acme, mode="test", url="https://app.example/hook", event_types=["*"])
    endpoint.set_secret("secret", "whsec_" + "a" * 32)
    endpoint.save()

    def deliver(**fields: Any) -> None:
        event = OutboxRow.objects.create(
            project=acme, mode="test", kind="app_event", effect_key=uuid.uuid4().hex, payload={"type": "payment.failed"}
        )
        values = {"give_up_at": now + HOUR, "event_type": "payment.failed"} | fields
        WebhookDelivery.objects.create(project=acme, mode="test", endpoint=endpoint, event=event, **values)

    deliver(status="pending", attempts=2)
    deliver(status="failed", attempts=12, done_at=now, created_at=now - 72 * HOUR)
    deliver(status="pending")
    deliver(status="delivered", attempts=3, done_at=now)
    deliver(status="failed", attempts=12, done_at=now - 2 * HOUR)
    deliver(status="failed", attempts=1, done_at=now, is_test=True)
    assert value(acme, AlertKind.OUTBOUND_FAILURES) == 2
    # What waits at an endpoint that is switched off is not tried, and is no trouble that goes on.
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(disabled_at=now, disabled_reason="switched_off")
    assert value(acme, AlertKind.OUTBOUND_FAILURES) == 0


@pytest.mark.no_db
def test_ids_of_a_moment_are_not_below_its_first() -> None:
    before, after = first_uuid7_of(clock.now() - HOUR), first_uuid7_of(clock.now() + HOUR)
    assert before < uuid7() < after and before.version == 7
