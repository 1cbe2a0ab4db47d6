"""/api/v1/projects/{id}/users and /api/v1/projects/{id}/end-user-tokens."""

import uuid
from typing import Any

import jwt
import pytest
from django.conf import settings

from projects.models import EndUser, Role
from tests.builders import Api, create_developer, join, make_project, server_key, signed_in


def users_of(project_id: uuid.UUID) -> str:
    return f"/api/v1/projects/{project_id}/users"


def mint_at(project_id: uuid.UUID) -> str:
    return f"/api/v1/projects/{project_id}/end-user-tokens"


def test_a_server_mints_a_token_of_the_documented_shape() -> None:
    project = make_project(create_developer())
    _, server = server_key(project, is_test_mode=False)
    answer = server.post(mint_at(project.pk), {"user_id": "user 7/ä", "email": "Dana@Example.com", "ttl_seconds": 60})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "end_user_id"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 60)
    keys = jwt.PyJWKSet.from_dict(Api().get("/.well-known/jwks.json").json())
    header = jwt.get_unverified_header(body["access_token"])
    claims = jwt.decode(
        body["access_token"], keys[header["kid"]].key, algorithms=["RS256"], audience=f"project:{project.pk}"
    )
    assert header["typ"] == "eu+jwt"
    assert (claims["sub"], claims["project_id"], claims["iss"]) == (
        "user 7/ä",
        str(project.pk),
        settings.PUBLIC_BASE_URL,
    )
    assert (claims["exp"] - claims["iat"], claims["test_only"]) == (60, False)
    end_user = EndUser.objects.for_project(project).get()
    assert (str(end_user.pk), end_user.email) == (body["end_user_id"], "dana@example.com")
    again = server.post(mint_at(project.pk), {"user_id": "user 7/ä"}).json()
    assert (again["end_user_id"], again["expires_in"]) == (body["end_user_id"], 900)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 256}, "user_id"),
        ({"user_id": "a\u0000"}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"user_id": "u", "email": "nobody"}, "email"),
        ({"user_id": "u", "ttl_seconds": 86401}, "ttl_seconds"),
        ({"user_id": "u", "ttl_seconds": 0}, "ttl_seconds"),
        ({"user_id": "u", "ttl_seconds": "NaN"}, "ttl_seconds"),
        ({"user_id": "u", "test_only": "perhaps"}, "test_only"),
    ],
)
def test_a_bad_field_is_422_and_named(body: dict[str, Any], field: str) -> None:
    project = make_project(create_developer())
    _, server = server_key(project)
    answer = server.post(mint_at(project.pk), body)
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert not EndUser.objects.for_project(project).exists()


def test_a_key_mints_for_its_own_project_only() -> None:
    mine, theirs = make_project(create_developer()), make_project(create_developer())
    _, server = server_key(mine)
    refused, unknown = (
        server.post(mint_at(theirs.pk), {"user_id": "u"}),
        server.post(mint_at(uuid.uuid4()), {"user_id": "u"}),
    )
    assert (refused.status_code, refused.json()) == (404, unknown.json())
    assert not EndUser.objects.for_project(theirs).exists()
    for caller in (Api(), signed_in(mine.memberships.get().user), Api("ak_" + "x" * 32)):
        assert caller.post(mint_at(mine.pk), {"user_id": "u"}).status_code == 401


@pytest.mark.parametrize(
    ("is_test", "query", "status"), [(True, "false", 400), (False, "true", 400), (True, "true", 200), (False, "0", 200)]
)
def test_a_mode_that_contradicts_the_key_is_400(is_test: bool, query: str, status: int) -> None:
    project = make_project(create_developer())
    _, server = server_key(project, is_test_mode=is_test)
    answer = server.post(f"{mint_at(project.pk)}?test_mode={query}", {"user_id": "u"})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "mode_mismatch"


def test_a_banned_user_gets_no_token() -> None:
    owner = create_developer()
    project = make_project(owner)
    _, server = server_key(project)
    end_user = server.post(mint_at(project.pk), {"user_id": "u"}).json()["end_user_id"]
    api, path = signed_in(owner), f"{users_of(project.pk)}/{end_user}"
    banned = api.patch(path, {"is_active": False})
    assert (banned.json()["is_active"], banned.json()["banned_at"] is not None) == (False, True)
    assert server.post(mint_at(project.pk), {"user_id": "u"}).json()["code"] == "end_user_banned"
    assert api.patch(path, {"is_active": True}).json()["banned_at"] is None
    assert server.post(mint_at(project.pk), {"user_id": "u"}).status_code == 200


def test_developers_search_and_filter_their_users(django_assert_num_queries: Any) -> None:
    owner = create_developer()
    project, other = make_project(owner), make_project(create_developer())
    for name in ("anna", "bert", "carl"):
        EndUser.objects.create(project=project, external_id=name, email=f"{name}@example.com", is_active=name != "carl")
    EndUser.objects.create(project=other, external_id="anna")
    api, path = signed_in(owner), users_of(project.pk)
    with django_assert_num_queries(4):
        body = api.get(path).json()
    assert ([row["external_id"] for row in body["users"]], body["total"]) == (["carl", "bert", "anna"], 3)
    assert [row["external_id"] for row in api.get(f"{path}?search=ANN").json()["users"]] == ["anna"]
    assert [row["external_id"] for row in api.get(f"{path}?search=bert@").json()["users"]] == ["bert"]
    assert api.get(f"{path}?search=%25").json()["total"] == 0
    assert [row["external_id"] for row in api.get(f"{path}?is_active=false").json()["users"]] == ["carl"]
    assert api.get(f"{path}?page=2&page_size=2").json()["users"][0]["external_id"] == "anna"
    assert len(api.get(f"{path}?cursor=&page_size=2").json()["users"]) == 2
    for bad in ("is_active=perhaps", "page_size=101", "cursor=x", "search=%00", f"search={'x' * 300}"):
        assert api.get(f"{path}?{bad}").status_code == 422


def test_another_projects_user_answers_like_an_unknown_one() -> None:
    owner = create_developer()
    mine, theirs = make_project(owner), make_project(create_developer())
    stranger = EndUser.objects.create(project=theirs, external_id="x")
    api = signed_in(owner)
    unknown = api.get(f"{users_of(mine.pk)}/{uuid.uuid4()}")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "end_user_not_found")
    assert api.get(f"{users_of(mine.pk)}/{stranger.pk}").json() == unknown.json()
    assert api.patch(f"{users_of(mine.pk)}/{stranger.pk}", {"is_active": False}).status_code == 404
    assert api.get(users_of(theirs.pk)).status_code == 404
    stranger.refresh_from_db()
    assert stranger.is_active


def test_viewers_look_and_do_not_ban() -> None:
    project = make_project(create_developer())
    end_user = EndUser.objects.create(project=project, external_id="x")
    api, path = signed_in(join(project, Role.VIEWER)), f"{users_of(project.pk)}/{end_user.pk}"
    assert api.get(path).json()["external_id"] == "x"
    assert api.patch(path, {"is_active": False}).status_code == 403
    end_user.refresh_from_db()
    assert end_user.is_active
    developer = signed_in(join(project, Role.DEVELOPER))
    assert developer.patch(path, {}).json()["detail"][0]["loc"] == ["body", "is_active"]
    forged = developer.patch(
        path, {"is_active": True, "external_id": "admin", "project": str(uuid.uuid4()), "email": "a@b.example"}
    )
    assert (forged.json()["external_id"], forged.json()["email"]) == ("x", None)
