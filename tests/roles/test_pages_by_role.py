"""Every page of the admin, as each role: what opens, that nothing of another project is on it, and that looking writes nothing."""

import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import STAFF_ROLES, User
from backoffice.roles import rights_of_roles
from projects.admin_scope import ProjectScopedAdmin
from tests.roles.conftest import World, writes
from tests.roles.furnishing import GLOBAL, PERSONAL, project_models

STAFF = ("admin", "moderator", "support")
PEOPLE = {"alice": "acme", "victor": "acme", "charlie": "other"}
# Who sees the pages of people and of how they sign in.
ADMINS_ALONE = {"TokenFamily", "FamilyToken", "Client", "Token", "EmailAddress", "Group", "LogEntry"}
CANARY = re.compile(r"CANARY\w{4,}|CANARY-of")
# A page costs a tenth of a second: one of the staff and one developer look at all, the others at every second or fourth.
THOROUGHNESS = {"admin": 1, "support": 2, "moderator": 4, "alice": 1, "victor": 4, "charlie": 3}
LINK = re.compile(r'href="(/admin/[^"#?]*)["#?]')


def address(model: Any, page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def opened(world: World, name: str, path: str) -> str:
    """Return the page that this path answers, which writes nothing."""
    with writes() as found:
        answer = world[name].client.get(path)
    assert answer.status_code == 200, f"{name} at {path}: {answer.status_code}"
    assert found == [], f"{name} at {path} wrote {found}"
    html = str(answer.content.decode())
    assert CANARY.findall(html) == [], f"{name} at {path} is shown a secret"
    return html


def test_every_page_belongs_to_projects_or_is_named_here() -> None:
    scoped = {model for model, page in admin.site._registry.items() if isinstance(page, ProjectScopedAdmin)}
    assert {model.__name__ for model in project_models() if model not in scoped} == set()
    assert {model.__name__ for model in admin.site._registry if model.__name__ in PERSONAL} == set(PERSONAL)
    theirs = {model.__name__ for model in admin.site._registry if model._meta.app_label in GLOBAL}
    assert theirs == ADMINS_ALONE | {"User"}


def test_the_roles_hold_what_is_written_down_and_nothing_more() -> None:
    wanted = rights_of_roles(apps.get_models())
    for role in STAFF_ROLES:
        held = Group.objects.get(name=role).permissions.values_list("content_type__app_label", "codename")
        assert {f"{app}.{codename}" for app, codename in held} == {right.key for right in wanted[role]}, role


@pytest.mark.parametrize("name", STAFF)
def test_staff_see_every_list_and_row(world: World, name: str) -> None:
    for model in project_models()[:: THOROUGHNESS[name]]:
        opened(world, name, address(model, "changelist"))
        opened(world, name, address(model, "change", world.acme.rows[model].pk))
    for model in (model for model in admin.site._registry if model._meta.app_label in GLOBAL):
        answer = world[name].client.get(address(model, "changelist"))
        seen = name == "admin" or model is User
        assert answer.status_code == (200 if seen else 403), (name, model)
    assert world[name].client.get(address(User, "changelist") + "?q=a").status_code == 200


@pytest.mark.parametrize("name", PEOPLE)
def test_developers_see_their_own_projects_rows_and_no_trace_of_another(world: World, name: str) -> None:
    mine = getattr(world, PEOPLE[name])
    theirs = world.other if mine is world.acme else world.acme
    reached = set(LINK.findall(opened(world, name, "/admin/")))
    for number, model in enumerate(project_models()[:: THOROUGHNESS[name]]):
        listing, row = address(model, "changelist"), mine.rows[model]
        pages = [listing, address(model, "change", row.pk)]
        if name == "alice" and number % 3 == 0:
            # A part of the marker finds it, and is none itself where the page repeats what was asked for.
            pages += [address(model, "history", row.pk), f"{listing}?q={theirs.marker[:-1]}&_popup=1"]
        for path in pages if name != "victor" else pages[1:]:
            html = opened(world, name, path)
            assert theirs.traces_in(html) == set(), f"{name} at {path}"
            reached |= set(LINK.findall(html))
    for model in (model for model in admin.site._registry if model._meta.app_label in GLOBAL):
        assert world[name].client.get(address(model, "changelist")).status_code == 403
    # What is offered opens: no link of any page that was read leads to a refusal.
    for path in sorted(reached - {"/admin/logout/"})[:REACHED_MAX]:
        if not re.search(r"/(change|history|delete)/$", path):
            answer = world[name].client.get(path)
            assert answer.status_code in (200, 302), f"{name} is offered {path}: {answer.status_code}"
            assert theirs.traces_in(answer.content.decode()) == set(), f"{name} at {path}"
    # The answer to a row of another project names what was asked for, so that these come last.
    for model in project_models():
        for page in ("change", "delete") if name == "alice" else ("change",):
            answer = world[name].client.get(address(model, page, theirs.rows[model].pk))
            assert answer.status_code in (302, 403), f"{name} at {page} of {model}"


REACHED_MAX = 24


def test_choices_and_autocompletes_offer_a_developer_their_own_rows_alone(world: World) -> None:
    request: Any = RequestFactory().get("/admin/")
    request.user = world["alice"].user
    for model in project_models():
        page = admin.site._registry[model]
        for field in (one for one in model._meta.get_fields() if one.is_relation and one.many_to_one and one.concrete):
            if not isinstance(page, ProjectScopedAdmin) or field.related_model not in world.other.rows:
                continue
            offered = page.formfield_for_foreignkey(field, request)
            keys = set() if offered is None else {row.pk for row in offered.queryset}
            assert world.other.rows[field.related_model].pk not in keys, f"{model.__name__}.{field.name}"
    for name, marker in (("alice", world.other.marker), ("charlie", world.acme.marker)):
        path = reverse("admin:autocomplete")
        for field in ("project", "user"):
            asked = {"app_label": "projects", "model_name": "membership", "field_name": field, "term": marker}
            answer = world[name].client.get(path, asked)
            assert answer.status_code == 403 or answer.json()["results"] == [], (name, field)


def test_who_may_not_open_the_admin_sees_none_of_it(world: World) -> None:
    for model in list(admin.site._registry)[::9]:
        assert Client().get(address(model, "changelist")).status_code == 302
