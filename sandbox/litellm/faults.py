"""Faults on demand for the stand-in proxies: what a proxy, or whatever stands before it, can do to a caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from flask import Request, Response

from ..dispatch import cut
from ..faults import Fault, FaultRefused, Faults

ACTIONS = {
    "reset": "the connection is cut, nothing happens",
    "hang": "silence, nothing happens",
    "reset_after_effect": "it happens, then the connection is cut",
    "timeout_after_effect": "it happens, then silence",
    "html": "a page of HTML with 200",
    "huge": "five megabytes with 200",
    "list": "a JSON list where an object is due",
    "redirect": "a redirect",
    "drip": "an answer that comes byte by byte",
}
HUGE_BYTES = 5 * 1024 * 1024
DRIP_SECONDS = 0.2
ELSEWHERE = "http://169.254.169.254/latest/meta-data/"


def checked_do(do: str) -> str:
    """Check what a fault does. Raises: FaultRefused."""
    kind, _, number = do.partition(":")
    if do in ACTIONS or (kind == "status" and number.isdigit() and 400 <= int(number) <= 599):
        return do
    raise FaultRefused(f"do must be status:CODE (400 to 599) or one of {', '.join(ACTIONS)}")


def answer_with(fault: Fault, faults: Faults, request: Request, answer: Callable[[], Response]) -> Response:
    """Answer one request as a fault says. Raises: ConnectionDropped."""
    if fault.do.startswith("status:"):
        status = int(fault.do.partition(":")[2])
        body = {"error": {"message": "Refused on purpose.", "type": "None", "param": "None", "code": str(status)}}
        return Response(json.dumps(body), status=status, content_type="application/json")
    if fault.do == "html":
        return Response("<html><body>Sign in first</body></html>", content_type="text/html")
    if fault.do == "huge":
        return Response(b'{"user_id": "' + b"x" * HUGE_BYTES + b'"}', content_type="application/json")
    if fault.do == "list":
        return Response("[]", content_type="application/json")
    if fault.do == "redirect":
        return Response(status=302, headers={"Location": ELSEWHERE})
    if fault.do == "drip":
        return Response(_drip(faults, fault.seconds), content_type="application/json")
    if fault.do == "hang":
        faults.wait(fault.seconds)
    if fault.do in ("reset", "hang"):
        raise cut(request)
    answer()
    if fault.do == "timeout_after_effect":
        faults.wait(fault.seconds)
    raise cut(request)


def _drip(faults: Faults, seconds: float) -> Iterator[bytes]:
    for _ in range(int(seconds / DRIP_SECONDS)):
        yield b" "
        faults.wait(DRIP_SECONDS)
    yield b"{}"
