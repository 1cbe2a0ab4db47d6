"""The OpenAPI document says the same as the contract, field by field (tests/openapi/contract.py has it as data)."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client

from notifications.event_types import EVENT_TYPES
from tests.openapi.contract import ENDPOINTS, SHAPES, Shape

TYPE = re.compile(
    r"(?P<name>\[?[\w+]+\]?)(\{(?P<enum>[^}]*)\})?(\((?P<least>\d*)\.\.(?P<most>\d*)\))?(=(?P<default>\w+))?(?P<null>\?)?"
)
JSON_TYPES = {
    "uuid": ("string", "uuid"),
    "time": ("string", "date-time"),
    "string": ("string", None),
    "integer": ("integer", None),
    "boolean": ("boolean", None),
    "object": ("object", None),
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    response = Client().get("/openapi.json", headers={"Accept": "application/json"})
    assert response.status_code == 200
    found: dict[str, Any] = json.loads(response.content)
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow references, and the one-element allOf that carries a default or null beside a reference."""
    while "$ref" in schema or len(schema.get("allOf", [])) == 1:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        else:
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            schema = resolved(document, schema["allOf"][0]) | rest
    return schema


def problems_of_type(document: dict[str, Any], found: dict[str, Any], wanted: str, where: str) -> Iterator[str]:
    """Yield how a field's schema differs from the contract's type."""
    parts = TYPE.fullmatch(wanted)
    assert parts is not None, wanted
    name = parts["name"]
    found = resolved(document, found)
    if name.startswith("["):
        if found.get("type") != "array":
            yield f"{where}: not a list"
            return
        yield from problems_of_type(document, found["items"], name[1:-1], f"{where}[]")
    elif name in SHAPES:
        yield from problems_of_shape(document, found, SHAPES[name], where, exact=True)
    elif name != "any":
        json_type, text_format = JSON_TYPES[name]
        if found.get("type") != json_type or (text_format and found.get("format") != text_format):
            yield f"{where}: {found.get('type')}/{found.get('format')} instead of {wanted}"
    if parts["enum"] and set(found.get("enum", [])) != set(parts["enum"].split(",")):
        yield f"{where}: {found.get('enum')} instead of {parts['enum']}"
    if parts["default"] and str(found.get("default")).lower() != parts["default"]:
        yield f"{where}: default {found.get('default')} instead of {parts['default']}"
    for limit, text_name, number_name in (("least", "minLength", "minimum"), ("most", "maxLength", "maximum")):
        if parts[limit] and found.get(text_name, found.get(number_name)) != int(parts[limit]):
            yield f"{where}: {limit} {found.get(text_name, found.get(number_name))} instead of {parts[limit]}"


def problems_of_shape(
    document: dict[str, Any], found: dict[str, Any], wanted: Shape, where: str, *, exact: bool
) -> Iterator[str]:
    """Yield how an object's schema differs from a shape; `exact` also for answers' required fields."""
    found = resolved(document, found)
    properties = found.get("properties", {})
    for name, kind in wanted.items():
        if name not in properties:
            yield f"{where}.{name}: missing"
            continue
        field = resolved(document, properties[name])
        yield from problems_of_type(document, field, kind, f"{where}.{name}")
        optional = kind.endswith("?")
        required = name in found.get("required", [])
        may_be_null = bool(field.get("nullable")) or {"$ref": "#/components/schemas/NullEnum"} in field.get("oneOf", [])
        # An answer may promise more than the contract; a body may not ask for more.
        if optional and required and not may_be_null and not exact:
            yield f"{where}.{name}: can be neither null nor left out"
        if not optional and may_be_null:
            yield f"{where}.{name}: may be null"
        if not optional and not required and (exact or "=" not in kind):
            yield f"{where}.{name}: not required"


