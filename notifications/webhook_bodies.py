"""The shapes of webhook endpoints and deliveries, for requests, answers and the OpenAPI document."""

import datetime as dt
import json
from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, StrictBooleanField, WholeNumberField
from common.modes import TEST
from notifications.event_types import CHOICES, EVENT_TYPES, TEST_EVENT
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services.endpoints import OVERLAP_HOURS, OVERLAP_HOURS_MAX, MadeEndpoint
from notifications.services.outbound import body_of, message_id_of
from notifications.services.replays import FAILED, WHICH

STATUSES = WebhookDelivery.Status.values
TEST_MODE = OpenApiParameter(
    "test_mode",
    bool,
    OpenApiParameter.QUERY,
    default=True,
    description="Which mode's endpoints; test unless it says otherwise.",
)
STATUS = OpenApiParameter("status", str, OpenApiParameter.QUERY, enum=STATUSES, description="Only these.")
EVENT_TYPE = OpenApiParameter(
    "event_type", str, OpenApiParameter.QUERY, enum=list(EVENT_TYPES), description="Only events of this type."
)
TYPES_HINT = 'What it is told of: types, "noun.*" for every type of a noun, or "*" for every type.'


class EventTypesField(serializers.ListField):
    """What an endpoint asks for."""

    child = OneOfField(choices=list(CHOICES))

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_empty=False, max_length=len(CHOICES), help_text=TYPES_HINT, **options)


class MomentField(serializers.DateTimeField):
    """A time of the years that a database and a client agree about."""

    def enforce_timezone(self, value: dt.datetime) -> dt.datetime:
        """Take a time in UTC. Raises ValidationError for one that is none of ours."""
        if not 1970 <= value.year <= 9998:
            self.fail("invalid", format="ISO-8601")
        return super().enforce_timezone(value)


class CreateWebhookEndpointSerializer(serializers.Serializer[Any]):
    """POST webhook-endpoints."""

    url = PlainCharField(max_length=2048, help_text="Where events are sent, https. Redirects are not followed.")
    event_types = EventTypesField(required=False)
    description = PlainCharField(max_length=255, required=False, allow_null=True, allow_blank=True)


class ChangeWebhookEndpointSerializer(serializers.Serializer[Any]):
    """PUT of an endpoint: what is left out or null is kept."""

    url = PlainCharField(max_length=2048, required=False, allow_null=True)
    event_types = EventTypesField(required=False, allow_null=True)
    description = PlainCharField(max_length=255, required=False, allow_null=True, allow_blank=True)
    is_active = StrictBooleanField(
        required=False, allow_null=True, help_text="false switches it off, true on again; what waits goes on then."
    )


class RotateSecretSerializer(serializers.Serializer[Any]):
    """How long the secret before goes on signing beside the new one."""

    overlap_hours = WholeNumberField(
        required=False,
        default=OVERLAP_HOURS,
        min_value=0,
        max_value=OVERLAP_HOURS_MAX,
        help_text="0 ends the old secret at once: for one that leaked.",
    )


class SendTestSerializer(serializers.Serializer[Any]):
    """Which example is sent."""

    event_type = OneOfField(choices=list(EVENT_TYPES), required=False, default=TEST_EVENT)


class ReplayRangeSerializer(serializers.Serializer[Any]):
    """Which deliveries of a stretch of time are sent again."""

    since = MomentField(help_text="From here on.")
    until = MomentField(required=False, allow_null=True, help_text="Up to here; now when it is left out.")
    which = OneOfField(
        choices=list(WHICH),
        required=False,
        default=FAILED,
        help_text="failed: what was given up. missed: what happened while nobody listened. all: both, and what was delivered.",
    )


