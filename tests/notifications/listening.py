"""Acts of the tests about outbound webhooks: listen, record, deliver."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services import deliveries
from notifications.services.endpoints import create_endpoint
from notifications.services.outbound import attempt_delivery
from notifications.services.outbox import record_effect
from notifications.services.running import carry_out_row, lease_due_rows
from projects.models import Project
from tests.notifications.consumer import Consumer

EVERYTHING = 10_000
ATTEMPTS_AT_MOST = 200


@dataclass
class Listening:
    """An endpoint and its secret."""

    endpoint: WebhookEndpoint
    secret: str

    @property
    def project(self) -> Project:
        """Whose it is."""
        return self.endpoint.project

    def deliveries(self) -> list[WebhookDelivery]:
        """Return its deliveries, oldest first."""
        return list(WebhookDelivery.objects.filter(endpoint=self.endpoint).order_by("created_at", "pk"))

    def delivery(self) -> WebhookDelivery:
        """Return its only delivery."""
        (found,) = self.deliveries()
        return found


def listen(project: Project, app: Consumer, path: str = "/hook", *, mode: str = "test", **fields: Any) -> Listening:
    """Make an endpoint."""
    made = create_endpoint(project=project, mode=mode, fields={"url": app.url(path), **fields})
    return Listening(made.endpoint, made.secret)


def record(project: Project, event_type: str = "payment.succeeded", *, mode: str = "test", **data: Any) -> OutboxRow:
    """Record an event for the app, as whatever causes it does."""
    key = f"app:{event_type}:{uuid.uuid4().hex}"
    payload = {"type": event_type, "data": {"project_id": str(project.pk), **data}}
    with transaction.atomic():
        record_effect(project_id=project.pk, mode=mode, kind="app_event", effect_key=key, payload=payload)
    return OutboxRow.objects.get(project=project, mode=mode, effect_key=key)


def fan_out(*projects: Project) -> None:
    """Carry out what these projects' outboxes hold."""
    wanted = {project.pk for project in projects}
    while rows := [row for row in lease_due_rows(limit=EVERYTHING) if row.project_id in wanted]:
        for row in rows:
            carry_out_row(row)


def lease(*projects: Project, limit: int = EVERYTHING) -> list[WebhookDelivery]:
    """Lease what is due of these projects; what other tests left behind is not waited for."""
    wanted = {project.pk for project in projects}
    return [row for row in deliveries.lease_due_deliveries(limit=limit) if row.project_id in wanted]


def deliver(*projects: Project) -> int:
    """Deliver what is due; returns how many attempts that took."""
    fan_out(*projects)
    count = 0
    while rows := lease(*projects):
        for row in rows:
            attempt_delivery(row)
        count += len(rows)
        assert count <= ATTEMPTS_AT_MOST, "there is no end to it"
    return count


def pass_time(listening: Listening, **span: float) -> None:
    """Let time pass for an endpoint and what waits for it."""
    gone = dt.timedelta(**span)
    endpoint = WebhookEndpoint.objects.get(pk=listening.endpoint.pk)
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        held_until=endpoint.held_until and endpoint.held_until - gone,
        failing_since=endpoint.failing_since and endpoint.failing_since - gone,
        previous_secret_until=endpoint.previous_secret_until and endpoint.previous_secret_until - gone,
    )
    for row in listening.deliveries():
        fields: dict[str, Any] = {name: getattr(row, name) - gone for name in ("next_attempt_at", "give_up_at")}
        WebhookDelivery.objects.filter(pk=row.pk).update(**fields)


def make_due(listening: Listening) -> None:
    """Let every pause end, of deliveries and of the endpoint."""
    WebhookEndpoint.objects.filter(pk=listening.endpoint.pk).update(held_until=None)
    WebhookDelivery.objects.filter(endpoint=listening.endpoint, status="pending").update(next_attempt_at=Now())