def json_of(holder: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = holder["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize(("method", "path", "token", "query", "body", "status", "answer"), ENDPOINTS)
def test_an_endpoint_is_documented_as_the_contract_has_it(
    document: dict[str, Any],
    method: str,
    path: str,
    token: str,
    query: Shape,
    body: str | None,
    status: str,
    answer: str | None,
) -> None:
    operation = document["paths"][path][method]
    problems: list[str] = []
    parameters = {one["name"]: one for one in operation.get("parameters", []) if one["in"] == "query"}
    for name, kind in query.items():
        if name not in parameters:
            problems.append(f"?{name}: missing")
            continue
        problems += problems_of_type(document, parameters[name]["schema"], kind, f"?{name}")
        if parameters[name].get("required"):
            problems.append(f"?{name}: required")
    if body is not None:
        problems += problems_of_shape(document, json_of(operation["requestBody"]), SHAPES[body], "body", exact=False)
    if answer is not None:
        schema = json_of(operation["responses"][status])
        if bool(schema.get("nullable")) != answer.endswith("?"):
            problems.append("answer: null or not is wrong")
        problems += problems_of_shape(document, schema, SHAPES[answer.rstrip("?")], "answer", exact=True)
    assert status in operation["responses"]
    assert [name for one in operation.get("security", []) for name in one] == token.split()
    assert problems == []


def test_no_answer_has_a_field_that_the_contract_does_not_know(document: dict[str, Any]) -> None:
    """Additions are allowed; this pins them, so that none slips in unseen."""
    additions: dict[str, set[str]] = {}
    for method, path, _, _, _, status, answer in ENDPOINTS:
        if answer is None:
            continue
        schema = resolved(document, json_of(document["paths"][path][method]["responses"][status]))
        extra = set(schema["properties"]) - set(SHAPES[answer.rstrip("?")])
        if extra:
            additions.setdefault(answer, set()).update(extra)
    assert additions == {
        "Project": {"default_success_url", "default_cancel_url", "default_return_url", "shared_webhook"},
        "Token": {"expires_in", "id", "email", "full_name", "is_active", "created_at"},
    }


ERROR: Shape = {"detail": "string", "code": "string", "action": "string?"}
FIELD_PROBLEM: Shape = {"msg": "string", "type": "string"}


def test_every_operation_documents_its_refusals_in_the_contracts_shapes(document: dict[str, Any]) -> None:
    problems: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            webhook = "/webhooks/" in path or path == "/webhook/stripe"
            secured = bool(operation.get("security"))
            wanted = {"404"} if webhook else {"404", "422", "429"} | ({"401", "403"} if secured else set())
            if "requestBody" in operation:
                wanted |= {"400", "413"}
            problems += [f"{where}: {code} missing" for code in sorted(wanted - set(operation["responses"]))]
            for code, response in operation["responses"].items():
                if code.startswith(("4", "5")):
                    problems += problems_of_refusal(document, code, response, where)
    assert problems == []


def problems_of_refusal(document: dict[str, Any], code: str, response: dict[str, Any], where: str) -> Iterator[str]:
    schema = resolved(document, json_of(response))
    if code == "422":
        rows = resolved(document, schema["properties"]["detail"])
        yield from problems_of_shape(document, rows["items"], FIELD_PROBLEM, f"{where} 422", exact=True)
        if resolved(document, rows["items"])["properties"]["loc"]["type"] != "array":
            yield f"{where}: loc is no list"
        return
    wanted = {"detail": "string", "retry_after": "integer"} if code == "429" else ERROR
    yield from problems_of_shape(document, schema, wanted, f"{where} {code}", exact=True)
    if code == "429" and not {"Retry-After", "X-RateLimit-Limit"} <= set(response.get("headers", {})):
        yield f"{where}: 429 without its headers"


def test_every_event_that_an_app_is_told_of_is_a_callback_with_an_example(document: dict[str, Any]) -> None:
    made = document["paths"]["/api/v1/projects/{project_id}/webhook-endpoints"]["post"]
    assert set(made["callbacks"]) == set(EVENT_TYPES)
    for name, callback in made["callbacks"].items():
        told = callback["{$request.body#/url}"]["post"]
        media = told["requestBody"]["content"]["application/json"]
        assert media["example"]["data"] == dict(EVENT_TYPES[name].example)
        assert set(media["example"]) == set(media["schema"]["required"])
        assert {one["name"] for one in told["parameters"]} == {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_both_formats_are_one_document(document: dict[str, Any]) -> None:
    response = Client().get("/openapi.yaml")
    assert response.status_code == 200
    assert yaml.safe_load(response.content) == document


def test_the_document_is_made_without_a_warning() -> None:
    call_command("spectacular", "--fail-on-warn", "--validate", stdout=io.StringIO(), stderr=io.StringIO())


def test_the_document_needs_no_token_and_names_no_secret() -> None:
    response = Client().get("/openapi.json")
    assert response.status_code == 200
    assert not re.search(
        rb"(sk|rk)_(test|live)_[A-Za-z0-9]{8,}|whsec_[A-Za-z0-9]{8,}|ak_[A-Za-z0-9_-]{16,}", response.content
    )
