"""Whose tokens speak for an end user (S23 to S27, S8). A small view stands for every end-user endpoint."""

import hashlib
import hmac
import json
import threading
import time
import uuid
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings as django_settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.services.tokens import issue_login_tokens
from accounts.signing import sign_token
from projects.models import EndUser, IdentityProvider, Project
from projects.services.identity_providers import put_identity_provider
from tests.builders import create_developer, make_project, provider_claims, run_all, server_key, sign
from tests.projects.whoami import ask, b64, refused

SECRET = "s" * 20 + "-a-long-enough-hs256-secret"


@pytest.fixture
def project() -> Project:
    """A project whose provider signs with a shared secret."""
    made = make_project(create_developer())
    put_identity_provider(
        project=made,
        fields={"kind": "hs256", "issuer": "https://idp.example", "audience": "acme-app", "hs256_secret": SECRET},
    )
    return made


def test_a_providers_token_makes_the_user_on_first_sight_and_costs_one_query_after_that(project: Project) -> None:
    token = sign(provider_claims(project, email="Dana@Example.com"), SECRET)
    first = ask(token)
    assert (first.status_code, first.data["external_id"], first.data["email"]) == (200, "user-1", "dana@example.com")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        again = ask(token)
    assert again.data == first.data
    assert len(queries) == 1
    assert EndUser.objects.for_project(project).count() == 1


def test_a_minted_token_costs_one_query(project: Project) -> None:
    _, server = server_key(project)
    body = server.post(f"/api/v1/projects/{project.pk}/end-user-tokens", {"user_id": "dana"}).json()
    with CaptureQueriesContext(connection) as queries:
        answer = ask(body["access_token"])
    assert (answer.data["id"], answer.data["project"]) == (body["end_user_id"], str(project.pk))
    assert len(queries) == 1


def test_ten_first_requests_at_once_make_one_user(project: Project) -> None:
    token = sign(provider_claims(project, sub="racer"), SECRET)
    barrier = threading.Barrier(10)
    ids: list[str] = []

    def first_request() -> None:
        barrier.wait()
        ids.append(ask(token).data["id"])
        connection.close()

    threads = [threading.Thread(target=first_request) for _ in range(10)]
    run_all(threads)
    assert len(set(ids)) == 1 and len(ids) == 10


def test_the_project_comes_from_the_claim_the_audience_or_the_header(project: Project) -> None:
    bare = sign(provider_claims(project, project_id=None), SECRET)
    assert ask(bare, x_project_id=str(project.pk)).status_code == 200
    missing = ask(bare)
    assert (missing.status_code, missing.data["code"]) == (400, "project_required")
    in_audience = sign(provider_claims(project, project_id=None, aud=["acme-app", f"project:{project.pk}"]), SECRET)
    assert ask(in_audience).status_code == 200


def test_a_header_that_names_another_project_is_401(project: Project) -> None:
    other = make_project(create_developer())
    put_identity_provider(
        project=other,
        fields={"kind": "hs256", "issuer": "https://idp.example", "audience": "acme-app", "hs256_secret": "t" * 40},
    )
    bare = sign(provider_claims(project, project_id=None), SECRET)
    for name in (str(other.pk), str(uuid.uuid4()), "nonsense", "", str(make_project(create_developer()).pk)):
        assert refused(ask(bare, x_project_id=name))
    named = sign(provider_claims(project), SECRET)
    assert refused(ask(named, x_project_id=str(other.pk)))
    assert not EndUser.objects.for_project(other).exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "other-app"},
        {"aud": None},
        {"exp": None},
        {"exp": int(time.time()) - 120},
        {"exp": str(int(time.time()) + 300)},
        {"exp": True},
        {"exp": 10**300},
        {"exp": 10**400},
        {"nbf": -(10**400)},
        {"exp": [1]},
        {"nbf": int(time.time()) + 86_400},
        {"nbf": "soon"},
        {"iat": int(time.time()) + 86_400},
        {"iat": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 42},
        {"sub": "a\x00b"},
        {"sub": "x" * 256},
        {"sub": "\ud800"},
        {"sub": ["user-1"]},
        {"project_id": "not-a-uuid"},
        {"project_id": 7},
        {"project_id": str(uuid.uuid4())},
    ],
)
def test_wrong_claims_are_refused_and_make_no_user(project: Project, changes: dict[str, Any]) -> None:
    assert refused(ask(sign(provider_claims(project, **changes), SECRET)))
    assert not EndUser.objects.for_project(project).exists()


