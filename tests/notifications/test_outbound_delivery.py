"""An event that happened reaches the app: signed, once, at each endpoint that asked for it."""

import datetime as dt
import json

import pytest
from django.db import transaction
from standardwebhooks import Webhook, WebhookVerificationError

from notifications.models import OutboxRow, WebhookDelivery
from notifications.services import deliveries
from notifications.services.outbound import attempt_delivery
from notifications.tasks import run_outbox, run_webhooks
from projects.models import Project
from tests.notifications.consumer import Consumer
from tests.notifications.listening import Listening, deliver, fan_out, lease, listen, make_due, record


def test_an_event_reaches_the_app_signed_and_whole(acme: Project, app: Consumer, listening: Listening) -> None:
    row = record(acme, amount_cents=1299, description="Zoë's 5 €")
    run_outbox()
    run_webhooks()
    (seen,) = app.seen
    verified = Webhook(listening.secret).verify(seen.body, seen.headers)
    at = row.created_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    data = {"project_id": str(acme.pk), "amount_cents": 1299, "description": "Zoë's 5 €"}
    assert verified == {"type": "payment.succeeded", "timestamp": at, "data": data}
    assert (seen.headers["webhook-id"], seen.headers["content-type"]) == (f"evt_{row.pk.hex}", "application/json")
    delivery = listening.delivery()
    assert (delivery.status, delivery.attempts, delivery.status_code, delivery.error) == ("delivered", 1, 200, "")
    (entry,) = delivery.log
    assert (entry["status_code"], entry["answer"], entry["error"]) == (200, "seen \ufffd hook", "")
    row.refresh_from_db()
    assert (row.status, row.result) == ("done", {"deliveries": 1})
    listening.endpoint.refresh_from_db()
    assert listening.endpoint.answered_at is not None
