"""/api/v1/projects/ and /api/v1/projects/{id}."""

import uuid
from typing import Any

import pytest

from projects.access import ProjectNotFound
from projects.models import ApiKey, Membership, Project, Role
from projects.services.projects import delete_project, update_project
from tests.builders import Api, create_developer, join, make_project, server_key, signed_in

PATH = "/api/v1/projects/"


def test_a_developer_creates_a_project_and_owns_it() -> None:
    user = create_developer()
    slug = f"shop-{uuid.uuid4().hex[:8]}"
    answer = signed_in(user).post(
        PATH,
        {
            "name": "My Shop",
            "slug": slug,
            "description": "Two\nlines",
            "allowed_origins": ["https://APP.example", "https://app.example:443", "http://localhost:3000"],
            "default_success_url": "https://app.example/ok?s={CHECKOUT_SESSION_ID}",
        },
    )
    assert answer.status_code == 201
    body = answer.json()
    assert {"id", "name", "slug", "description", "is_active", "allowed_origins", "created_at", "updated_at"} <= set(
        body
    )
    assert (body["slug"], body["is_active"]) == (slug, True)
    assert body["allowed_origins"] == ["https://app.example", "http://localhost:3000"]
    assert body["default_success_url"] == "https://app.example/ok?s={CHECKOUT_SESSION_ID}"
    assert body["created_at"].endswith("Z")
    assert Membership.objects.for_project(uuid.UUID(body["id"])).get().user_id == user.pk


