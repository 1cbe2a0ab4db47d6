"""Faults on demand for GitHub: what it, its limits, or whatever stands before it can do to a caller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from flask import Request, Response

from ..faults import Fault, FaultRefused, Faults
from ..litellm import faults as common

REFUSALS = {
    "primary": "403 with no request left until the limit is reset",
    "secondary": "403 with Retry-After",
    "secondary-silent": "403 that names no time",
    "429": "429 that names no time",
    "quota": "422, over the invitation rate limit",
    "elsewhere": "a list whose next page is at another host",
}


def checked_do(do: str) -> str:
    """Check what a fault does. Raises: FaultRefused."""
    kind, _, name = do.partition(":")
    if kind == "refuse" and name in REFUSALS:
        return do
    try:
        return common.checked_do(do)
    except FaultRefused as refusal:
        raise FaultRefused(f"{refusal}, or refuse: and one of {', '.join(REFUSALS)}") from None


def answer_with(fault: Fault, faults: Faults, request: Request, answer: Callable[[], Response]) -> Response:
    """Answer one request as a fault says. Raises: ConnectionDropped."""
    kind, _, name = fault.do.partition(":")
    if kind == "status":
        return _refusal(int(name), "Refused on purpose.")
    if kind != "refuse":
        return common.answer_with(fault, faults, request, answer)
    if name == "primary":
        reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time() + fault.seconds))}
        return _refusal(403, "API rate limit exceeded for user.", reset)
    if name == "quota":
        errors = [
            {"resource": "OrganizationInvitation", "code": "unprocessable", "message": "Over invitation rate limit"}
        ]
        return _refusal(422, "Validation Failed", errors=errors)
    if name == "elsewhere":
        response = answer()
        response.headers["Link"] = '<http://127.0.0.2:9/organizations/1/invitations?page=2>; rel="next"'
        return response
    after = {"Retry-After": str(int(fault.seconds))} if name == "secondary" else {}
    return _refusal(429 if name == "429" else 403, "You have exceeded a secondary rate limit.", after)


def _refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: object) -> Response:
    body = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status), **more}
    response = Response(json.dumps(body), status=status, content_type="application/json; charset=utf-8")
    response.headers.update(headers or {})
    return response
