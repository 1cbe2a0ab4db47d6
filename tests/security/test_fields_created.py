"""S10: what a POST makes holds what its documented fields say, whatever else is sent with them."""

import json
import uuid
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.test import Client

from accounts.models import User
from projects.models import Project
from tests.cast import PASSWORD, AppUser, Developer
from tests.openapi.test_contract import resolved
from tests.payments.shop import Shop
from tests.security.matrix import DEV, ENDPOINT, LICENSE, PROJECT, USER
from tests.security.test_idempotency_keys import EXCEPTIONS, POSTS, good_body, send, shop

__all__ = ["send", "shop"]

# No column of ours holds this but by taking what was sent. Where a number, a time or an id is meant, taking it fails the call.
FORGED = "forged-canary"
# They take no body; the rest of those that are left out keeps nothing (tests/security/test_idempotency_keys.py).
WITHOUT_A_BODY = {
    f"{LICENSE}/check-acceptance", f"{LICENSE}/invite-again", f"{DEV}/go-live", f"{DEV}/key-doctor",
    f"{DEV}/webhook-endpoint/check", f"{DEV}/webhook-events/{{event_id}}/replay", f"{USER}/resume-subscription",
    f"{PROJECT}/connections/litellm/check", f"{PROJECT}/connections/github/check",
    f"{PROJECT}/users/{{end_user_id}}/personal-data", f"{ENDPOINT}/deliveries/{{delivery_id}}/replay",
}  # fmt: skip
OURS = [model for model in apps.get_models() if model._meta.app_label in settings.OUR_APPS]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Client().get("/openapi.json").content)
    return found


def named_fields(document: dict[str, Any], path: str) -> set[str]:
    """Name the fields that the document has for the body of a POST."""
    content = document["paths"][f"/{path}"]["post"].get("requestBody", {}).get("content", {})
    return _names(document, content.get("application/json", {}).get("schema", {}))


def _names(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    schema = resolved(document, schema)
    found = set(schema.get("properties", {}))
    for option in [*schema.get("oneOf", []), *schema.get("anyOf", []), *schema.get("allOf", [])]:
        found |= _names(document, option)
    return found


def every_column(other: Project) -> dict[str, Any]:
    """Return a value for every column of every table of ours, by each of its names; of another project where one is meant."""
    names = {name for model in OURS for column in model._meta.concrete_fields for name in (column.name, column.attname)}
    usual = {"owner", "balance", "livemode", "currency", "amount", "customer", "subscription", "actor"}
    return dict.fromkeys(names | usual, FORGED) | {"project": str(other.pk), "project_id": str(other.pk)}


def rows_of(project: Project) -> dict[str, list[str]]:
    """Return what is kept of a project, by table."""
    found = {}
    for model in OURS:
        names = {column.name for column in model._meta.concrete_fields}
        if model is Project or "project" in names:
            rows = model._base_manager.filter(**{"pk" if model is Project else "project": project.pk})
            found[model.__name__] = sorted(str(row) for row in rows.values())
    return found


def test_what_is_left_out_takes_nothing(document: dict[str, Any]) -> None:
    assert {path for path in POSTS if not named_fields(document, path)} == WITHOUT_A_BODY


@pytest.mark.parametrize("path", [path for path in POSTS if path not in WITHOUT_A_BODY | set(EXCEPTIONS)])
def test_no_field_that_is_not_documented_is_taken_by_what_is_made(
    path: str,
    send: Any,
    shop: Shop,
    dana: AppUser,
    charlie: Developer,
    other_project: Project,
    document: dict[str, Any],
) -> None:
    """S10, S9: developers, servers, end users and holders of licences send every column there is with a call that succeeds."""
    body, named, before = good_body(path, shop, dana, charlie), named_fields(document, path), rows_of(other_project)
    assert set(body) <= named, path
    more = {name: value for name, value in every_column(other_project).items() if name not in named}
    answer = send(path, {**more, **body}, uuid.uuid4().hex)
    assert answer.status_code in (200, 201), answer.content
    assert rows_of(other_project) == before
    made = [shop.project, *Project.objects.filter(memberships__user__memberships__project=shop.project)]
    for project in made:
        taken = {table: row for table, rows in rows_of(project).items() for row in rows if FORGED in row}
        assert taken == {}, path


def test_whoever_registers_is_nobody_of_the_staff() -> None:
    """S10: the one call that makes an account."""
    email = f"{uuid.uuid4().hex}@example.com"
    rights = dict.fromkeys(("is_staff", "is_superuser", "is_admin", "staff"), True) | {
        "groups": [1],
        "id": str(uuid.uuid4()),
    }
    answer = Client().post(
        "/api/v1/auth/register", {"email": email, "password": PASSWORD, **rights}, "application/json"
    )
    assert answer.status_code == 201, answer.content
    user = User.objects.get(email=email)
    assert (user.is_staff, user.is_superuser, user.groups.count()) == (False, False, 0) and str(user.pk) != rights["id"]
