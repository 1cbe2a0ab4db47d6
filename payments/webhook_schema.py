"""What a developer is shown about webhook endpoints and events, and what they send, with the OpenAPI shapes beside."""

import uuid
from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from common.drf_fields import PlainCharField, StrictBooleanField, WholeNumberField
from payments.models import WebhookEvent
from payments.schema import ListSerializer, moment, text
from payments.services.dead_letters import IDS_MAX, redacted_body
from payments.services.shapes import utc_text
from payments.services.webhook_endpoints import ROLL_SECONDS_MAX, STATUSES, EndpointCheck, RolledSecret

EVENT_STATUSES = sorted(WebhookEvent.Status.values)
TYPE_CHARS_MAX = 128


class EndpointCheckSerializer(serializers.Serializer[Any]):
    """The webhook endpoint in the Stripe account, as it was found and mended just now."""

    status = serializers.CharField(help_text=f"One of: {', '.join(STATUSES)}.")
    error = text(help_text="What is wrong and what mends it.")
    endpoint_id = text(help_text="Stripe's id (we_...) when the endpoint is managed here.")
    missing_events = serializers.ListField(child=serializers.CharField(), help_text="What it did not deliver.")
    mended = serializers.BooleanField(help_text="Whether something was changed at Stripe.")


class RollSecretSerializer(serializers.Serializer[Any]):
    """How long the secret before goes on verifying."""

    expires_in_seconds = WholeNumberField(
        required=False, default=ROLL_SECONDS_MAX, min_value=0, max_value=ROLL_SECONDS_MAX,
        help_text="0 withdraws the old secrets at once: for one that leaked.",
    )  # fmt: skip


class RolledSecretSerializer(serializers.Serializer[Any]):
    """A roll has begun. The secret itself is never shown."""

    status = serializers.CharField()
    endpoint_id = serializers.CharField()
    previous_secret_expires_at = moment()


class WebhookEventSerializer(serializers.Serializer[Any]):
    """An event as Stripe sent it, and what became of it."""

    id = serializers.UUIDField()
    event_id = serializers.CharField(help_text="Stripe's id (evt_...).")
    type = serializers.CharField()
    object_id = text()
    is_test_mode = serializers.BooleanField()
    status = serializers.ChoiceField(choices=EVENT_STATUSES)
    attempts = serializers.IntegerField()
    error = text()
    wait_reason = text()
    source = serializers.CharField(help_text="webhook, or reconcile when it was found.")  # type: ignore[assignment]
    stripe_created_at = moment()
    received_at = serializers.DateTimeField()
    handled_at = moment()
    failed_at = moment()
    next_attempt_at = moment()
    emptied_at = moment()


class WebhookEventDetailSerializer(WebhookEventSerializer):
    """An event with its body, in which secrets are replaced by marks."""

    body = serializers.JSONField(allow_null=True, help_text="Null when retention has emptied it.")


class WebhookEventListSerializer(ListSerializer):
    """Events, newest first."""

    webhook_events = WebhookEventSerializer(many=True)


class ReplaySerializer(serializers.Serializer[Any]):
    """Which events to send through again: some by id, or all dead letters of the mode."""

    ids = serializers.ListField(child=serializers.UUIDField(), required=False, min_length=1, max_length=IDS_MAX)
    all_dead = StrictBooleanField(required=False, default=False)
    type = PlainCharField(
        required=False, max_length=TYPE_CHARS_MAX, help_text="With all_dead: only events of this type."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what names both or neither."""
        if bool(attrs.get("ids")) == attrs["all_dead"]:
            raise serializers.ValidationError({"ids": "Give either ids or all_dead=true."})
        return attrs


class ReplayedSerializer(serializers.Serializer[Any]):
    """How many events are due again. An event that is neither dead nor ignored is left as it is."""

    replayed = serializers.IntegerField()


STATUS = OpenApiParameter("status", str, OpenApiParameter.QUERY, enum=EVENT_STATUSES)
TYPE = OpenApiParameter("type", str, OpenApiParameter.QUERY, description="For instance invoice.paid.")


def render_check(check: EndpointCheck) -> dict[str, Any]:
    """Return the outcome of a check."""
    return {
        "status": check.status,
        "error": check.error or None,
        "endpoint_id": check.endpoint_id or None,
        "missing_events": check.missing_events,
        "mended": check.mended,
    }


def render_roll(rolled: RolledSecret) -> dict[str, Any]:
    """Return the outcome of a roll."""
    return {
        "status": rolled.status,
        "endpoint_id": rolled.endpoint_id,
        "previous_secret_expires_at": utc_text(rolled.previous_secret_expires_at),
    }


def render_event(event: WebhookEvent) -> dict[str, Any]:
    """Return an event without its body."""
    waits = event.status in WebhookEvent.UNFINISHED_STATUSES
    return {
        "id": str(event.id),
        "event_id": event.event_id,
        "type": event.type,
        "object_id": event.object_id or None,
        "is_test_mode": event.mode == "test",
        "status": event.status,
        "attempts": event.attempts,
        "error": event.error or None,
        "wait_reason": event.wait_reason or None,
        "source": event.source,
        "stripe_created_at": utc_text(event.stripe_created_at),
        "received_at": utc_text(event.received_at),
        "handled_at": utc_text(event.handled_at),
        "failed_at": utc_text(event.failed_at),
        "next_attempt_at": utc_text(event.next_attempt_at) if waits else None,
        "emptied_at": utc_text(event.emptied_at),
    }


def render_events(events: Iterable[WebhookEvent]) -> list[dict[str, Any]]:
    """Return many events."""
    return [render_event(event) for event in events]


def render_event_with_body(event: WebhookEvent) -> dict[str, Any]:
    """Return an event with its body, secrets replaced."""
    return render_event(event) | {"body": redacted_body(event)}


def read_ids(data: dict[str, Any]) -> list[uuid.UUID]:
    """Return the ids of a checked request."""
    return list(data.get("ids") or [])
