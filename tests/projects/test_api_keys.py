"""/api/v1/projects/{id}/api-keys."""

import hashlib
import uuid

import pytest

from projects.models import ApiKey, IdempotencyRecord, Role
from tests.builders import Api, create_developer, join, make_project, server_key, signed_in


def path_of(project_id: uuid.UUID) -> str:
    return f"/api/v1/projects/{project_id}/api-keys"


def test_a_key_is_shown_once_and_kept_as_a_hash() -> None:
    user = create_developer()
    project = make_project(user)
    answer = signed_in(user).post(path_of(project.pk), {"name": "server"})
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"id", "name", "key", "key_prefix", "is_test_mode", "is_active", "created_at"}
    assert body["key"].startswith("ak_") and len(body["key"]) == 35
    assert body["key_prefix"] == body["key"][:8]
    assert (body["is_test_mode"], body["is_active"]) == (True, True)
    row = ApiKey.objects.for_project(project).get()
    assert row.key_hash == hashlib.sha256(body["key"].encode()).hexdigest()
    listed = signed_in(user).get(path_of(project.pk))
    assert listed.json()["total"] == 1 and body["key"] not in listed.content.decode()


def test_the_key_works_and_a_deleted_one_does_not() -> None:
    user = create_developer()
    project = make_project(user)
    made = signed_in(user).post(path_of(project.pk), {"name": "server", "is_test_mode": False}).json()
    server, mint = Api(made["key"]), f"/api/v1/projects/{project.pk}/end-user-tokens"
    assert server.post(mint, {"user_id": "u"}).status_code == 200
    assert signed_in(user).delete(f"{path_of(project.pk)}/{made['id']}").status_code == 204
    refused = server.post(mint, {"user_id": "u"})
    assert (refused.status_code, refused.json()["code"], refused["WWW-Authenticate"][:6]) == (
        401,
        "invalid_api_key",
        "Bearer",
    )


@pytest.mark.parametrize("role", list(Role))
def test_viewers_see_keys_and_only_developers_make_them(role: Role) -> None:
    project = make_project(create_developer())
    api = signed_in(join(project, role))
    key, _ = server_key(project)
    assert api.get(path_of(project.pk)).status_code == 200
    allowed = role != Role.VIEWER
    assert api.post(path_of(project.pk), {"name": "x"}).status_code == (201 if allowed else 403)
    assert api.delete(f"{path_of(project.pk)}/{key.pk}").status_code == (204 if allowed else 403)
    assert ApiKey.objects.for_project(project).count() == 1


def test_a_key_of_another_project_answers_like_an_unknown_one() -> None:
    user = create_developer()
    mine, theirs = make_project(user), make_project(create_developer())
    key, _ = server_key(theirs)
    api = signed_in(user)
    for project_id, key_id in ((theirs.pk, key.pk), (mine.pk, key.pk), (mine.pk, uuid.uuid4())):
        answer = api.delete(f"{path_of(project_id)}/{key_id}")
        assert answer.status_code == 404
    assert api.delete(f"{path_of(mine.pk)}/{key.pk}").json() == api.delete(f"{path_of(mine.pk)}/{uuid.uuid4()}").json()
    assert ApiKey.objects.for_project(theirs).exists()


def test_a_bad_body_is_422() -> None:
    user = create_developer()
    project = make_project(user)
    for body, field in (
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "is_test_mode": "perhaps"}, "is_test_mode"),
    ):
        answer = signed_in(user).post(path_of(project.pk), body)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert not ApiKey.objects.for_project(project).exists()


def test_a_replay_makes_no_second_key_and_shows_none() -> None:
    user = create_developer()
    project = make_project(user)
    api = signed_in(user)
    first = api.post(path_of(project.pk), {"name": "server"}, Idempotency_Key="once")
    replay = api.post(path_of(project.pk), {"name": "server"}, Idempotency_Key="once")
    assert (first.status_code, replay.status_code, replay.json()["code"]) == (201, 409, "already_created")
    assert ApiKey.objects.for_project(project).count() == 1
    stored = IdempotencyRecord.objects.get(caller=f"user:{user.pk}")
    assert (stored.holds_secret, stored.response_body) == (True, None)


def test_a_disabled_project_refuses_its_keys_at_once() -> None:
    project = make_project(create_developer())
    _, server = server_key(project)
    mint = f"/api/v1/projects/{project.pk}/end-user-tokens"
    assert server.post(mint, {"user_id": "u"}).status_code == 200
    project.is_active = False
    project.save()
    assert server.post(mint, {"user_id": "u"}).status_code == 401
