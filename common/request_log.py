"""The lines that say which request came and how it ended."""

import structlog
from django.http import HttpRequest
from django_structlog.middlewares import RequestMiddleware

from common.client_address import caller_address


class RequestLog(RequestMiddleware):
    """Writes down what was asked for and from where, by an address that the caller cannot choose.

    Invariant: what stands behind the question mark is in no line: there are addresses that staff search for, and ids of the app's
    users, which nobody could take out of a log when a person is erased.
    """

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Name the caller in every line of the request."""
        structlog.contextvars.bind_contextvars(ip=caller_address(request))

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return the method and the path."""
        return f"{request.method} {request.path}"