class WebhookEndpointSerializer(serializers.Serializer[Any]):
    """An endpoint without its secrets."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    is_test_mode = serializers.BooleanField()
    url = serializers.CharField(help_text="Viewers see no more of it than the host: the rest may hold a token.")
    description = serializers.CharField(allow_blank=True)
    event_types = serializers.ListField(child=serializers.CharField(), help_text=TYPES_HINT)
    secret_masked = serializers.CharField()
    previous_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="Until then the secret before signs as well."
    )
    is_active = serializers.BooleanField()
    disabled_at = serializers.DateTimeField(allow_null=True)
    disabled_reason = serializers.ChoiceField(choices=WebhookEndpoint.DisabledReason.values, allow_null=True)
    failing_since = serializers.DateTimeField(allow_null=True, help_text="Every attempt since then has failed.")
    answered_at = serializers.DateTimeField(allow_null=True, help_text="When it last took an event, to the minute.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class NewWebhookEndpointSerializer(WebhookEndpointSerializer):
    """An endpoint with its new secret."""

    secret = serializers.CharField(help_text="whsec_...; shown in this answer only.")


class WebhookEndpointListSerializer(serializers.Serializer[Any]):
    """All endpoints of a project and mode."""

    webhook_endpoints = WebhookEndpointSerializer(many=True)
    total = serializers.IntegerField()


class WebhookDeliverySerializer(serializers.Serializer[Any]):
    """An event on its way to an endpoint."""

    id = serializers.UUIDField()
    webhook_id = serializers.CharField(help_text="The header webhook-id: the same at every attempt.")
    event_type = serializers.CharField()
    is_test = serializers.BooleanField(help_text="Sent by the test button.")
    status = serializers.ChoiceField(choices=STATUSES)
    attempts = serializers.IntegerField(help_text="Since it was made or last replayed.")
    status_code = serializers.IntegerField(allow_null=True, help_text="What was answered last.")
    error = serializers.CharField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField(allow_null=True)


class WebhookDeliveryListSerializer(serializers.Serializer[Any]):
    """One page of deliveries."""

    webhook_deliveries = WebhookDeliverySerializer(many=True)
    total = serializers.IntegerField(required=False)
    page = serializers.IntegerField(required=False)
    page_size = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False, allow_null=True)


class WebhookAttemptSerializer(serializers.Serializer[Any]):
    """One attempt."""

    at = serializers.DateTimeField()
    duration_ms = serializers.IntegerField()
    status_code = serializers.IntegerField(allow_null=True)
    error = serializers.CharField(allow_blank=True)
    answer = serializers.CharField(allow_blank=True, help_text="The beginning of the answer's body.")


@extend_schema_field({"type": "object", "additionalProperties": {}})
class BodyField(serializers.Field[Any, Any, Any, Any]):
    """What was sent."""

    def to_representation(self, value: Any) -> Any:
        """Show it as it is."""
        return value


class WebhookDeliveryDetailSerializer(WebhookDeliverySerializer):
    """A delivery with what was sent and answered."""

    body = BodyField()
    log = WebhookAttemptSerializer(many=True, help_text="The latest attempts, oldest first.")


class WebhooksReplayedSerializer(serializers.Serializer[Any]):
    """How many are sent again."""

    replayed = serializers.IntegerField()


def render_endpoint(row: WebhookEndpoint, *, whole: bool = True) -> dict[str, Any]:
    """Return an endpoint without its secrets; `whole` with the path of its address, which may hold one."""
    shown = _endpoint(row) if whole else _endpoint(row) | {"url": row.url_masked}
    return WebhookEndpointSerializer(shown).data


def render_made(made: MadeEndpoint) -> dict[str, Any]:
    """Return an endpoint with its new secret."""
    return NewWebhookEndpointSerializer({**_endpoint(made.endpoint), "secret": made.secret}).data


def render_deliveries(rows: Iterable[WebhookDelivery]) -> Any:
    """Return deliveries as a list shows them."""
    return WebhookDeliverySerializer([_delivery(row) for row in rows], many=True).data


def render_delivery(row: WebhookDelivery) -> dict[str, Any]:
    """Return a delivery with its body and attempts. Reads `event`: select it with the row."""
    return WebhookDeliveryDetailSerializer(
        {**_delivery(row), "body": json.loads(body_of(row.event)), "log": row.log}
    ).data


def _endpoint(row: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": row.pk,
        "project_id": row.project_id,
        "is_test_mode": row.mode == TEST,
        "url": row.url,
        "description": row.description,
        "event_types": row.event_types,
        "secret_masked": row.secret_masked,
        "previous_secret_until": row.previous_secret_until,
        "is_active": row.disabled_at is None,
        "disabled_at": row.disabled_at,
        "disabled_reason": row.disabled_reason or None,
        "failing_since": row.failing_since,
        "answered_at": row.answered_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _delivery(row: WebhookDelivery) -> dict[str, Any]:
    waits = row.status in WebhookDelivery.UNFINISHED_STATUSES
    return {
        "id": row.pk,
        "webhook_id": message_id_of(row.event_id),
        "event_type": row.event_type,
        "is_test": row.is_test,
        "status": row.status,
        "attempts": row.attempts,
        "status_code": row.status_code,
        "error": row.error or None,
        "next_attempt_at": row.next_attempt_at if waits else None,
        "created_at": row.created_at,
        "done_at": row.done_at,
    }
