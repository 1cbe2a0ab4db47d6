"""With SANDBOX_VALIDATE=1: every answer and event is checked against the published shapes before it leaves.

What deviates is kept and shown at GET /_sandbox/api/violations, so that a whole test suite can end by asserting that
there was nothing. Off, it costs nothing; on, well under a millisecond an answer.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import Counter
from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from . import params, schema

VIOLATIONS_MAX = 500
WARNINGS_MAX = 500


class Recorder:
    """Keeps what was found, bounded; shared by all threads of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._violations: list[dict[str, Any]] = []
            self._warnings: Counter[str] = Counter()
            self._checked = 0

    def add(self, where: str, problems: list[schema.Problem], **details: Any) -> None:
        """Note one checked answer or event with its problems."""
        errors = [str(problem) for problem in schema.errors_of(problems)]
        with self._lock:
            self._checked += 1
            if errors and len(self._violations) < VIOLATIONS_MAX:
                self._violations.append({"where": where, "problems": errors, **details})
            for problem in schema.warnings_of(problems):
                key = re.sub(r"\[\d+\]", "[]", f"{where}: {problem.path}: {problem.message}")
                if key in self._warnings or len(self._warnings) < WARNINGS_MAX:
                    self._warnings[key] += 1

    def report(self) -> dict[str, Any]:
        """Give violations (there must be none), counted warnings, and how much was checked."""
        with self._lock:
            return {"checked": self._checked, "data": list(self._violations), "warnings": dict(self._warnings)}


recorder = Recorder()


def is_enabled() -> bool:
    """Say whether the environment asks for checks."""
    return os.environ.get("SANDBOX_VALIDATE") == "1"


def check_event(event: dict[str, Any]) -> None:
    """Check an event as it is made."""
    if is_enabled():
        recorder.add(f"event {event.get('type')}", schema.validate_event(event), id=event.get("id"))


def check_answer(method: str, path: str, response: Response) -> None:
    """Check an answer of the API: the operation's declared result, or Stripe's error envelope."""
    where = f"{method} {path}"
    details = {"status": response.status_code, "request": response.headers.get("Request-Id")}
    try:
        body = json.loads(response.get_data())
    except ValueError:
        recorder.add(where, [schema.Problem("$", "the body is not JSON")], **details)
        return
    if response.status_code != 200:
        recorder.add(where, schema.validate_error(body), **details)
        return
    matched = params.match_route(method, path)
    if matched is None:
        recorder.add(where, [schema.Problem("$", "answered 200 on a route that Stripe does not have")], **details)
        return
    route = matched[0]
    recorder.add(f"{method} {route.path}", schema.validate_answer(method, route.path, body), path=path, **details)


def blueprint() -> Blueprint:
    """Make the report's routes; with checks enabled, also the hook that looks at every answer under /v1."""
    pages = Blueprint("violations", __name__)

    @pages.get("/_sandbox/api/violations")
    def list_violations() -> ResponseReturnValue:
        return jsonify(enabled=is_enabled(), **recorder.report())

    @pages.delete("/_sandbox/api/violations")
    def clear_violations() -> ResponseReturnValue:
        recorder.clear()
        return jsonify(cleared=True)

    @pages.after_app_request
    def check(response: Response) -> Response:
        if is_enabled() and request.path.startswith("/v1/"):
            check_answer(request.method, request.path, response)
        return response

    return pages
