"""S10: no answer holds a field that the documented allow list (/openapi.json) does not name, whoever asks."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models
from django.test import Client
from django.urls import resolve

from entitlements.models import Plan, PlanPrice
from licenses.models import License
from notifications.models import WebhookEndpoint
from payments.models import Subscription
from projects.models import EndUser, Membership, Project
from tests.cast import AppServer, AppUser, Developer, add_member, create_app_user, create_developer, create_server
from tests.openapi.test_contract import resolved
from tests.roles.furnishing import Furnished, furnish
from tests.security.matrix import ROWS

ROLES = ("viewer", "developer", "owner")
# Streams of keys, styles and health are no answers with fields.
READ = sorted(path for method, path in ROWS if method == "GET" and ROWS["GET", path].audience in (
    "developer", "end_user", "server", "end_user_or_server",
))  # fmt: skip


def undocumented(document: dict[str, Any], schema: dict[str, Any], value: Any, where: str = "") -> Iterator[str]:
    """Yield what is in an answer and not in its schema. A schema that names no fields is one of free content."""
    schema = resolved(document, schema)
    options = schema.get("oneOf") or schema.get("anyOf") or schema.get("allOf")
    if options:
        found = [list(undocumented(document, one, value, where)) for one in options]
        yield from min(found, key=len)
    elif isinstance(value, dict) and "properties" in schema:
        for name, inner in value.items():
            if name in schema["properties"]:
                yield from undocumented(document, schema["properties"][name], inner, f"{where}.{name}")
            else:
                yield f"{where}.{name}"
    elif isinstance(value, list):
        for inner in value:
            yield from undocumented(document, schema.get("items", {}), inner, f"{where}[]")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Client().get("/openapi.json").content)
    return found


def answer_schema(document: dict[str, Any], path: str, status: int) -> dict[str, Any]:
    """Return what the document says of an answer."""
    content = document["paths"][f"/{path}"]["get"]["responses"][str(status)]["content"]
    found: dict[str, Any] = content["application/json"]["schema"]
    return found


def address(path: str, made: Furnished, user: str) -> str:
    """Fill in ids that exist, as far as the furnished project has them."""
    rows = made.rows
    known = {
        "project_id": made.project.pk, "app": made.project.slug, "user_id": user,
        "subscription_id": rows[Subscription].pk, "end_user_id": rows[EndUser].pk, "license_id": rows[License].pk,
    } | ROWS["GET", path].path  # fmt: skip
    known |= {"subscription_id": rows[Subscription].pk, "user_id": user}
    return "/" + path.format(**known)


@pytest.fixture(scope="module")
def made(run_database: str, django_db_blocker: Any) -> Furnished:
    """A project with a row of everything."""
    with django_db_blocker.unblock():
        return furnish("allowlisted")


def callers(project: Project) -> dict[str, list[AppServer | AppUser | Developer]]:
    """Return who asks, by what the matrix calls them."""
    members = []
    for role in ROLES:
        member = create_developer(role)
        add_member(project, member, role)
        members.append(member)
    servers = [create_server(project, members[-1], is_test_mode=True)]
    users = [create_app_user(project, "reader")]
    return {
        "developer": [*members],
        "server": [*servers],
        "end_user": [*users],
        "end_user_or_server": [*users, *servers],
    }


def test_no_answer_has_a_field_that_is_not_documented_whatever_the_callers_role(
    made: Furnished, document: dict[str, Any]
) -> None:
    asked = callers(made.project)
    user = asked["end_user"][0]
    assert isinstance(user, AppUser)
    succeeded = set()
    documented = [path for path in READ if "get" in document["paths"][f"/{path}"]]
    # Django's view of it answers a GET by its sibling `entitlements/{user_id}`.
    assert set(READ) - set(documented) == {"api/v1/payments/entitlements/token"}
    for path in documented:
        fields: list[set[str]] = []
        for caller in asked[ROWS["GET", path].audience]:
            url = address(path, made, user.user_id)
            if isinstance(caller, AppServer) and "{user_id}" not in path:
                url += f"?user_id={user.user_id}"
            assert resolve(url.partition("?")[0])
            answer = caller.client.get(url)
            if answer.status_code != 200:
                continue
            succeeded.add(path)
            body = answer.json()
            assert list(undocumented(document, answer_schema(document, path, 200), body)) == [], path
            fields.append(set(body) if isinstance(body, dict) else set())
        # A higher role is told more by other operations, not by more fields of the same.
        assert all(one == fields[0] for one in fields), path
    assert len(succeeded) > 30, sorted(set(documented) - succeeded)


# Whatever is written with these was sent by somebody and should have been ignored.
FORGED_ID = uuid.uuid4()
FORGED: dict[Any, Any] = {
    models.UUIDField: str(FORGED_ID),
    models.ForeignKey: str(FORGED_ID),
    models.BooleanField: True,
    models.DateTimeField: "1999-09-09T09:09:09Z",
    models.IntegerField: 98765,
    models.DecimalField: 98765,
}
WRITTEN = sorted(
    (method, path) for (method, path), row in ROWS.items()
    if method in ("PUT", "PATCH") and row.audience == "developer" and row.project_in_path and "/connections/" not in path
)  # fmt: skip


def allowed(method: str, path: str) -> tuple[str, ...]:
    """Name the roles that may."""
    return ROLES[ROLES.index(ROWS[method, path].min_role) :]


def our_columns() -> dict[str, Any]:
    """Return a forged value for every column of every table of ours, by each name that it goes by."""
    found: dict[str, Any] = {}
    for model in (one for one in apps.get_models() if one._meta.app_label in settings.OUR_APPS):
        for column in model._meta.concrete_fields:
            value = next((value for kind, value in FORGED.items() if isinstance(column, kind)), "forged-canary")
            found |= {column.name: value, column.attname: value}
    return found


def forged_rows(made: Furnished) -> set[str]:
    """Name the columns of the project's rows and its people in which a forged value stands."""
    found = set()
    for row in [*made.rows.values(), *Membership.objects.for_project(made.project)]:
        kept = type(row)._base_manager.filter(pk=row.pk).values().first() or {}
        for name, value in kept.items():
            text = str(value)
            if (
                "forged-canary" in text
                or str(FORGED_ID) in text
                or text in ("98765", "98765.00")
                or "1999-09-09" in text
            ):
                found.add(f"{type(row).__name__}.{name}")
    return found


