"""Checks what a client asked and what the stand-in answered against GitHub's own description of its API.

`spec/github-23.0.2.schema.json.gz` holds the operations that licences use: see spec/README.md. Only with SANDBOX_VALIDATE=1.
"""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from flask import Request, Response

from ..schema import Problem

SPEC_FILE = Path(__file__).parent.parent / "spec" / "github-23.0.2.schema.json.gz"
BY_NUMBER = re.compile(r"^/organizations/\d+/")
# GitHub answers these wherever it wants to, so the description does not repeat them everywhere.
ANYWHERE = ("401", "403", "404", "429")


@cache
def spec() -> dict[str, Any]:
    """Load the description once per process."""
    with gzip.open(SPEC_FILE) as handle:
        loaded: dict[str, Any] = json.load(handle)
    return loaded


def _pattern(path: str) -> str:
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))


@cache
def _operations() -> list[tuple[str, re.Pattern[str], str]]:
    keys = [(*key.split(" ", 1), key) for key in spec()["operations"]]
    return [(method, re.compile(_pattern(path)), key) for method, path, key in keys]


@cache
def _validator(key: str, part: str) -> Any:
    # Needed by checks only, and a tenth of a second to load.
    import jsonschema

    operation = spec()["operations"][key]
    declared = operation["body"] if part == "body" else operation["responses"].get(part)
    if declared is None:
        declared = {"$ref": "#/definitions/basic-error"}
    return jsonschema.Draft7Validator({**declared, "definitions": spec()["definitions"]})


def problems_of(request: Request, path: str, response: Response) -> list[Problem]:
    """Name everything that a request or its answer has otherwise than GitHub describes it."""
    # Links to further pages name the organisation by its number, which the description leaves out.
    wanted = BY_NUMBER.sub("/orgs/by-number/", path)
    found = [
        (key, match) for method, pattern, key in _operations() if method == request.method
        and (match := pattern.fullmatch(wanted))
    ]  # fmt: skip
    if not found:
        is_refused = response.status_code in (401, 404)
        return [] if is_refused else [Problem("$", "answered on a route that GitHub does not have")]
    key, match = found[0]
    return [*_request_problems(request, key, match.groupdict()), *_answer_problems(response, key)]


def _request_problems(request: Request, key: str, in_path: dict[str, str]) -> list[Problem]:
    operation = spec()["operations"][key]
    problems = []
    # Source: https://docs.github.com/rest/using-the-rest-api/getting-started-with-the-rest-api#headers
    for name, value in (("Accept", "application/vnd.github+json"), ("X-GitHub-Api-Version", "2022-11-28")):
        if request.headers.get(name) != value:
            problems.append(Problem(f"request.headers.{name}", f"is not {value}"))
    if not request.headers.get("User-Agent"):
        problems.append(Problem("request.headers.User-Agent", "is missing"))
    known = {(one["in"], one["name"]): one["schema"] for one in operation["parameters"]}
    given = {("query", name): value for name, value in request.args.items()}
    given |= {("path", name): value for name, value in in_path.items()}
    for place, value in given.items():
        if place not in known:
            problems.append(Problem(f"request.{place[0]}.{place[1]}", "is not known"))
        elif known[place].get("type") == "integer" and not value.isdigit():
            problems.append(Problem(f"request.{place[0]}.{place[1]}", "is no number"))
    if request.data and operation["body"] is None:
        problems.append(Problem("request.body", "is not expected"))
    elif operation["body"] is not None and request.data:
        problems += _problems(_validator(key, "body"), request.get_json(silent=True), "request.body")
        unknown = set(request.get_json(silent=True) or {}) - set(operation["body"].get("properties", {}))
        problems += [Problem(f"request.body.{name}", "is not known") for name in sorted(unknown)]
    return problems


def _answer_problems(response: Response, key: str) -> list[Problem]:
    status, declared = str(response.status_code), spec()["operations"][key]["responses"]
    if status not in declared and status not in ANYWHERE:
        return [Problem("$", f"answers {status}, which GitHub does not")]
    if status == "204":
        return [Problem("$", "204 has a body")] if response.get_data() else []
    try:
        body = json.loads(response.get_data())
    except ValueError:
        return [Problem("$", "the body is not JSON")]
    return _problems(_validator(key, status), body, "$")


def _problems(validator: Any, value: Any, where: str) -> list[Problem]:
    found = sorted(validator.iter_errors(value), key=lambda error: list(error.absolute_path))
    # A union says "is not valid under any": the nearest branch says why.
    return [Problem(f"{where}.{'.'.join(map(str, error.absolute_path))}", error.message[:200]) for error in found]
