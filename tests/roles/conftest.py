"""One world for all tests of a module: two furnished projects, and somebody of each role."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.template.base import Template
from django.test import Client
from django.test.utils import _TestState

from accounts.models import User
from projects.models import Membership, Project, Role
from tests.roles.furnishing import Furnished, furnish

WRITES = ("INSERT", "UPDATE", "DELETE")
# A sign-in is kept, and so are messages that wait to be shown.
UNHEEDED = ("django_session",)


@dataclass(frozen=True)
class Actor:
    """Somebody who is signed in to the admin."""

    name: str
    user: User
    client: Client


@dataclass(frozen=True)
class World:
    """Two projects that know nothing of each other, and who may open the admin."""

    acme: Furnished
    other: Furnished
    actors: dict[str, Actor]

    def __getitem__(self, name: str) -> Actor:
        return self.actors[name]


def actor(
    name: str, *, group: str = "", project: Project | None = None, role: Role = Role.DEVELOPER, **fields: Any
) -> Actor:
    """Sign somebody in: of a staff role, or a member of a project."""
    email = f"{name}-{uuid.uuid4().hex[:12]}@example.com"
    user = User.objects.create_user(email, "x" * 12, is_staff=True, full_name=name, **fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    if project is not None:
        Membership.objects.create(project=project, user=user, role=role)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return Actor(name, user, client)


@pytest.fixture(scope="module", autouse=True)
def plain_templates() -> Iterator[None]:
    """Render as in production: the test client keeps a copy of every context of every template, which takes half the time here."""
    rendering, state = cast(Any, Template), cast(Any, _TestState)
    instrumented = rendering._render
    rendering._render = state.saved_data.template_render
    yield
    rendering._render = instrumented


def make_world() -> World:
    """Furnish two projects, and sign in somebody of each role."""
    acme, other = furnish("quandor"), furnish("zephyrin")
    actors = [
        actor("root", is_superuser=True),
        actor("admin", group="Admin"),
        actor("moderator", group="Moderator"),
        actor("support", group="Support"),
        actor("olga", project=acme.project, role=Role.OWNER),
        actor("alice", project=acme.project, role=Role.DEVELOPER),
        actor("victor", project=acme.project, role=Role.VIEWER),
        actor("charlie", project=other.project, role=Role.OWNER),
    ]
    # Looks in one project, and acts in another.
    vivian = actor("vivian", project=other.project, role=Role.OWNER)
    Membership.objects.create(project=acme.project, user=vivian.user, role=Role.VIEWER)
    return World(acme, other, {one.name: one for one in [*actors, vivian]})


@pytest.fixture(scope="module")
def world(run_database: str, django_db_blocker: Any) -> World:
    """Made once, and only read, but for the rows that a test makes for its own deeds."""
    with django_db_blocker.unblock():
        return make_world()


@contextmanager
def writes() -> Iterator[list[str]]:
    """Note each statement that changes a row, but for the session's own."""
    found: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        changes = sql.lstrip().upper().startswith(WRITES) and context["cursor"].rowcount != 0
        if changes and not any(table in sql for table in UNHEEDED):
            found.append(sql[:300])
        return answer

    with connection.execute_wrapper(note):
        yield found
