"""The error shapes of the contract, for the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers


class ErrorSerializer(serializers.Serializer[Any]):
    """An expected refusal."""

    detail = serializers.CharField()
    code = serializers.CharField()
    action = serializers.CharField(required=False, help_text="What the caller can do about it.")


class RateLimitedSerializer(serializers.Serializer[Any]):
    """Too many requests."""

    detail = serializers.CharField()
    code = serializers.CharField()
    retry_after = serializers.IntegerField(help_text="Seconds.")


class FieldProblemSerializer(serializers.Serializer[Any]):
    """One wrong field."""

    loc = serializers.ListField(child=serializers.JSONField(), help_text='Where, for instance ["body", "name"].')
    msg = serializers.CharField()
    type = serializers.CharField()


class ValidationErrorSerializer(serializers.Serializer[Any]):
    """A body or query that is wrong field by field."""

    detail = FieldProblemSerializer(many=True)


_DESCRIPTIONS = {
    400: "The request cannot be carried out; `code` says why.",
    401: "No valid token of the kind that this endpoint takes.",
    402: "Payment or balance required.",
    403: "The caller's role in this project is too low.",
    404: "Missing, or not the caller's.",
    409: "The current state does not allow this, or the idempotency key was used before.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    502: "Stripe refused the call.",
    503: "Stripe cannot be reached now.",
}


def error_responses(*codes: int) -> dict[int, OpenApiResponse]:
    """Describe the refusals that an operation may answer with."""
    described: dict[int, OpenApiResponse] = {}
    for code in codes:
        if code == 422:
            described[code] = OpenApiResponse(ValidationErrorSerializer, "A field is wrong; `loc` names it.")
        elif code == 429:
            described[code] = OpenApiResponse(RateLimitedSerializer, "Too many requests; see Retry-After.")
        else:
            described[code] = OpenApiResponse(ErrorSerializer, _DESCRIPTIONS[code])
    return described


IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    required=False,
    description="The same key and body within 24 hours get the stored first answer.",
)
PAGING = [
    OpenApiParameter(
        "page", {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1}, OpenApiParameter.QUERY
    ),
    OpenApiParameter(
        "page_size", {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}, OpenApiParameter.QUERY
    ),
    OpenApiParameter("cursor", str, OpenApiParameter.QUERY, description="Keyset paging; empty to start."),
]
