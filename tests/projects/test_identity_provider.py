"""/api/v1/projects/{id}/identity-provider."""

import uuid
from typing import Any

import pytest
from django.conf import settings

from projects.models import IdentityProvider, Role
from tests.builders import create_developer, join, make_project, signed_in

SECRET = "a-secret-of-more-than-thirty-two-bytes"
GOOD = {"kind": "hs256", "issuer": "https://idp.example", "audience": "acme-app", "hs256_secret": SECRET}


def path_of(project_id: uuid.UUID) -> str:
    return f"/api/v1/projects/{project_id}/identity-provider"


def test_a_secret_is_written_and_never_shown() -> None:
    user = create_developer()
    project = make_project(user)
    api, path = signed_in(user), path_of(project.pk)
    assert api.get(path).json()["code"] == "identity_provider_not_found"
    put = api.put(path, GOOD)
    assert put.status_code == 200
    body = put.json()
    assert (body["kind"], body["has_hs256_secret"], body["user_id_claim"], body["email_claim"]) == (
        "hs256",
        True,
        "sub",
        "email",
    )
    assert SECRET not in put.content.decode() + api.get(path).content.decode()
    row = IdentityProvider.objects.for_project(project).get()
    assert SECRET not in row.hs256_secret_encrypted and row.hs256_secret() == SECRET
    assert SECRET not in repr(row) + str(row)


def test_a_secret_that_is_left_out_is_kept() -> None:
    user = create_developer()
    project = make_project(user)
    api, path = signed_in(user), path_of(project.pk)
    api.put(path, GOOD)
    changed = api.put(path, {**GOOD, "hs256_secret": None, "audience": "other", "test_only": True})
    assert (changed.status_code, changed.json()["audience"], changed.json()["test_only"]) == (200, "other", True)
    assert IdentityProvider.objects.for_project(project).get().hs256_secret() == SECRET


def test_a_secret_is_bound_to_its_project() -> None:
    from common.encryption import DecryptionError

    first, second = make_project(create_developer()), make_project(create_developer())
    for project in (first, second):
        signed_in(project.memberships.get().user).put(path_of(project.pk), GOOD)
    stolen = IdentityProvider.objects.for_project(first).get().hs256_secret_encrypted
    IdentityProvider.objects.for_project(second).update(hs256_secret_encrypted=stolen)
    with pytest.raises(DecryptionError):
        IdentityProvider.objects.for_project(second).get().hs256_secret()
    # Rotating the keys goes over every row, other tests' too, and this one can't be read.
    IdentityProvider.objects.for_project(second).delete()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "rsa"}, "kind"),
        ({"issuer": ""}, "issuer"),
        ({"issuer": "a\u0000"}, "issuer"),
        ({"audience": None}, "audience"),
        ({"audience": "payments-api"}, "audience"),
        ({"audience": "entitlements:x"}, "audience"),
        ({"hs256_secret": "short"}, "hs256_secret"),
        ({"hs256_secret": None}, "hs256_secret"),
        ({"user_id_claim": "a b"}, "user_id_claim"),
        ({"kind": "jwks"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "http://idp.example/jwks"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://127.0.0.1/jwks"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://169.254.169.254/latest"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://[::ffff:10.0.0.1]/"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://2130706433/"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://localhost/jwks"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "file:///etc/passwd"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://user@idp.example/"}, "jwks_url"),
        ({"kind": "jwks", "jwks_url": "https://idp.example:6379/"}, "jwks_url"),
    ],
)
def test_a_bad_field_is_422_and_named(changes: dict[str, Any], field: str, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS = []
    user = create_developer()
    project = make_project(user)
    answer = signed_in(user).put(path_of(project.pk), {**GOOD, **changes})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert not IdentityProvider.objects.for_project(project).exists()


def test_this_service_is_no_ones_provider() -> None:
    user = create_developer()
    project = make_project(user)
    answer = signed_in(user).put(path_of(project.pk), {**GOOD, "issuer": settings.PUBLIC_BASE_URL + "/"})
    assert answer.json()["detail"][0]["loc"] == ["body", "issuer"]


def test_roles_and_strangers() -> None:
    project = make_project(create_developer())
    viewer, developer = signed_in(join(project, Role.VIEWER)), signed_in(join(project, Role.DEVELOPER))
    stranger, path = signed_in(create_developer()), path_of(project.pk)
    assert developer.put(path, GOOD).status_code == 200
    assert viewer.get(path).status_code == 200
    assert viewer.put(path, GOOD).status_code == viewer.delete(path).status_code == 403
    for answer in (stranger.get(path), stranger.put(path, GOOD), stranger.delete(path)):
        assert (answer.status_code, answer.json()["code"]) == (404, "project_not_found")
    assert IdentityProvider.objects.for_project(project).exists()
    assert developer.delete(path).status_code == 204
    assert developer.delete(path).status_code == 404