def test_clocks_may_differ_by_half_a_minute_and_not_by_more(project: Project) -> None:
    now = int(time.time())
    assert ask(sign(provider_claims(project, exp=now - 10), SECRET)).status_code == 200
    assert refused(ask(sign(provider_claims(project, exp=now - 61), SECRET)))
    assert ask(sign(provider_claims(project, nbf=now + 10), SECRET)).status_code == 200
    assert refused(ask(sign(provider_claims(project, nbf=now + 90), SECRET)))


def test_algorithms_outside_the_list_are_refused(project: Project) -> None:
    claims = provider_claims(project)
    for name in ("none", "None", "NONE", "nOnE", ""):
        assert refused(ask(f"{b64({'alg': name, 'typ': 'JWT'})}.{b64(claims)}."))
        assert refused(ask(f"{b64({'alg': name, 'typ': 'JWT'})}.{b64(claims)}.AAAA"))
    assert refused(ask(sign(claims, SECRET, algorithm="HS512")))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert refused(ask(sign(claims, key, algorithm="RS256")))
    assert refused(ask(sign(claims, "another-secret-of-enough-length-000")))


def test_malformed_tokens_are_refused(project: Project) -> None:
    good = sign(provider_claims(project), SECRET)
    header, payload, signature = good.split(".")
    twice = json.dumps(provider_claims(project))[:-1] + ', "sub": "admin"}'
    for token in (
        f"{header}.{payload}",
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}.{signature}.{signature}.{signature}",
        f".{payload}.{signature}",
        f"{header}..{signature}",
        f"{b64([1])}.{payload}.{signature}",
        f"{b64(b'[' * 3000)}.{payload}.{signature}",
        f"{header}.{b64(b'not json')}.{signature}",
        f"{header}.{b64(b'{' + b'0' * 10 + b'}')}.{signature}",
        f"{header}.{b64(b'{{}}')}.{signature}",
        "x" * 9000,
        sign(provider_claims(project, padding="x" * 9000), SECRET),
        sign(json.loads(twice), "x" * 40),
        "ak_" + "x" * 32,
    ):
        assert refused(ask(token))


def test_duplicate_names_are_refused_although_the_signature_is_right(project: Project) -> None:
    text = json.dumps(provider_claims(project))[:-1] + ', "sub": "admin"}'
    signed = jwt.api_jws.PyJWS().encode(text.encode(), SECRET, algorithm="HS256")
    assert refused(ask(signed))
    assert not EndUser.objects.for_project(project).exists()


@pytest.mark.parametrize(
    "header",
    [
        {"b64": False, "crit": ["b64"]},
        {"crit": ["exp"]},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"typ": "eu+jwt"},
        {"typ": "ent+jwt"},
        {"typ": "EU+JWT"},
        {"typ": "application/eu+jwt"},
    ],
)
def test_headers_that_change_what_a_token_is_are_refused(project: Project, header: dict[str, Any]) -> None:
    text = json.dumps(provider_claims(project)).encode()
    signing = f"{b64({'alg': 'HS256', 'typ': 'JWT', **header})}.{b64(text)}"
    signature = b64(hmac.new(SECRET.encode(), signing.encode(), hashlib.sha256).digest())
    assert refused(ask(f"{signing}.{signature}"))


def test_the_three_kinds_never_pass_for_each_other(project: Project) -> None:
    developer = issue_login_tokens(user=create_developer())
    assert refused(ask(developer.access_token))
    assert refused(ask(developer.access_token, x_project_id=str(project.pk)))
    assert refused(ask(developer.refresh_token))
    audience, claims = f"project:{project.pk}", {"project_id": str(project.pk), "sub": "u", "test_only": False}
    assert ask(sign_token(typ="eu+jwt", claims={"aud": audience, **claims}, ttl_seconds=60)).status_code == 200
    for typ, aud in (
        ("at+jwt", audience),
        ("ent+jwt", audience),
        ("JWT", audience),
        ("eu+jwt", f"entitlements:{project.pk}"),
        ("eu+jwt", "payments-api"),
        ("eu+jwt", f"project:{uuid.uuid4()}"),
        ("eu+jwt", ["payments-api", audience]),
    ):
        assert refused(ask(sign_token(typ=typ, claims={"aud": aud, **claims}, ttl_seconds=60)))


