"""The admin of webhook endpoints and dead letters: what is shown, what can be done, and how many queries a list takes."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from moderation.models import ActionLog
from payments.models import StripeConfig, StripeCredentials, WebhookEvent
from projects.models import Project, Role
from tests.admin.test_payments_pages import dead_event, replay, sign_in, status_of, url
from tests.conftest import Sandbox
from tests.payments.actors import create_project
from tests.payments.endpoints import ENDPOINTS
from tests.payments.shop import Shop, connect_stripe


@pytest.fixture
def project() -> Project:
    return create_project()


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_list_shows_errors_and_finds_trouble(project: Project) -> None:
    client = sign_in(project=project, role=Role.VIEWER)
    dead, retried, waiting, fine = (dead_event(project) for _ in range(4))
    rows = WebhookEvent.objects.filter(project=project)
    rows.filter(pk=dead.pk).update(error="ValueError: a broken thing")
    rows.filter(pk=retried.pk).update(status="pending", error="StripeUnavailable: away")
    rows.filter(pk=waiting.pk).update(status="pending", wait_reason="config_error", error="")
    rows.filter(pk=fine.pk).update(status="processed", error="")
    page = url(WebhookEvent, "changelist")
    shown = text(client.get(page))
    assert "ValueError: a broken thing" in shown
    for choice, found in (("dead", dead), ("retrying", retried), ("waiting", waiting)):
        shown = text(client.get(f"{page}?trouble={choice}"))
        assert [event.event_id in shown for event in (dead, retried, waiting, fine)] == [
            event.pk == found.pk for event in (dead, retried, waiting, fine)
        ]
    with CaptureQueriesContext(connection) as few:
        client.get(page)
    for _ in range(10):
        dead_event(project)
    with CaptureQueriesContext(connection) as many:
        client.get(page)
    assert len(many) == len(few)
    assert not any('"payments_webhookevent"."payload"' in query["sql"] for query in many.captured_queries)


def test_an_emptied_body_says_so_and_a_body_shows_no_secret(project: Project) -> None:
    client = sign_in(project=project, role=Role.VIEWER)
    event = dead_event(project)
    row = WebhookEvent.objects.filter(pk=event.pk)
    row.update(payload={"id": event.event_id, "data": {"object": {"client_secret": "pi_9_secret_8", "note": "seen"}}})
    shown = text(client.get(url(WebhookEvent, "change", event.pk)))
    assert "seen" in shown and "pi_9_secret_8" not in shown
    row.update(payload=None, emptied_at=Now())
    assert "Emptied by retention" in text(client.get(url(WebhookEvent, "change", event.pk)))


def test_replays_are_logged_with_who_did_them_and_happen_once(project: Project) -> None:
    client = sign_in(project=project, role=Role.DEVELOPER)
    events = [dead_event(project) for _ in range(3)]
    for _ in range(2):
        replay(client, *events, confirmed="yes", reason="Mended")
    assert {status_of(event) for event in events} <= {"pending", "processing", "processed", "ignored"}
    logged = ActionLog.objects.get(project_id=project.pk, action="webhook_event.replay")
    assert (logged.details["count"], set(logged.details["event_ids"])) == (3, {event.event_id for event in events})
    assert "@example.com" in logged.actor_label


def test_the_keys_page_shows_how_each_modes_events_fare(project: Project) -> None:
    config = StripeConfig.objects.create(project=project)
    StripeCredentials.objects.create(
        config=config,
        project=project,
        mode="test",
        webhook_status="missing_events",
        webhook_error="Not delivered: invoice.paid",
    )
    fared = {"received_at": dt.datetime(2024, 5, 5, tzinfo=dt.UTC), "failed_at": dt.datetime(2024, 6, 7, tzinfo=dt.UTC)}
    WebhookEvent.objects.filter(pk=dead_event(project).pk).update(**fared)
    waiting = WebhookEvent.objects.filter(pk=dead_event(project).pk)
    waiting.update(status="pending", received_at=dt.datetime(2024, 3, 2, tzinfo=dt.UTC))
    for user in (sign_in(project=project, role=Role.VIEWER), sign_in(group="Support")):
        shown = text(user.get(url(StripeConfig, "change", config.pk)))
        assert "missing_events: Not delivered: invoice.paid" in shown
        row = StripeCredentials.objects.get(config=config)
        page = text(user.get(url(StripeCredentials, "change", row.pk)))
        assert "Not delivered: invoice.paid" in page
        for label, shown in (
            ("Last event", "05-05"),
            ("Last failed attempt", "06-07"),
            ("Oldest waiting event", "03-02"),
        ):
            assert f"2024-{shown} 00:00:00" in page.partition(label)[2][:600], label


def test_endpoints_are_checked_after_a_confirmation_by_those_who_may(project: Project, sandbox: Sandbox) -> None:
    shop = Shop(project, sandbox.create_account("Acme"), sandbox)
    connect_stripe(project, shop.account, live=False)
    config = StripeConfig.objects.get(project=project)
    data: dict[str, Any] = {"action": "check_endpoints", "_selected_action": [str(config.pk)]}
    page = url(StripeConfig, "changelist")
    for client in (sign_in(project=project, role=Role.VIEWER), sign_in(group="Support")):
        client.post(page, data | {"confirmed": "yes", "reason": "Mended"})
    developer = sign_in(project=project, role=Role.DEVELOPER)
    assert developer.post(page, data).status_code == 200
    assert shop.objects(ENDPOINTS) == []
    assert developer.post(page, data | {"confirmed": "yes", "reason": "Mended"}).status_code == 302
    (endpoint,) = shop.objects(ENDPOINTS)
    assert StripeCredentials.objects.get(project=project).webhook_endpoint_id == endpoint["id"]
    assert "managed" in text(developer.get(page))