def test_no_field_that_is_not_documented_for_a_request_is_written_whatever_the_callers_role(
    made: Furnished, document: dict[str, Any]
) -> None:
    """S10: viewer, developer and owner send every column there is; what the document does not name is refused or ignored."""
    asked, spare = callers(made.project)["developer"], create_developer("spare")
    add_member(made.project, spare, "viewer")
    people = {caller.user.pk: caller.user for caller in asked if isinstance(caller, Developer)}
    before = {pk: (user.is_staff, user.is_superuser, user.is_active) for pk, user in people.items()}
    roles = dict(Membership.objects.for_project(made.project).values_list("user_id", "role"))
    keys = {
        "project_id": made.project.pk, "plan_id": made.rows[Plan].pk, "price_id": made.rows[PlanPrice].pk,
        "endpoint_id": made.rows[WebhookEndpoint].pk, "end_user_id": made.rows[EndUser].pk,
        "user_id": spare.user.pk,
    }  # fmt: skip
    done = set()
    for method, path in WRITTEN:
        schema = document["paths"][f"/{path}"][method.lower()]["requestBody"]["content"]["application/json"]["schema"]
        named = set(resolved(document, schema).get("properties", {}))
        assert set(ROWS[method, path].body) <= named, path
        extra = {name: value for name, value in our_columns().items() if name not in named}
        url = "/" + path.format(**(ROWS[method, path].path | keys))
        for caller, role in zip(asked, ROLES, strict=True):
            bodies = (ROWS[method, path].body, {**ROWS[method, path].body, **extra})
            plain, answer = (
                caller.client.generic(method, url, json.dumps(body), content_type="application/json") for body in bodies
            )
            # What is refused with more than it asks for has looked at it.
            assert answer.status_code == plain.status_code < 500, (path, role, answer.content)
            assert (answer.status_code == 403) == (role not in allowed(method, path)), (path, role)
            if answer.status_code == 200:
                done.add((path, role))
    assert forged_rows(made) == set()
    assert {pk: (user.is_staff, user.is_superuser, user.is_active) for pk, user in fresh(people).items()} == before
    assert dict(Membership.objects.for_project(made.project).values_list("user_id", "role")) == roles
    assert done == {(path, role) for method, path in WRITTEN for role in allowed(method, path)}


def fresh(people: dict[Any, Any]) -> dict[Any, Any]:
    """Read people anew."""
    return {pk: type(user).objects.get(pk=pk) for pk, user in people.items()}


@pytest.mark.no_db
def test_the_check_finds_a_field_too_many() -> None:
    document = {"components": {"schemas": {"Row": {"properties": {"id": {}, "free": {"type": "object"}}}}}}
    schema = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}
    answer = [{"id": 1, "free": {"any": 1}}, {"id": 2, "password": "x"}]
    assert list(undocumented(document, schema, answer)) == ["[].password"]
