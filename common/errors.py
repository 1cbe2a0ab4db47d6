"""Typed errors, and the one place that turns them into HTTP answers in the contract's shape."""

import logging
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, JsonResponse

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """An expected refusal. `retryable` says whether the same call may succeed later without a change."""

    status_code: int = 400
    code: str = "bad_request"
    detail: str = "The request cannot be carried out."
    action: str | None = None
    retryable: bool = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        action: str | None = None,
        retry_after_seconds: int | None = None,
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.detail = detail if detail is not None else type(self).detail
        self.code = code if code is not None else type(self).code
        self.action = action if action is not None else type(self).action
        self.retry_after_seconds = retry_after_seconds
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON body."""
        body: dict[str, Any] = {"detail": self.detail, "code": self.code}
        if self.action:
            body["action"] = self.action
        if self.retry_after_seconds is not None:
            body["retry_after"] = self.retry_after_seconds
        return body | self.extra

    def response_headers(self) -> dict[str, str]:
        """Return the answer's extra headers, Retry-After included."""
        headers = dict(self.headers)
        if self.retry_after_seconds is not None:
            headers.setdefault("Retry-After", str(self.retry_after_seconds))
        return headers


class NotAuthenticated(ApiError):
    """401: no valid token of the kind that this endpoint takes."""

    status_code = 401
    code = "not_authenticated"
    detail = "A valid bearer token is required."

    def response_headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"} | super().response_headers()


class Forbidden(ApiError):
    """403: the caller's role is too low in a project that the caller can see."""

    status_code = 403
    code = "forbidden"
    detail = "Your role in this project does not allow this."


class NotFound(ApiError):
    """404: missing, or somebody else's; the two answer alike."""

    status_code = 404
    code = "not_found"
    detail = "Not found."


class Conflict(ApiError):
    """409: the state of the object does not allow this."""

    status_code = 409
    code = "conflict"
    detail = "The current state does not allow this."


class FieldError(ApiError):
    """422: one field of the body or query is wrong; `msg` says how to mend it."""

    status_code = 422
    code = "validation_error"

    def __init__(self, *loc: str | int, msg: str, type: str = "value_error") -> None:
        super().__init__(msg)
        self.errors = [{"loc": list(loc), "msg": msg, "type": type}]

    def body(self) -> dict[str, Any]:
        return {"detail": self.errors}


class RequestTooLarge(ApiError):
    """413: the body was not read."""

    status_code = 413
    code = "body_too_large"
    detail = "The body is too large."


class TooManyRequests(ApiError):
    """429 with Retry-After."""

    status_code = 429
    code = "rate_limited"
    detail = "Too many requests. Try again later."
    retryable = True


class UpstreamError(ApiError):
    """502: a service that we call refused or answered nonsense."""

    status_code = 502
    code = "upstream_error"
    detail = "A service that this one depends on refused the call."


class UpstreamUnavailable(ApiError):
    """503: a service that we call cannot be reached now."""

    status_code = 503
    code = "upstream_unavailable"
    detail = "A service that this one depends on cannot be reached. Try again later."
    retryable = True


def error_response(error: ApiError) -> JsonResponse:
    """Render an error for plain Django views (the webhook, pages)."""
    return JsonResponse(error.body(), status=error.status_code, headers=error.response_headers())


def as_api_error(error: Exception) -> ApiError | None:
    """Translate Django's own refusals; None means unexpected."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Http404):
        return NotFound()
    if isinstance(error, PermissionDenied):
        return Forbidden()
    return None


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer what Django would not even read, such as a body that is too large or too many fields."""
    return error_response(RequestTooLarge() if isinstance(exception, RequestDataTooBig) else ApiError())


def page_not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer an unknown path in the contract's shape."""
    return error_response(NotFound("No such path."))


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer an unexpected failure without a trace, naming the request id that the log has."""
    request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
    return JsonResponse({"detail": "Internal error.", "code": "internal_error", "request_id": request_id}, status=500)