def test_slugs_are_made_from_names_and_never_collide() -> None:
    api = signed_in(create_developer())
    name = f"Überraschung & Co {uuid.uuid4().hex[:6]}"
    first, second = (api.post(PATH, {"name": name}).json()["slug"] for _ in range(2))
    assert first.startswith("uberraschung-co-")
    assert second != first
    assert api.post(PATH, {"name": "日本語"}).status_code == 201
    taken = api.post(PATH, {"name": "x", "slug": first})
    assert (taken.status_code, taken.json()["code"]) == (409, "slug_taken")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": {"$ne": 1}}, "name"),
        ({"name": "x", "description": "x" * 1001}, "description"),
        ({"name": "x", "slug": "-bad"}, "slug"),
        ({"name": "x", "slug": "Bad Slug"}, "slug"),
        ({"name": "x", "slug": "a" * 64}, "slug"),
        ({"name": "x", "slug": "deleted-1"}, "slug"),
        ({"name": "x", "allowed_origins": "https://app.example"}, "allowed_origins"),
        ({"name": "x", "allowed_origins": ["https://app.example/path"]}, "allowed_origins"),
        ({"name": "x", "allowed_origins": ["http://app.example"]}, "allowed_origins"),
        ({"name": "x", "allowed_origins": ["https://*.example"]}, "allowed_origins"),
        ({"name": "x", "allowed_origins": ["https://user@app.example"]}, "allowed_origins"),
        ({"name": "x", "allowed_origins": ["null"]}, "allowed_origins"),
        ({"name": "x", "allowed_origins": [1]}, "allowed_origins"),
        ({"name": "x", "default_success_url": "https://other.example/"}, "default_success_url"),
        ({"name": "x", "default_return_url": "javascript:alert(1)"}, "default_return_url"),
    ],
)
def test_a_bad_field_is_422_and_named(body: dict[str, Any], field: str) -> None:
    user = create_developer()
    answer = signed_in(user).post(PATH, body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", field]
    assert not Project.objects.for_user(user).exists()


def test_fields_that_a_caller_may_not_set_are_ignored() -> None:
    user, other = create_developer(), create_developer()
    forged = str(uuid.uuid4())
    extra = {
        "id": forged,
        "is_active": False,
        "owner": str(other.pk),
        "members": [],
        "deleted_at": "2020-01-01",
        "mode": "live",
        "stripe_account_id": "acct_x",
    }
    body = signed_in(user).post(PATH, {"name": "Acme", **extra}).json()
    assert (body["id"] != forged, body["is_active"]) == (True, True)
    assert not Project.objects.for_user(other).exists()


def test_the_list_holds_only_own_projects_in_pages_and_by_cursor(django_assert_num_queries: Any) -> None:
    user, other = create_developer(), create_developer()
    made = [make_project(user, name=f"P{n}") for n in range(3)]
    make_project(other)
    api = signed_in(user)
    with django_assert_num_queries(3):
        body = api.get(PATH).json()
    assert [row["id"] for row in body["projects"]] == [str(project.pk) for project in reversed(made)]
    assert (body["total"], body["page"], body["page_size"]) == (3, 1, 50)
    first = api.get(f"{PATH}?cursor=&page_size=2").json()
    rest = api.get(f"{PATH}?page_size=2&cursor={first['next_cursor']}").json()
    assert [row["id"] for row in first["projects"] + rest["projects"]] == [
        str(project.pk) for project in reversed(made)
    ]
    assert "total" not in first and rest["next_cursor"] is None
    assert api.get(f"{PATH}?page=0").status_code == 422


def test_a_member_reads_a_developer_changes_an_owner_deletes() -> None:
    owner = create_developer()
    project = make_project(owner)
    path = f"{PATH}{project.pk}"
    viewer, developer = signed_in(join(project, Role.VIEWER)), signed_in(join(project, Role.DEVELOPER))
    assert viewer.get(path).json()["id"] == str(project.pk)
    refused = viewer.put(path, {"name": "Mine"})
    assert (refused.status_code, refused.json()["code"]) == (403, "role_too_low")
    assert developer.put(path, {"name": "Renamed"}).json()["name"] == "Renamed"
    assert developer.delete(path).status_code == 403
    project.refresh_from_db()
    assert (project.name, project.deleted_at) == ("Renamed", None)
    assert signed_in(owner).delete(path).status_code == 204


def test_put_keeps_what_is_left_out() -> None:
    user = create_developer()
    project = make_project(user, description="Kept", allowed_origins=["https://app.example"])
    api, path = signed_in(user), f"{PATH}{project.pk}"
    assert api.put(path, {"name": "New"}).json()["description"] == "Kept"
    assert api.put(path, {"description": None}).json()["description"] is None
    assert api.put(path, {"default_cancel_url": "https://app.example/no"}).json()["allowed_origins"] == [
        "https://app.example"
    ]
    refused = api.put(path, {"allowed_origins": ["https://new.example"]})
    assert refused.json()["detail"][0]["loc"] == ["body", "default_cancel_url"]
    other = make_project(user)
    assert api.put(path, {"slug": other.slug}).status_code == 409
    assert api.put(path, {"is_active": False}).json()["is_active"] is False


def test_a_change_undoes_neither_a_deletion_nor_another_change_that_came_first() -> None:
    project = make_project(create_developer(), description="Old")
    one, other, late = (Project.objects.get(pk=project.pk) for _ in range(3))
    update_project(project=one, name="New")
    update_project(project=other, description="Newer")
    project.refresh_from_db()
    assert (project.name, project.description) == ("New", "Newer")
    delete_project(project=project)
    with pytest.raises(ProjectNotFound):
        update_project(project=late, is_active=True, name="Back")
    project.refresh_from_db()
    assert (project.deleted_at is None, project.is_active, project.name) == (False, False, "New")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_developers_project_answers_like_an_unknown_one(method: str) -> None:
    project, stranger = make_project(create_developer()), signed_in(create_developer())
    body = {"name": "Stolen"} if method == "PUT" else None
    theirs = stranger.call(method, f"{PATH}{project.pk}", body)
    unknown = stranger.call(method, f"{PATH}{uuid.uuid4()}", body)
    assert (theirs.status_code, theirs.json()) == (404, {"detail": "Project not found.", "code": "project_not_found"})
    assert unknown.json() == theirs.json()
    project.refresh_from_db()
    assert (project.name, project.deleted_at) == ("Acme", None)


def test_without_a_developers_token_everything_is_401() -> None:
    project = make_project(create_developer())
    _, server = server_key(project)
    minted = server.post(f"{PATH}{project.pk}/end-user-tokens", {"user_id": "u"}).json()["access_token"]
    for caller in (Api(), server, Api(minted), Api("nonsense")):
        for answer in (
            caller.get(PATH),
            caller.post(PATH, {"name": "x"}),
            caller.get(f"{PATH}{project.pk}"),
            caller.delete(f"{PATH}{project.pk}"),
        ):
            assert answer.status_code == 401
            assert answer["WWW-Authenticate"] == "Bearer"


def test_a_removed_member_is_refused_from_the_next_request() -> None:
    project = make_project(create_developer())
    member = join(project, Role.DEVELOPER)
    api = signed_in(member)
    assert api.get(f"{PATH}{project.pk}").status_code == 200
    Membership.objects.for_project(project).filter(user=member).delete()
    assert api.get(f"{PATH}{project.pk}").status_code == 404


def test_a_deleted_project_is_gone_for_everybody_and_its_row_stays() -> None:
    owner = create_developer()
    project = make_project(owner)
    _, server = server_key(project)
    mint = f"{PATH}{project.pk}/end-user-tokens"
    token = server.post(mint, {"user_id": "u"}).json()["access_token"]
    api = signed_in(owner)
    assert api.delete(f"{PATH}{project.pk}").status_code == 204
    assert api.get(f"{PATH}{project.pk}").status_code == 404
    assert api.delete(f"{PATH}{project.pk}").status_code == 404
    assert api.get(PATH).json()["projects"] == []
    assert server.post(mint, {"user_id": "u"}).status_code == 401
    assert token and not ApiKey.objects.for_project(project).filter(is_active=True).exists()
    assert api.post(PATH, {"name": "Again", "slug": project.slug}).status_code == 201
    assert Project.objects.filter(pk=project.pk, deleted_at__isnull=False).exists()
