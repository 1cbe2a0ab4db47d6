"""Reads a request's body up to a limit, before anything looks at it; a larger one is refused without being read to its end."""

from django.conf import settings
from django.http import HttpRequest
from django.http.request import UnreadablePostError

from common.errors import ApiError

CHUNK_BYTES = 65_536


class BodyTooLarge(ApiError):
    """413: more than Stripe ever sends."""

    status_code = 413
    code = "body_too_large"
    detail = "The body is larger than 1 MiB."


class BodyUnreadable(ApiError):
    """400: the body ended before its announced length, or its length is no number."""

    code = "malformed_body"
    detail = "The body could not be read."


def read_bounded_body(request: HttpRequest) -> bytes:
    """Return the body, of at most WEBHOOK_MAX_BODY_BYTES. Raises: BodyTooLarge (413), BodyUnreadable (400)."""
    limit = settings.WEBHOOK_MAX_BODY_BYTES
    announced = request.META.get("CONTENT_LENGTH") or ""
    if announced:
        if not (announced.isascii() and announced.isdigit()):
            raise BodyUnreadable()
        if len(announced) > 12 or int(announced) > limit:
            raise BodyTooLarge()
        body = _read(request, limit)
        if len(body) != int(announced):
            raise BodyUnreadable()
        return body
    # Without a length Django reads nothing. A server that decodes chunks says that its stream ends by itself.
    if request.META.get("wsgi.input_terminated"):
        return _read(request.META["wsgi.input"], limit)
    return b""


def _read(stream: object, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        while size <= limit:
            chunk: bytes = stream.read(min(CHUNK_BYTES, limit + 1 - size))  # type: ignore[attr-defined]
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
    except (OSError, UnreadablePostError) as error:
        raise BodyUnreadable() from error
    raise BodyTooLarge()
