"""Every page of the admin, as each role: what opens, that nothing of another project is on it, and that looking writes nothing."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.exceptions import FieldDoesNotExist
from django.db.models import JSONField
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import STAFF_ROLES, User
from accounts.services.tokens import issue_login_tokens
from backoffice.roles import rights_of_roles
from projects.admin_scope import ProjectScopedAdmin
from tests.cast import Developer
from tests.roles.conftest import World, writes
from tests.roles.furnishing import GLOBAL, PERSONAL, project_models
from tests.scenarios.soaking import SOAKING

STAFF = ("admin", "moderator", "support")
PEOPLE = {"alice": "acme", "victor": "acme", "charlie": "other"}
# Who sees the pages of people and of how they sign in.
ADMINS_ALONE = {"TokenFamily", "FamilyToken", "Client", "Token", "EmailAddress", "Group", "LogEntry"}
# Names of columns that hold a secret, or what one is found by. Masks and fingerprints' names end otherwise.
SECRET = re.compile(r"(^|(?<!holds)_)(password|secret|secret_key|key_hash|token_hash|hash|encrypted|fingerprint)$")
CANARY = re.compile(r"CANARY\w{4,}|CANARY-of")
# A page costs a tenth of a second: one of the staff and one developer look at all, the others at some; SOAK=1 at all.
THOROUGHNESS = {"admin": 1, "support": 2, "moderator": 4, "alice": 1, "victor": 4, "charlie": 3}
if SOAKING:
    THOROUGHNESS = dict.fromkeys(THOROUGHNESS, 1)
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


@pytest.mark.parametrize("name", ["moderator", "support", "victor"])
def test_who_only_looks_at_an_identity_provider_is_not_shown_its_secret(world: World, name: str) -> None:
    model = apps.get_model("projects", "IdentityProvider")
    opened(world, name, address(model, "change", world.acme.rows[model].pk))


@pytest.mark.parametrize("name", PEOPLE)
def test_developers_see_their_own_projects_rows_and_no_trace_of_another(world: World, name: str) -> None:
    """S7, S3: lists, rows, histories, pop-ups and searches."""
    mine = getattr(world, PEOPLE[name])
    theirs = world.other if mine is world.acme else world.acme
    reached = set(LINK.findall(opened(world, name, "/admin/")))
    for number, model in enumerate(project_models()[:: THOROUGHNESS[name]]):
        listing, row = address(model, "changelist"), mine.rows[model]
        pages = [listing, address(model, "change", row.pk)]
        if SOAKING or (name == "alice" and number % 3 == 0):
            # A part of the marker finds it, and is none itself where the page repeats what was asked for.
            pages += [address(model, "history", row.pk), f"{listing}?q={theirs.marker[:-1]}&_popup=1"]
        for path in pages if name != "victor" or SOAKING else pages[1:]:
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
    for number, model in enumerate(project_models()):
        pages = ["change", "delete"] if name == "alice" or SOAKING else ["change"]
        for page in [*pages, "history"] if SOAKING or (name == "alice" and number % 3 == 0) else pages:
            answer = world[name].client.get(address(model, page, theirs.rows[model].pk))
            assert answer.status_code in (302, 403), f"{name} at {page} of {model}"


REACHED_MAX = 1000 if SOAKING else 24


@pytest.mark.filterwarnings("error::django.core.paginator.UnorderedObjectListWarning")
def test_choices_and_autocompletes_offer_a_developer_their_own_rows_alone(world: World) -> None:
    """S7: what a form, a pop-up or an autocomplete lets one choose; no field is typed in as a bare id."""
    request: Any = RequestFactory().get("/admin/")
    request.user = world["alice"].user
    for model in project_models():
        page = admin.site._registry[model]
        for field in (one for one in model._meta.get_fields() if one.is_relation and one.many_to_one and one.concrete):
            if not isinstance(page, ProjectScopedAdmin) or field.related_model not in world.other.rows:
                continue
            offered = page.formfield_for_foreignkey(field, request)
            assert field.name not in page.raw_id_fields, f"{model.__name__}.{field.name}"
            keys = set() if offered is None else {row.pk for row in offered.queryset}
            assert world.other.rows[field.related_model].pk not in keys, f"{model.__name__}.{field.name}"
    for name, marker in (("alice", world.other.marker), ("charlie", world.acme.marker)):
        path = reverse("admin:autocomplete")
        for field in ("project", "user"):
            asked = {"app_label": "projects", "model_name": "membership", "field_name": field, "term": marker}
            answer = world[name].client.get(path, asked)
            assert answer.status_code == 403 or answer.json()["results"] == [], (name, field)


def fields_of(model: Any, path: str) -> Iterator[Any]:
    """Follow a path of fields as a search or a filter names it."""
    for name in path.lstrip("^=@").split("__"):
        try:
            field = model._meta.get_field(name)
        except FieldDoesNotExist:
            return
        yield field
        model = field.related_model or model


def test_no_search_and_no_filter_of_any_list_reads_a_secret(world: World) -> None:
    """S7, S36: neither `?q=` nor a lookup in the address reaches a secret field, or another table through relations."""
    request: Any = RequestFactory().get("/admin/")
    request.user = world["root"].user
    known = {"key_hash", "secret_key", "password", "hs256_secret_encrypted"}
    secrets = {
        field.name for model in apps.get_models() for field in model._meta.get_fields() if SECRET.search(field.name)
    }
    assert known - secrets == set()
    for model, page in admin.site._registry.items():
        offered = [entry for entry in page.get_list_filter(request) if isinstance(entry, str)]
        for path in [*page.get_search_fields(request), *offered]:
            assert [field.name for field in fields_of(model, path) if field.name in secrets] == [], (model, path)
        for field in model._meta.get_fields():
            if field.name in secrets:
                assert not page.lookup_allowed(f"{field.name}__startswith", "a", request), (model, field.name)
        if any(field.name == "project" for field in model._meta.get_fields()):
            for path in ("project__memberships__user__password__startswith", "project__api_keys__key_hash__regex"):
                assert not page.lookup_allowed(path, "a", request), (model, path)
        for field in (one for one in model._meta.get_fields() if isinstance(one, JSONField)):
            assert not page.lookup_allowed(f"{field.name}__a__b__contains", "a", request), (model, field.name)


def test_an_order_that_a_list_does_not_offer_is_none(world: World) -> None:
    """S36: columns by number only; the API's lists have an order of their own and ignore what asks for another."""
    listing = address(User, "changelist")
    assert world["root"].client.get(f"{listing}?o=password").status_code == 200
    assert world["root"].client.get(f"{listing}?o=99.-1.1;drop").status_code == 200
    mine = Developer(world["alice"].user, issue_login_tokens(user=world["alice"].user).access_token)
    for path in ("subscriptions", "transactions"):
        plain = mine.client.get(f"/api/v1/payments/{path}")
        odd = "ordering=-project__owner__password&order_by=1;--&metadata__a=1&project__name__regex=."
        assert plain.status_code == 200 and mine.client.get(f"/api/v1/payments/{path}?{odd}").json() == plain.json()


def test_who_may_not_open_the_admin_sees_none_of_it(world: World) -> None:
    for model in list(admin.site._registry)[::9]:
        assert Client().get(address(model, "changelist")).status_code == 302
