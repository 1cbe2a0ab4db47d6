"""What the app is told of, for the OpenAPI document: a callback of the operation that makes an endpoint, for each type of event."""

from typing import Any

from notifications.event_types import EVENT_TYPES

Schema = dict[str, Any]

MAKES_ENDPOINTS = "create_webhook_endpoint"
HEADERS = {
    "webhook-id": "The event's id: the same at every attempt and for every endpoint. What came before may be left alone.",
    "webhook-timestamp": "When this attempt was made, Unix seconds. Refuse what is more than five minutes off.",
    "webhook-signature": (
        "One or more of `v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`, parted by spaces; two while a rotation "
        "of the secret overlaps. https://www.standardwebhooks.com"
    ),
}


def webhook_callbacks() -> Schema:
    """Describe what an endpoint is sent, by type."""
    return {name: {"{$request.body#/url}": {"post": _operation(name)}} for name in EVENT_TYPES}


def _operation(name: str) -> Schema:
    kind = EVENT_TYPES[name]
    schema = {
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"type": "string", "enum": [name]},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened."},
            "data": {"type": "object", "additionalProperties": {}, "description": "The state when it was told."},
        },
    }
    example = {"type": name, "timestamp": "2026-11-01T00:00:00Z", "data": dict(kind.example)}
    return {
        "summary": name,
        "description": kind.about,
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": about, "schema": {"type": "string"}}
            for header, about in HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {
            "2XX": {"description": "Taken. Anything else is tried again for three days."},
            "410": {"description": "Nobody listens here any more: the endpoint is disabled."},
        },
    }
