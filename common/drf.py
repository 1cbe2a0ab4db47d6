"""DRF's side of the error mapping: every exception of a view becomes an answer in the contract's shape."""

from collections.abc import Iterable
from typing import Any

from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import set_rollback

from common.client_address import client_address
from common.errors import ApiError, NotAuthenticated, TooManyRequests, as_api_error
from common.rate_limits import RateLimit, count_call

# Wrong tokens and keys from one address. Guessing them is hopeless anyhow; this keeps the noise down.
REFUSED_TOKENS = RateLimit("refused-tokens-address", amount=600, seconds=300)


class _EscapingRenderer(JSONRenderer):
    """JSON in ASCII."""

    ensure_ascii = True


class NullableJSONRenderer(JSONRenderer):
    """JSON in which nothing is `null`; DRF's own renderer answers 200 with an empty body, which is no JSON."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        """Return the body."""
        response = (renderer_context or {}).get("response")
        if data is None and response is not None and response.status_code == 200:
            return b"null"
        try:
            return super().render(data, accepted_media_type, renderer_context)
        except UnicodeEncodeError:
            # A refusal names what was sent, which may hold half a character: only escaped it can be said.
            return _EscapingRenderer().render(data, accepted_media_type, renderer_context)


class OnlyJSON(DefaultContentNegotiation):
    """Answers in JSON whatever the Accept header says: there is nothing else, and a refusal would have to be JSON as well."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """Return the view's first renderer."""
        first = next(iter(renderers))
        return first, first.media_type or ""


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Map an exception to `{"detail", "code", "action"?}`; 422 lists fields; unknown ones stay 500."""
    known = as_api_error(error)
    if known is None and isinstance(error, exceptions.APIException):
        if isinstance(error, exceptions.ValidationError):
            set_rollback()
            return Response({"detail": field_errors(error.detail, _location(context))}, status=422)
        known = _from_drf(error)
    if known is None:
        return None
    if isinstance(known, NotAuthenticated):
        known = _counted(known, context)
    set_rollback()
    return Response(known.body(), status=known.status_code, headers=known.response_headers())


def _counted(refusal: ApiError, context: dict[str, Any]) -> ApiError:
    """Count a token that was refused; past the limit, say so instead. A good token is never kept out by this."""
    request = context.get("request")
    if request is None:
        return refusal
    try:
        count_call(REFUSED_TOKENS, client_address(request))
    except TooManyRequests as too_many:
        return too_many
    return refusal


def field_errors(detail: Any, prefix: tuple[str | int, ...] = ("body",)) -> list[dict[str, Any]]:
    """Flatten DRF's nested validation detail into `[{"loc", "msg", "type"}]`."""
    rows: list[dict[str, Any]] = []
    if isinstance(detail, dict):
        for name, value in detail.items():
            location = prefix if name == "non_field_errors" else (*prefix, name)
            rows.extend(field_errors(value, location))
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            nested = isinstance(value, dict | list)
            rows.extend(field_errors(value, (*prefix, index) if nested else prefix))
    else:
        rows.append({"loc": list(prefix), "msg": str(detail), "type": str(getattr(detail, "code", "invalid"))})
    return rows


def _location(context: dict[str, Any]) -> tuple[str]:
    view = context.get("view")
    return ("query",) if getattr(view, "validating_query", False) else ("body",)


def _from_drf(error: exceptions.APIException) -> ApiError:
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return NotAuthenticated()
    if isinstance(error, exceptions.ParseError):
        return _with_status(400, "malformed_body", "The body is not valid JSON.")
    code = str(error.get_codes()) if isinstance(error.get_codes(), str) else "error"
    return _with_status(error.status_code, code, str(error.detail))


def _with_status(status_code: int, code: str, detail: str) -> ApiError:
    mapped = ApiError(detail, code=code)
    mapped.status_code = status_code
    return mapped
