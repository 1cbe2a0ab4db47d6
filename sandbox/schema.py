"""Stripe's published shapes for the pinned API version, compiled for fast checks.

Invariant: everything known about shapes comes from `spec/`; how far each finding is trusted
is decided here alone. Missing fields, wrong types, wrong nulls and a wrong pairing of event
and object are errors; unknown fields and new values of open enums are warnings, because the
real Stripe sends both.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SPEC_FILE = Path(__file__).parent / "spec" / "stripe-2026-08-26.dahlia.schema.json.gz"

# The declarations do not tell integers from floats; these are the fields Stripe documents as
# fractional. Any other float (an amount of 10.0, a time of 1.7e9) is a defect.
FRACTIONAL_WORDS = ("percent", "rate", "latitude", "longitude", "score", "height", "length", "weight", "width", "value")

# Left the subscription for its items on 2025-03-31; the declarations alone would only warn.
SUBSCRIPTION_PERIOD_FIELDS = ("current_period_start", "current_period_end")

MISSING = "missing"


@dataclass(frozen=True)
class Problem:
    """One deviation from a published shape, at a dotted path."""

    path: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


class Route(NamedTuple):
    """One operation of the API as the spec declares it."""

    method: str
    path: str
    params: dict[str, Any]
    kind: str
    result: dict[str, Any]


Schema = dict[str, Any]
Check = Callable[[Any, str], Iterator[Problem]]


@cache
def spec() -> dict[str, Any]:
    """Load the spec once per process."""
    with gzip.open(SPEC_FILE) as handle:
        loaded: dict[str, Any] = json.load(handle)
    return loaded


def definition_name(ref: str) -> str:
    """Return the name inside a `#/definitions/NAME` reference."""
    return ref.split("/", 2)[2]


def resolve(schema: Schema) -> Schema:
    """Follow `$ref` until a schema with content is reached."""
    while "$ref" in schema:
        schema = spec()["definitions"][definition_name(schema["$ref"])]
    return schema


@cache
def routes() -> tuple[Route, ...]:
    """List every /v1 operation that the spec knows."""
    return tuple(
        Route(entry["method"], entry["path"], entry["params"], entry["kind"], entry["result"])
        for entry in spec()["routes"]
        if entry["path"].startswith("/v1/")
    )


def errors_of(problems: list[Problem]) -> list[Problem]:
    """Keep what must never happen."""
    return [problem for problem in problems if problem.severity == "error"]


def warnings_of(problems: list[Problem]) -> list[Problem]:
    """Keep unknown fields and new values of open enums."""
    return [problem for problem in problems if problem.severity == "warning"]


def validate_object(obj: Any) -> list[Problem]:
    """Check an API object, list or deletion stub by its own `object` name."""
    if not isinstance(obj, dict) or not isinstance(obj.get("object"), str):
        return [Problem("$", "not an object with an `object` name")]
    name = obj["object"]
    if name in ("list", "search_result"):
        return _validate_page(obj, name, None)
    if name == "event":
        return validate_event(obj)
    key = f"deleted:{name}" if obj.get("deleted") is True else name
    refs = spec()["by_object"].get(key)
    if not refs:
        return [Problem("$", f"no published object is named {key!r}")]
    return _run(refs[0], obj, name)


def validate_event(event: Any) -> list[Problem]:
    """Check an event, and that its type carries the kind of object that Stripe pairs with it."""
    if not isinstance(event, dict):
        return [Problem("event", "not an object")]
    ref = spec()["events"].get(event.get("type"))
    if ref is None:
        return [Problem("event.type", f"no published event is named {event.get('type')!r}")]
    path = f"event[{event['type']}]"
    data = event.get("data")
    if not isinstance(data, dict) or "previous_attributes" not in data:
        return _run(ref, event, path)
    whole = {**event, "data": {name: value for name, value in data.items() if name != "previous_attributes"}}
    return _run(ref, whole, path) + _validate_previous(ref, data["previous_attributes"], f"{path}.data")


def _validate_previous(event_ref: Schema, previous: Any, path: str) -> list[Problem]:
    """Check previous_attributes: real ones hold only what changed, at every depth, with null for what was not there."""
    data = resolve(resolve(event_ref)["properties"]["data"])
    declared = data["properties"].get("previous_attributes")
    if declared is None:
        return [Problem(f"{path}.previous_attributes", "does not belong to this type of event")]
    problems = _run(declared, previous, f"{path}.previous_attributes")
    return [problem for problem in problems if problem.message != MISSING and not problem.message.startswith("None ")]


def validate_answer(method: str, path: str, body: Any) -> list[Problem]:
    """Check the 200 body of an operation against what that operation is declared to return.

    `path` is the template of the route as `routes()` lists it.
    """
    for route in routes():
        if route.method == method and route.path == path:
            break
    else:
        return [Problem("$", f"no published operation {method} {path}")]
    if route.kind in ("list", "search_result"):
        return _validate_page(body, route.kind, route.result)
    return _run(route.result, body, "$")


def validate_error(body: Any) -> list[Problem]:
    """Check an error body: the envelope, one of Stripe's four types, and no null keys."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or set(body) != {"error"}:
        return [Problem("$", "an error body is {'error': {...}}")]
    problems = []
    if error.get("type") not in ("api_error", "card_error", "idempotency_error", "invalid_request_error"):
        problems.append(Problem("error.type", f"{error.get('type')!r} is not one of Stripe's types"))
    if not isinstance(error.get("message"), str) or not error["message"]:
        problems.append(Problem("error.message", "missing"))
    problems += [Problem(f"error.{key}", "null keys are left out") for key, value in error.items() if value is None]
    return problems


