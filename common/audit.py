"""Who is behind the changes of a request, for the audit log of changed rows."""

from typing import Any

import structlog
from auditlog.context import auditlog_value
from auditlog.middleware import AuditlogMiddleware
from django.http import HttpRequest

from common.client_address import caller_address


def note_actor(actor: Any) -> None:
    """Name who is behind this request: a bearer token is read long after the session that the library looks at."""
    context = auditlog_value.get(None)
    if context is not None:
        context["actor"] = actor


class AuditContext(AuditlogMiddleware):
    """Names the caller by an address that they cannot choose, which the library's own middleware lets them."""

    @staticmethod
    def _get_remote_addr(request: HttpRequest) -> str | None:
        return caller_address(request) or None

    @staticmethod
    def _get_remote_port(request: HttpRequest) -> int | None:
        return None


def request_id() -> str | None:
    """Return the id that the log has for this request (AUDITLOG_CID_GETTER); the library would take the caller's word for one."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return str(found) if found else None
