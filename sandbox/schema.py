"""Stripe's published shapes for the pinned API version, compiled for fast checks.

Invariant: everything known about shapes comes from `spec/`; how far each finding is trusted
is decided here alone. Missing fields, wrong types, wrong nulls and a wrong pairing of event
and object are errors; unknown fields and new values of open enums are warnings, because the
real Stripe sends both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from .declarations import (
    SUBSCRIPTION_PERIOD_FIELDS,
    Route,
    Schema,
    definition_name,
    is_fractional,
    resolve,
    routes,
    spec,
)

MISSING = "missing"


@dataclass(frozen=True)
class Problem:
    """One deviation from a published shape, at a dotted path."""

    path: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.path}: {self.message}"


# Where a value is: the path of what it is in, and what that is called there; spelled only when there is something to tell.
Place: TypeAlias = "str | tuple[Place, str]"
Check = Callable[[Any, Place, list[Problem]], None]


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
    route = _routes_by_name().get((method, path))
    if route is None:
        return [Problem("$", f"no published operation {method} {path}")]
    if route.kind in ("list", "search_result"):
        return _validate_page(body, route.kind, route.result)
    return _run(route.result, body, "$")


@cache
def _routes_by_name() -> dict[tuple[str, str], Route]:
    return {(route.method, route.path): route for route in routes()}


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
    problems: list[Problem] = []
    _check(schema)(value, path, problems)
    _find_removed_fields(value, path, problems)
    return problems


def _is_union_of_events(schema: Schema) -> bool:
    branches = schema.get("anyOf", [])
    return bool(branches) and all(branch.get("$ref", "").startswith("#/definitions/Events.") for branch in branches)


def _find_removed_fields(value: Any, path: Place, problems: list[Problem]) -> None:
    """Find period fields at the top of any subscription, also of an expanded or nested one."""
    if isinstance(value, dict):
        if value.get("object") == "subscription":
            for field in SUBSCRIPTION_PERIOD_FIELDS:
                if field in value:
                    problems.append(
                        Problem(f"{_spelled(path)}.{field}", "left the subscription for its items in 2025-03-31")
                    )
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                _find_removed_fields(inner, (path, f".{key}"), problems)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, (dict, list)):
                _find_removed_fields(inner, (path, f"[{index}]"), problems)


def _spelled(place: Place) -> str:
    parts: list[str] = []
    while not isinstance(place, str):
        place, part = place
        parts.append(part)
    return place + "".join(reversed(parts))


# Declarations live as long as the process, each once: the identity names one, and reading its text would cost more than checks.
_compiled: dict[int, tuple[Schema, Check]] = {}


def _check(schema: Schema) -> Check:
    known = _compiled.get(id(schema))
    if known is None:
        known = _compiled[id(schema)] = (schema, _compile(schema))
    return known[1]


@cache
def _named_check(name: str) -> Check:
    return _compile(spec()["definitions"][name])


def _compile(schema: Schema) -> Check:
    if "$ref" in schema:
        name = definition_name(schema["$ref"])

        def follow(value: Any, path: Place, problems: list[Problem]) -> None:
            # Looked up when called: definitions refer to each other in circles.
            _named_check(name)(value, path, problems)

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
        return lambda value, path, problems: None
    return _compile_scalar(schema)


def _compile_enum(allowed: list[Any]) -> Check:
    def check(value: Any, path: Place, problems: list[Problem]) -> None:
        if not any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in allowed):
            problems.append(Problem(_spelled(path), f"{value!r} is not one of {allowed}"))

    return check


def _compile_scalar(schema: Schema) -> Check:
    kind = schema["type"]
    open_enum = frozenset(schema.get("x-open-enum", ()))

    def check(value: Any, path: Place, problems: list[Problem]) -> None:
        if not _is_kind(value, kind):
            problems.append(Problem(_spelled(path), f"{value!r} is not a {kind}"))
        elif open_enum and value not in open_enum:
            problems.append(Problem(_spelled(path), f"new value {value!r} of an open enum", "warning"))
        elif kind == "number" and isinstance(value, float) and not is_fractional(_spelled(path)):
            problems.append(Problem(_spelled(path), f"{value!r} must be an integer"))

    return check


_KINDS: dict[str, type | tuple[type, ...]] = {
    "null": type(None), "string": str, "boolean": bool, "number": (int, float), "array": list, "object": dict,
}  # fmt: skip


def _is_kind(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and not (kind == "number" and isinstance(value, bool))


def _compile_array(schema: Schema) -> Check:
    item = _compile(schema.get("items", {}))

    def check(value: Any, path: Place, problems: list[Problem]) -> None:
        if not isinstance(value, list):
            problems.append(Problem(_spelled(path), f"{value!r} is not an array"))
            return
        for index, entry in enumerate(value):
            item(entry, (path, f"[{index}]"), problems)

    return check


def _compile_object(schema: Schema) -> Check:
    # With what each field adds to a path: to spell it for every value would cost more than the checks.
    fields = {name: (_compile(inner), f".{name}") for name, inner in schema.get("properties", {}).items()}
    required = tuple(schema.get("required", ()))
    rest = schema.get("additionalProperties", True)
    rest_check = _compile(rest) if isinstance(rest, dict) else None

    def check(value: Any, path: Place, problems: list[Problem]) -> None:
        if not isinstance(value, dict):
            problems.append(Problem(_spelled(path), f"{value!r} is not an object"))
            return
        for name in required:
            if name not in value:
                problems.append(Problem(f"{_spelled(path)}.{name}", MISSING))
        for name, entry in value.items():
            known = fields.get(name)
            if known is not None:
                known[0](entry, (path, known[1]), problems)
            elif rest_check is not None:
                rest_check(entry, (path, f".{name}"), problems)
            elif rest is False:
                problems.append(Problem(f"{_spelled(path)}.{name}", "unknown field", "warning"))

    return check


@dataclass(frozen=True)
class _Branch:
    """One of the shapes that a value may have, and what it must claim to be for this one to be asked."""

    check: Check
    kind: str | None
    allowed: list[Any] | None
    names: list[str] | None
    is_stub: bool

    def may_fit(self, value: Any) -> bool:
        if self.allowed is not None:
            return value in self.allowed
        if self.kind is None:
            return True
        if not _is_kind(value, self.kind):
            return False
        if self.kind != "object":
            return True
        if self.names and value.get("object") not in self.names:
            return False
        return self.is_stub == (value.get("deleted") is True)


def _branch(schema: Schema) -> _Branch:
    resolved = resolve(schema)
    properties = resolved.get("properties", {})
    return _Branch(
        check=_compile(schema),
        kind=resolved.get("type"),
        allowed=resolved.get("enum"),
        names=properties.get("object", {}).get("enum"),
        is_stub="deleted" in properties and "deleted" in resolved.get("required", ()),
    )


def _weight(problems: list[Problem]) -> tuple[int, int]:
    return len(errors_of(problems)), len(problems)


def _compile_union(schemas: list[Schema]) -> Check:
    """Take the branch that the value claims to be, so that a defect is named where it is.

    Without a claim (no `object` name) the branch with the fewest errors speaks.
    """
    branches = [_branch(schema) for schema in schemas]
    allows_null = {"type": "null"} in schemas

    def check(value: Any, path: Place, problems: list[Problem]) -> None:
        if value is None and allows_null:
            return
        found: list[list[Problem]] = []
        for branch in branches:
            if branch.may_fit(value):
                of_branch: list[Problem] = []
                branch.check(value, path, of_branch)
                if not of_branch:
                    return
                found.append(of_branch)
        if found:
            quietest = min(found, key=_weight)
            problems += quietest
        else:
            problems.append(Problem(_spelled(path), f"{value!r} fits none of {len(branches)} allowed types"))

    return check