def _validate_page(body: Any, kind: str, item: Schema | None) -> list[Problem]:
    if not isinstance(body, dict) or body.get("object") != kind:
        return [Problem("$", f"not a {kind}")]
    problems = []
    for key, wanted in (("data", list), ("has_more", bool), ("url", str)):
        if not isinstance(body.get(key), wanted):
            problems.append(Problem(f"{kind}.{key}", f"must be a {wanted.__name__}"))
    known = {"object", "data", "has_more", "url"} | ({"next_page", "total_count"} if kind == "search_result" else set())
    problems += [Problem(f"{kind}.{key}", "unknown field", "warning") for key in body if key not in known]
    for index, entry in enumerate(body.get("data") or []):
        found = _run(item, entry, f"data[{index}]") if item else validate_object(entry)
        problems += found
    return problems


def _run(schema: Schema, value: Any, path: str) -> list[Problem]:
    if _is_union_of_events(schema):
        # The type says which one it is, and trying all of them would be slow.
        return validate_event(value)
    problems = list(_check(json.dumps(schema, sort_keys=True))(value, path))
    problems += _removed_fields(value, path)
    return problems


def _is_union_of_events(schema: Schema) -> bool:
    branches = schema.get("anyOf", [])
    return bool(branches) and all(branch.get("$ref", "").startswith("#/definitions/Events.") for branch in branches)


