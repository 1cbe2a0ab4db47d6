"""The OpenAPI document: the three kinds of token, and the refusals that every operation may answer with."""

import copy
import functools
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request

from config.openapi_webhooks import MAKES_ENDPOINTS, webhook_callbacks

Schema = dict[str, Any]

ERROR: Schema = {
    "type": "object",
    "description": "An expected refusal.",
    "required": ["detail", "code"],
    "properties": {
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Machine readable."},
        "action": {"type": "string", "description": "What the caller can do about it, for instance configure_stripe."},
    },
}
FIELD_PROBLEM: Schema = {
    "type": "object",
    "description": "One wrong field.",
    "required": ["loc", "msg", "type"],
    "properties": {
        "loc": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
        "msg": {"type": "string"},
        "type": {"type": "string"},
    },
}
VALIDATION_ERROR: Schema = {
    "type": "object",
    "description": "A body or query that is wrong field by field.",
    "required": ["detail"],
    "properties": {"detail": {"type": "array", "items": {"$ref": "#/components/schemas/FieldProblem"}}},
}
RATE_LIMITED: Schema = {
    "type": "object",
    "description": "Too many requests.",
    "required": ["detail", "retry_after"],
    "properties": {
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "retry_after": {"type": "integer", "description": "Seconds."},
    },
}
ERROR_COMPONENTS = {
    "Error": ERROR,
    "FieldProblem": FIELD_PROBLEM,
    "ValidationError": VALIDATION_ERROR,
    "RateLimited": RATE_LIMITED,
}
RATE_LIMIT_HEADERS: Schema = {
    name: {"schema": {"type": "integer"}, "description": meaning}
    for name, meaning in {
        "Retry-After": "Seconds to wait.",
        "X-RateLimit-Limit": "Calls allowed in the window.",
        "X-RateLimit-Remaining": "Calls left.",
        "X-RateLimit-Reset": "Unix time at which the window moves.",
    }.items()
}
REFUSALS = {
    "400": ("Error", "The request cannot be carried out; `code` says why."),
    "401": ("Error", "No valid token of the kind that this endpoint takes."),
    "403": ("Error", "The caller's role in this project is too low."),
    "404": ("Error", "Missing, or not the caller's."),
    "409": ("Error", "The Idempotency-Key was used for another request, or that request is still running."),
    "413": ("Error", "The body is too large."),
    "415": ("Error", "The body is not JSON."),
    "422": ("ValidationError", "A field is wrong; `loc` names it."),
    "429": ("RateLimited", "Too many requests."),
}
UUID_PARAMETERS = ("project_id", "api_key_id", "end_user_id", "endpoint_id", "delivery_id")
# These answer null when there is nothing.
NULLABLE_ANSWERS = ("read_stripe_config", "read_my_subscription")
REFUSALS_OF_ALL = ("404", "422", "429")
REFUSALS_OF_TOKENS = ("401", "403")
REFUSALS_OF_BODIES = ("400", "413", "415")


class DeveloperScheme(OpenApiAuthenticationExtension):
    """A developer's access token."""

    target_class = "accounts.authentication.DeveloperAuthentication"
    name = "developerToken"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """Describe the token."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A developer's OAuth2 access token (typ=at+jwt, aud=payments-api), from /api/v1/auth/login "
            "or the OAuth2 endpoints that /.well-known/openid-configuration names.",
        }


class EndUserScheme(OpenApiAuthenticationExtension):
    """An end user's token."""

    target_class = "projects.authentication.EndUserAuthentication"
    name = "endUserToken"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """Describe the token."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An end user's token: minted at /api/v1/projects/{id}/end-user-tokens, or signed by the "
            "project's own identity provider. A provider's token that names no project needs the header X-Project-ID.",
        }


class ApiKeyScheme(OpenApiAuthenticationExtension):
    """A project's API key."""

    target_class = "projects.authentication.ApiKeyAuthentication"
    name = "projectApiKey"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """Describe the key."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A project's API key (ak_...), for servers. The key decides between test and live mode.",
        }


class LicenseLinkScheme(OpenApiAuthenticationExtension):
    """The signed link to a licence's page."""

    target_class = "licenses.authentication.LicenseLinkAuthentication"
    name = "licenseLink"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        """Describe the token."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "The token (lat_...) of a link to a licence's page, from the welcome mail or the return from checkout.",
        }


class EndUserOrServerScheme(OpenApiAuthenticationExtension):
    """Either an end user's token or a project's API key. Both are described where they stand alone."""

    target_class = "projects.authentication.EndUserOrServerAuthentication"
    name: list[str] = []

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Say that one of the two is enough."""
        return [{EndUserScheme.name: []}, {ApiKeyScheme.name: []}]

    def get_security_definition(self, auto_schema: Any) -> list[Schema]:
        """Describe nothing besides."""
        return []


