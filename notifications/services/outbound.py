"""Sends one delivery: the event's body, signed as Standard Webhooks has it, to an address behind the guard.

Invariants: no transaction is open while the app is asked; id and body of an event are the same at every attempt and every endpoint;
redirects are not followed, and of an answer no more than its beginning is kept.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import datetime as dt
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from standardwebhooks import Webhook

from common.encryption import DecryptionError
from common.failpoints import failpoint
from common.ids import uuid7
from common.logs import redact
from common.metrics import APP_DELIVERIES
from common.outgoing import WEBHOOKS, OutgoingFailed, OutgoingRefused, OutgoingResponse, fetch
from notifications.event_types import APP_EVENT, EVENT_TYPES
from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services.deliveries import Outcome, new_delivery, note_outcome, utc_text
from notifications.services.endpoints import signing_secrets

TIMEOUT_SECONDS = 15.0
ANSWER_BYTES_MAX = 64 * 1024
ANSWER_CHARS_KEPT = 1024
ERROR_CHARS = 1000
USER_AGENT = "payments-webhooks/1"
NOT_FOLLOWED = "It answered with a redirect, which is not followed."
# Told apart from the rows of the outbox by its kind alone: nothing carries it out again.
TESTED = "Sent by the test button."


def attempt_delivery(delivery: WebhookDelivery) -> None:
    """Try one leased delivery once and commit what came of it; nothing but a lost database is raised."""
    if connection.in_atomic_block:
        raise RuntimeError("a delivery reaches out of the service, so no transaction may be open")
    endpoint = WebhookEndpoint.objects.for_project(delivery.project_id).filter(pk=delivery.endpoint_id).first()
    event = OutboxRow.objects.for_project(delivery.project_id).filter(pk=delivery.event_id).first()
    if endpoint is None or event is None:
        # Deleted meanwhile, and the delivery with it.
        return
    # The connection would be idle for as long as the app takes, and others wait for one.
    connection.close()
    outcome = _send(endpoint, event)
    APP_DELIVERIES.labels(outcome="taken" if outcome.succeeded else "failed").observe(outcome.duration_ms / 1000)
    failpoint("webhooks.before_stamp")
    note_outcome(delivery, outcome)


def send_test(*, endpoint: WebhookEndpoint, event_type: str) -> WebhookDelivery:
    """Send an example of a type to one endpoint now, once, also to one that is disabled."""
    data = dict(EVENT_TYPES[event_type].example)
    data |= {"project_id": str(endpoint.project_id), "is_test_mode": endpoint.mode == "test"}
    row = OutboxRow(
        id=uuid7(),
        project_id=endpoint.project_id,
        mode=endpoint.mode,
        kind=APP_EVENT,
        effect_key=f"test:{uuid.uuid4()}",
        payload={"type": event_type, "data": data},
        cause=str(endpoint.pk),
        status=OutboxRow.Status.SKIPPED,
        error=TESTED,
    )
    until = Now() + dt.timedelta(seconds=settings.EVENT_LEASE_SECONDS)
    lease: dict[str, Any] = {"lease_token": uuid.uuid4(), "lease_until": until, "next_attempt_at": until}
    with transaction.atomic():
        row.save(force_insert=True)
        delivery = new_delivery(row, endpoint.pk, event_type, is_test=True, status="processing", **lease)
        delivery.save(force_insert=True)
    attempt_delivery(delivery)
    delivery.refresh_from_db()
    return delivery


def message_id_of(event: OutboxRow | uuid.UUID) -> str:
    """Return the id that an app tells an event by: the same at every attempt, so that what comes twice is seen to."""
    key = event.pk if isinstance(event, OutboxRow) else event
    return f"evt_{key.hex}"


def body_of(event: OutboxRow) -> str:
    """Return what is sent of an event."""
    payload = event.payload
    told = {"type": payload["type"], "timestamp": utc_text(event.created_at), "data": payload["data"]}
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def signed_headers(*, secrets: list[str], message_id: str, body: str, at: dt.datetime) -> dict[str, str]:
    """Return the headers of an attempt, signed with each of the secrets."""
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, body) for secret in secrets),
    }


def excerpt_of(answer: OutgoingResponse) -> str:
    """Return the beginning of an answer's body as text that can be stored and shown."""
    return _safe(answer.content[: 4 * ANSWER_CHARS_KEPT].decode(errors="replace"))[:ANSWER_CHARS_KEPT]


def _send(endpoint: WebhookEndpoint, event: OutboxRow) -> Outcome:
    at, began = dt.datetime.now(dt.UTC), time.monotonic()

    def outcome(**found: Any) -> Outcome:
        return Outcome(at=at, duration_ms=int((time.monotonic() - began) * 1000), **found)

    try:
        body = body_of(event)
        headers = signed_headers(secrets=signing_secrets(endpoint), message_id=message_id_of(event), body=body, at=at)
        answer = fetch(
            "POST",
            endpoint.url,
            headers=headers,
            content=body.encode(),
            timeout=TIMEOUT_SECONDS,
            max_bytes=ANSWER_BYTES_MAX,
            purpose=WEBHOOKS,
            whose=str(endpoint.project_id),
        )
    except (OutgoingRefused, OutgoingFailed) as error:
        return outcome(error=_safe(str(error))[:ERROR_CHARS])
    except DecryptionError as error:
        return outcome(error=_safe(str(error))[:ERROR_CHARS], is_ours=True)
    except Exception as error:
        # Whatever an answer holds, the delivery is noted and the others go on.
        return outcome(error=f"The call did not work out ({type(error).__name__}).")
    return outcome(
        status_code=answer.status_code,
        error=_problem_of(answer),
        answer=excerpt_of(answer),
        retry_after_seconds=_retry_after(answer.headers),
    )


def _problem_of(answer: OutgoingResponse) -> str:
    if 200 <= answer.status_code < 300:
        return ""
    return NOT_FOLLOWED if 300 <= answer.status_code < 400 else f"It answered {answer.status_code}."


def _retry_after(headers: Mapping[str, str]) -> float:
    """Read Retry-After in seconds; a date is taken for nothing said."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0


def _safe(text: str) -> str:
    """Return text that can be stored and shown: without secrets and control characters."""
    return redact("".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text))