def _removed_fields(value: Any, path: str) -> Iterator[Problem]:
    """Find period fields at the top of any subscription, also of an expanded or nested one."""
    if isinstance(value, dict):
        if value.get("object") == "subscription":
            for field in SUBSCRIPTION_PERIOD_FIELDS:
                if field in value:
                    yield Problem(f"{path}.{field}", "left the subscription for its items in 2025-03-31")
        for key, inner in value.items():
            yield from _removed_fields(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _removed_fields(inner, f"{path}[{index}]")


@cache
def _check(schema_json: str) -> Check:
    return _compile(json.loads(schema_json))


@cache
def _named_check(name: str) -> Check:
    return _compile(spec()["definitions"][name])


def _compile(schema: Schema) -> Check:
    if "$ref" in schema:
        name = definition_name(schema["$ref"])

        def follow(value: Any, path: str) -> Iterator[Problem]:
            # Looked up when called: definitions refer to each other in circles.
            return _named_check(name)(value, path)

        return follow
    if "anyOf" in schema:
        return _compile_union(schema["anyOf"])
    if "enum" in schema:
        return _compile_enum(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return _compile_object(schema)
    if kind == "array":
        return _compile_array(schema)
    if kind is None:
        return lambda value, path: iter(())
    return _compile_scalar(schema)


def _compile_enum(allowed: list[Any]) -> Check:
    def check(value: Any, path: str) -> Iterator[Problem]:
        if not any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in allowed):
            yield Problem(path, f"{value!r} is not one of {allowed}")

    return check


def _compile_scalar(schema: Schema) -> Check:
    kind = schema["type"]
    open_enum = frozenset(schema.get("x-open-enum", ()))

    def check(value: Any, path: str) -> Iterator[Problem]:
        if not _is_kind(value, kind):
            yield Problem(path, f"{value!r} is not a {kind}")
        elif open_enum and value not in open_enum:
            yield Problem(path, f"new value {value!r} of an open enum", "warning")
        elif kind == "number" and isinstance(value, float) and not is_fractional(path):
            yield Problem(path, f"{value!r} must be an integer")

    return check


def is_fractional(path: str) -> bool:
    """Say whether Stripe documents fractions for the field at the end of this path."""
    field = path.rsplit(".", 1)[-1]
    return any(word in field for word in FRACTIONAL_WORDS)


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "array":
        return isinstance(value, list)
    return isinstance(value, dict)


def _compile_array(schema: Schema) -> Check:
    item = _compile(schema.get("items", {}))

    def check(value: Any, path: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(path, f"{value!r} is not an array")
            return
        for index, entry in enumerate(value):
            yield from item(entry, f"{path}[{index}]")

    return check


def _compile_object(schema: Schema) -> Check:
    fields = {name: _compile(inner) for name, inner in schema.get("properties", {}).items()}
    required = tuple(schema.get("required", ()))
    rest = schema.get("additionalProperties", True)
    rest_check = _compile(rest) if isinstance(rest, dict) else None

    def check(value: Any, path: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(path, f"{value!r} is not an object")
            return
        for name in required:
            if name not in value:
                yield Problem(f"{path}.{name}", MISSING)
        for name, entry in value.items():
            if name in fields:
                yield from fields[name](entry, f"{path}.{name}")
            elif rest_check is not None:
                yield from rest_check(entry, f"{path}.{name}")
            elif rest is False:
                yield Problem(f"{path}.{name}", "unknown field", "warning")

    return check


def _compile_union(branches: list[Schema]) -> Check:
    """Take the branch that the value claims to be, so that a defect is named where it is.

    Without a claim (no `object` name) the branch with the fewest errors speaks.
    """
    compiled = [(branch, _compile(branch)) for branch in branches]

    def check(value: Any, path: str) -> Iterator[Problem]:
        fitting = [one for branch, one in compiled if _may_fit(branch, value)]
        if not fitting:
            yield Problem(path, f"{value!r} fits none of {len(compiled)} allowed types")
            return
        found = [list(one(value, path)) for one in fitting]
        yield from min(found, key=lambda problems: (len(errors_of(problems)), len(problems)))

    return check


def _may_fit(branch: Schema, value: Any) -> bool:
    branch = resolve(branch)
    if "enum" in branch:
        return value in branch["enum"]
    kind = branch.get("type")
    if kind is None:
        return True
    if not _is_kind(value, kind):
        return False
    if kind != "object":
        return True
    properties = branch.get("properties", {})
    claimed = properties.get("object", {}).get("enum")
    if claimed and value.get("object") not in claimed:
        return False
    stub = "deleted" in properties and "deleted" in branch.get("required", ())
    return stub == (value.get("deleted") is True)