def test_our_public_key_is_no_shared_secret(project: Project) -> None:
    private = serialization.load_pem_private_key(django_settings.OIDC_PRIVATE_KEY.encode(), password=None)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    claims = {
        **provider_claims(project),
        "iss": django_settings.PUBLIC_BASE_URL,
        "aud": f"project:{project.pk}",
        "test_only": False,
    }
    signing = f"{b64({'alg': 'HS256', 'typ': 'eu+jwt'})}.{b64(claims)}"
    signature = b64(hmac.new(pem, signing.encode(), hashlib.sha256).digest())
    assert refused(ask(f"{signing}.{signature}"))


def test_a_test_only_token_never_reaches_live(project: Project) -> None:
    _, test_server = server_key(project)
    _, live_server = server_key(project, is_test_mode=False)
    path = f"/api/v1/projects/{project.pk}/end-user-tokens"
    from_test_key = test_server.post(path, {"user_id": "u", "test_only": False}).json()["access_token"]
    from_live_key = live_server.post(path, {"user_id": "u"}).json()["access_token"]
    asked_for = live_server.post(path, {"user_id": "u", "test_only": True}).json()["access_token"]
    claimed = sign(provider_claims(project, test_only=True), SECRET)
    odd = sign(provider_claims(project, test_only="false"), SECRET)
    for token in (from_test_key, asked_for, claimed, odd):
        assert ask(token).status_code == 200
        assert ask(token, "?test_mode=true").status_code == 200
        for query in (
            "?test_mode=false",
            "?test_mode=0",
            "?test_mode=no",
            "?test_mode=true&test_mode=false",
            "?test_mode=false&test_mode=true",
            "?test_mode=huh",
        ):
            assert refused(ask(token, query))
    assert ask(from_live_key, "?test_mode=false").status_code == 200
    IdentityProvider.objects.for_project(project).update(test_only=True)
    assert refused(ask(sign(provider_claims(project), SECRET), "?test_mode=false"))


def test_a_ban_and_a_disabled_project_hold_from_the_next_request(project: Project) -> None:
    token = sign(provider_claims(project), SECRET)
    assert ask(token).status_code == 200
    EndUser.objects.for_project(project).update(is_active=False, banned_at=timezone.now())
    banned = ask(token)
    assert (banned.status_code, banned.data["code"]) == (403, "end_user_banned")
    EndUser.objects.for_project(project).update(is_active=True, banned_at=None)
    assert ask(token).status_code == 200
    Project.objects.filter(pk=project.pk).update(is_active=False)
    assert refused(ask(token))
    Project.objects.filter(pk=project.pk).update(is_active=True)
    IdentityProvider.objects.for_project(project).update(is_active=False)
    assert refused(ask(token))


def test_a_minted_token_of_a_deleted_project_is_404(project: Project) -> None:
    _, server = server_key(project)
    token = server.post(f"/api/v1/projects/{project.pk}/end-user-tokens", {"user_id": "u"}).json()["access_token"]
    Project.objects.filter(pk=project.pk).update(deleted_at=timezone.now(), is_active=False)
    answer = ask(token)
    assert (answer.status_code, answer.data["code"]) == (404, "project_not_found")


def test_a_changed_address_is_followed_and_an_odd_one_is_not(project: Project) -> None:
    ask(sign(provider_claims(project, email="old@example.com"), SECRET))
    assert ask(sign(provider_claims(project, email="new@example.com"), SECRET)).data["email"] == "new@example.com"
    # Of the last one the lower case is twice as long.
    for odd in ("no-at-sign", "a\x00@b.c", 7, "x" * 300 + "@b.c", "\u0130" * 200 + "@b.c"):
        assert ask(sign(provider_claims(project, email=odd), SECRET)).data["email"] == "new@example.com"


def test_the_provider_names_its_claims(project: Project) -> None:
    put_identity_provider(
        project=project,
        fields={
            "kind": "hs256",
            "issuer": "https://idp.example",
            "audience": "acme-app",
            "user_id_claim": "uid",
            "email_claim": "mail",
        },
    )
    token = sign(provider_claims(project, uid="custom-7", mail="dana@example.com"), SECRET)
    first = ask(token)
    assert (first.data["external_id"], first.data["email"]) == ("custom-7", "dana@example.com")
    with CaptureQueriesContext(connection) as queries:
        assert ask(token).data == first.data
    assert len(queries) == 1
    assert refused(ask(sign(provider_claims(project), SECRET)))
