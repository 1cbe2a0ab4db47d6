"""Generated requests to every operation, with the token that it takes: no 5xx, and no answer that is not documented."""

import dataclasses
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import application
from projects.models import Project
from projects.principals import ServerPrincipal
from projects.services.api_keys import create_api_key
from projects.services.end_user_tokens import mint_end_user_token
from tests.conftest import Sandbox
from tests.payments.actors import Developer, config_path, create_developer, create_project

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# Stripe's own door is tried with real signatures elsewhere; signing out would end the token of the requests that follow.
LEFT_OUT = r"webhooks/|webhook/stripe|auth/logout"


# Reading the document needs no database, so that collecting the tests starts nothing.
schema = schemathesis.openapi.from_wsgi("/openapi.json", application).exclude(path_regex=LEFT_OUT)


@dataclasses.dataclass(frozen=True)
class Callers:
    """A project that is ready to sell, and a token of each kind for it."""

    project: Project
    tokens: dict[str, str]


@pytest.fixture
def callers(sandbox: Sandbox) -> Callers:
    project = create_project(
        "Fuzzed",
        allowed_origins=["https://app.example"],
        default_success_url="https://app.example/paid",
        default_cancel_url="https://app.example/back",
        default_return_url="https://app.example/account",
    )
    developer: Developer = create_developer(project)
    account = sandbox.create_account()
    assert developer.put(config_path(project), {"test_secret_key": account.test_secret_key}).status_code == 200
    api_key, key = create_api_key(project=project, created_by=developer.user, name="server", is_test_mode=True)
    server = ServerPrincipal(api_key, project, "test")
    minted = mint_end_user_token(
        server=server, user_id="dana", email="dana@example.com", ttl_seconds=3600, test_only=True
    )
    tokens = {"developerToken": developer.token, "endUserToken": minted.access_token, "projectApiKey": key}
    return Callers(project, tokens)


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_no_request_is_answered_with_what_is_not_documented(case: Any, callers: Callers) -> None:
    for scheme in [name for one in case.operation.definition.raw.get("security", []) for name in one]:
        case.headers["Authorization"] = f"Bearer {callers.tokens[scheme]}"
    if "project_id" in case.path_parameters:
        case.path_parameters["project_id"] = str(callers.project.pk)
    if "app" in case.path_parameters:
        case.path_parameters["app"] = callers.project.slug
    case.call_and_validate(checks=CHECKS)