class PaymentsSchemaGenerator(SchemaGenerator):
    """Generates the document once per process: it depends on the code alone."""

    def get_schema(self, request: Request | None = None, public: bool = False) -> Schema:
        """Return the whole document."""
        if public:
            return copy.deepcopy(_public_document())
        document: Schema = super().get_schema(request, public)
        return document

    def generate(self) -> Schema:
        """Build the document anew."""
        document: Schema = super().get_schema(None, True)
        return document


@functools.lru_cache(maxsize=1)
def _public_document() -> Schema:
    return PaymentsSchemaGenerator().generate()


# Groups of operations by who calls them; views of the lower apps name theirs in short.
TAGS = {"auth": "Sign-in", "projects": "Projects", "server": "Server to server"}


def complete_document(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """Add what no single view declares: refusals, the type of ids in paths, the paths that Stripe calls."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(copy.deepcopy(ERROR_COMPONENTS))
    for name, schema in schemas.items():
        if not name.endswith("Request"):
            _require_defaults(schema)
    for operations in result["paths"].values():
        for operation in operations.values():
            _complete_operation(operation)
    # In the order in which a newcomer needs them.
    order = ["Sign-in", "Projects", "Developer", "End user", "Server to server", "Webhooks"]
    result["tags"] = [{"name": name} for name in order]
    for path, operation in _webhook_operations().items():
        _describe(operation)
        result["paths"].setdefault(path, {"post": operation})
    return result


def _require_defaults(schema: Schema) -> None:
    """In an answer, a field that has a default is always there."""
    defaults = [name for name, field in schema.get("properties", {}).items() if "default" in field]
    if defaults:
        schema["required"] = sorted({*schema.get("required", []), *defaults})


def _complete_operation(operation: Schema) -> None:
    # An operation that lists no security scheme, or an empty one beside others, can be called without a token.
    secured = bool(operation.get("security")) and {} not in operation["security"]
    codes = [*REFUSALS_OF_ALL, *(REFUSALS_OF_TOKENS if secured else ())]
    if "requestBody" in operation:
        codes += REFUSALS_OF_BODIES
    parameters = operation.get("parameters", [])
    if any(parameter["name"] == "Idempotency-Key" for parameter in parameters):
        codes.append("409")
    for code in codes:
        operation["responses"].setdefault(code, _refusal(code))
    if "429" in operation["responses"]:
        operation["responses"]["429"].setdefault("headers", RATE_LIMIT_HEADERS)
    for parameter in parameters:
        if parameter["in"] == "path" and parameter["name"] in UUID_PARAMETERS:
            parameter["schema"] = {"type": "string", "format": "uuid"}
    if operation["operationId"] == MAKES_ENDPOINTS:
        operation["callbacks"] = webhook_callbacks()
    if operation["operationId"] in NULLABLE_ANSWERS:
        media = operation["responses"]["200"]["content"]["application/json"]
        media["schema"] = {"allOf": [media["schema"]], "nullable": True}
    operation["responses"] = dict(sorted(operation["responses"].items()))
    _describe(operation)


def _describe(operation: Schema) -> None:
    """Say beside each operation what it does (the first sentence of its description), and group it by who calls it."""
    operation.setdefault("summary", (operation.get("description") or "").partition(". ")[0].rstrip("."))
    operation["tags"] = [TAGS.get(tag, tag) for tag in operation.get("tags", [])]


def _refusal(code: str) -> Schema:
    component, description = REFUSALS[code]
    return {"description": description, "content": _json({"$ref": f"#/components/schemas/{component}"})}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _webhook_operations() -> dict[str, Schema]:
    """Describe the addresses that Stripe delivers to. They are plain views: nothing but the signature is looked at."""
    received = {"type": "object", "required": ["received"], "properties": {"received": {"type": "boolean"}}}
    signature = {"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}
    in_path: list[Schema] = [
        {"name": "project_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}},
        {"name": "mode", "in": "path", "required": True, "schema": {"type": "string", "enum": ["test", "live"]}},
    ]

    def operation(operation_id: str, description: str, parameters: list[Schema]) -> Schema:
        return {
            "operationId": operation_id,
            "description": description,
            "tags": ["Webhooks"],
            "parameters": [*parameters, signature],
            "requestBody": {"required": True, "content": _json({"type": "object", "description": "Stripe's event."})},
            "responses": {
                "200": {"description": "Stored, or stored before.", "content": _json(received)},
                **{code: _refusal(code) for code in ("400", "404", "413")},
                "503": {"description": "Not stored; Stripe delivers again.", "content": _refusal("400")["content"]},
            },
        }

    return {
        "/api/v1/payments/stripe/webhooks/{project_id}/{mode}": operation(
            "receive_stripe_event", "Receive one event of one project and mode.", in_path
        ),
        "/webhook/stripe": operation(
            "receive_shared_stripe_event",
            "Receive one event of any project that opted in, told apart by whose secret verifies.",
            [],
        ),
    }
