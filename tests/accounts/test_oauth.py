"""The OAuth2 endpoints: authorization code with PKCE, client credentials, refresh, revoke, introspect."""

import base64
import hashlib
import html
import re
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.idp.oidc.models import Client
from django.conf import settings
from django.test import Client as Browser

from accounts.models import User
from accounts.services.oauth_clients import create_client
from accounts.services.users import set_password
from tests.builders import PASSWORD, Api, create_developer, signed_in

CALLBACK = "https://app.example/callback"
ME = "/api/v1/auth/me"
VERIFIER = secrets.token_urlsafe(48)
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


def make_client(owner: User, **changes: Any) -> tuple[Client, str]:
    """Register a client with every grant."""
    options: dict[str, Any] = {
        "name": "App",
        "client_type": "confidential",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
        **changes,
    }
    client, secret = create_client(owner=owner, **options)
    return client, secret or ""


def authorize(client: Client, **changes: Any) -> dict[str, Any]:
    """Return the query of a good authorization request; None drops a parameter."""
    query = {
        "response_type": "code",
        "client_id": client.pk,
        "redirect_uri": CALLBACK,
        "scope": "openid email",
        "state": "s1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    return {name: value for name, value in query.items() if value is not None}


def get_code(user: User, client: Client) -> str:
    """Walk the browser part of the flow, with a browser's cookies, and return the code."""
    browser = Browser(enforce_csrf_checks=True)
    asked = browser.get("/oauth/authorize", authorize(client))
    assert asked.status_code == 302 and asked["Location"].startswith("/accounts/login/")
    fields: dict[str, Any] = {
        "email": user.email,
        "password": PASSWORD,
        **hidden_fields(browser.get(asked["Location"])),
    }
    signed = browser.post(asked["Location"], fields)
    consent = browser.get(signed["Location"])
    assert consent.status_code == 200 and f"Allow {client.name}?" in consent.content.decode()
    fields = {"scopes": ["openid", "email"], "action": "grant", **hidden_fields(consent)}
    answer = browser.post("/oauth/authorize", fields)
    assert answer.status_code == 302, answer.content
    target = urlsplit(answer["Location"])
    assert f"{target.scheme}://{target.netloc}{target.path}" == CALLBACK
    assert parse_qs(target.query)["state"] == ["s1"]
    return parse_qs(target.query)["code"][0]


def hidden_fields(page: Any) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    tags = re.findall(r'<input type="hidden"[^>]*>', page.content.decode())
    found = [(re.search(r'name="([^"]+)"', tag), re.search(r'value="([^"]*)"', tag)) for tag in tags]
    return {name[1]: html.unescape(value[1]) for name, value in found if name and value}


def exchange(client: Client, secret: str, **fields: str) -> Any:
    """POST to the token endpoint."""
    return Browser().post("/oauth/token", {"client_id": client.pk, "client_secret": secret, **fields})


def exchange_code(client: Client, secret: str, code: str, **changes: str) -> Any:
    """Exchange an authorization code."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
        **changes,
    }
    return exchange(client, secret, **fields)


def test_the_whole_code_flow_ends_in_a_token_that_the_api_takes() -> None:
    user = create_developer()
    client, secret = make_client(create_developer())
    answer = exchange_code(client, secret, get_code(user, client))
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert {"access_token", "refresh_token", "token_type", "expires_in", "id_token"} <= set(body)
    header, claims = (
        jwt.get_unverified_header(body["access_token"]),
        jwt.decode(body["access_token"], options={"verify_signature": False}),
    )
    assert (header["typ"], claims["aud"], claims["iss"]) == ("at+jwt", "payments-api", settings.PUBLIC_BASE_URL)
    assert Api(body["access_token"]).get(ME).json()["id"] == str(user.pk)
    assert Api(body["id_token"]).get(ME).status_code == 401
    info = Api(body["access_token"]).get("/oauth/userinfo")
    assert (info.status_code, info.json()["sub"], info.json()["email"]) == (200, str(user.pk), user.email)


def test_a_code_works_once() -> None:
    client, secret = make_client(create_developer())
    code = get_code(create_developer(), client)
    assert exchange_code(client, secret, code).status_code == 200
    again = exchange_code(client, secret, code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "x" * 64},
        {"code_verifier": ""},
        {"redirect_uri": f"{CALLBACK}/other"},
        {"client_secret": "wrong"},
    ],
)
def test_a_code_without_its_proof_is_worth_nothing(changes: dict[str, str]) -> None:
    client, secret = make_client(create_developer())
    answer = exchange_code(client, secret, get_code(create_developer(), client), **changes)
    assert answer.status_code in (400, 401)
    assert "access_token" not in answer.json()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"resource": "not a uri"}, "invalid_target"),
    ],
)
def test_pkce_with_s256_is_required_of_confidential_clients_too(changes: dict[str, Any], error: str) -> None:
    client, _ = make_client(create_developer())
    answer = Browser().get("/oauth/authorize", authorize(client, **changes))
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer["Location"]).query)
    assert (query["error"], query["state"]) == ([error], ["s1"])


@pytest.mark.parametrize(
    "uri",
    [CALLBACK + "/", CALLBACK + "?x=1", CALLBACK.upper(), "https://evil.example/callback", "javascript:alert(1)", ""],
)
def test_a_redirect_address_must_match_exactly(uri: str) -> None:
    client, _ = make_client(create_developer())
    answer = Browser().get("/oauth/authorize", authorize(client, redirect_uri=uri))
    assert (answer.status_code, answer.has_header("Location")) == (400, False)


@pytest.mark.parametrize("client_id", ["", "unknown", "a\x00b"])
def test_an_unknown_client_gets_a_page_and_no_redirect(client_id: str) -> None:
    client, _ = make_client(create_developer())
    assert Browser().get("/oauth/authorize", authorize(client, client_id=client_id)).status_code == 400
    answer = Browser().post(
        "/oauth/token", {"grant_type": "client_credentials", "client_id": client_id, "client_secret": "x"}
    )
    assert answer.status_code in (400, 401)


def test_a_refused_consent_goes_back_with_access_denied() -> None:
    user = create_developer()
    client, _ = make_client(user)
    browser = Browser()
    browser.force_login(user)
    page = browser.get("/oauth/authorize", authorize(client)).content.decode()
    found = re.search(r'name="request" value="([^"]+)"', page)
    assert found
    answer = browser.post("/oauth/authorize", {"request": found[1], "action": "cancel"})
    assert parse_qs(urlsplit(answer["Location"]).query)["error"] == ["access_denied"]


def test_client_credentials_act_for_the_owner() -> None:
    owner = create_developer()
    client, secret = make_client(owner)
    answer = exchange(client, secret, grant_type="client_credentials")
    assert answer.status_code == 200, answer.content
    token = answer.json()["access_token"]
    assert Api(token).get(ME).json()["id"] == str(owner.pk)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["client_id"]) == (client.pk, client.pk)
    owner.is_active = False
    owner.save()
    assert Api(token).get(ME).status_code == 401


def test_refresh_rotates_and_a_second_use_ends_the_family() -> None:
    client, secret = make_client(create_developer())
    first = exchange_code(client, secret, get_code(create_developer(), client)).json()
    second = exchange(client, secret, grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert Api(second["access_token"]).get(ME).status_code == 200
    replay = exchange(client, secret, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (replay.status_code, replay.json()["error"]) == (400, "invalid_grant")
    assert Api(second["access_token"]).get(ME).status_code == 401
    assert (
        exchange(client, secret, grant_type="refresh_token", refresh_token=second["refresh_token"]).status_code == 400
    )


def test_another_client_cannot_use_a_refresh_token() -> None:
    client, secret = make_client(create_developer())
    other, other_secret = make_client(create_developer())
    tokens = exchange_code(client, secret, get_code(create_developer(), client)).json()
    assert (
        exchange(other, other_secret, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).status_code
        == 400
    )
    assert (
        exchange(client, secret, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).status_code == 200
    )


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_revoking_holds_at_once_and_introspection_says_so(which: str) -> None:
    client, secret = make_client(create_developer())
    other, other_secret = make_client(create_developer())
    tokens = exchange_code(client, secret, get_code(create_developer(), client)).json()
    credentials = {"client_id": client.pk, "client_secret": secret}
    foreign = {"client_id": other.pk, "client_secret": other_secret}

    def is_active(caller: dict[str, str]) -> bool:
        answer = Browser().post("/oauth/introspect", {**caller, "token": tokens["access_token"]})
        assert answer.status_code == 200
        active: bool = answer.json()["active"]
        return active

    assert is_active(credentials) and not is_active(foreign)
    assert Browser().post("/oauth/revoke", {**foreign, "token": tokens[which]}).status_code == 200
    assert Api(tokens["access_token"]).get(ME).status_code == 200
    assert Browser().post("/oauth/revoke", {**credentials, "token": tokens[which]}).status_code == 200
    assert Api(tokens["access_token"]).get(ME).status_code == 401
    assert not is_active(credentials)
    refreshed = exchange(client, secret, grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed.status_code == (400 if which == "refresh_token" else 200)


def test_a_changed_password_ends_oauth_tokens_too() -> None:
    user = create_developer()
    client, secret = make_client(create_developer())
    tokens = exchange_code(client, secret, get_code(user, client)).json()
    set_password(user=user, password="another-good-password")
    assert Api(tokens["access_token"]).get(ME).status_code == 401
    assert Api(tokens["access_token"]).get("/oauth/userinfo").status_code == 401
    assert (
        exchange(client, secret, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).status_code == 400
    )


@pytest.mark.parametrize("grant", ["password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", ""])
def test_other_grants_are_not_offered(grant: str) -> None:
    client, secret = make_client(create_developer())
    answer = exchange(client, secret, grant_type=grant, username="x", password="y")
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


def test_a_token_for_another_resource_is_not_made() -> None:
    client, secret = make_client(create_developer())
    answer = exchange(client, secret, grant_type="client_credentials", resource="https://other.example/#x")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


def test_the_configuration_names_what_is_there() -> None:
    body = Api().get("/.well-known/openid-configuration").json()
    assert body["issuer"] == settings.PUBLIC_BASE_URL
    assert body["code_challenge_methods_supported"] == ["S256"]
    for name in ("jwks_uri", "token_endpoint", "revocation_endpoint", "introspection_endpoint", "userinfo_endpoint"):
        path = body[name].removeprefix(settings.PUBLIC_BASE_URL)
        assert Browser().get(path).status_code in (200, 401, 405)
    assert all("d" not in key for key in Api().get("/.well-known/jwks.json").json()["keys"])


def test_a_developer_registers_lists_and_deletes_clients() -> None:
    owner, stranger = signed_in(create_developer()), signed_in(create_developer())
    made = owner.post("/api/v1/auth/clients", {"name": "App", "redirect_uris": [CALLBACK]})
    assert made.status_code == 201
    body = made.json()
    assert body["client_secret"] and body["grant_types"] == ["authorization_code", "refresh_token"]
    listed = owner.get("/api/v1/auth/clients").json()
    assert [row["client_id"] for row in listed["clients"]] == [body["client_id"]]
    assert "client_secret" not in listed["clients"][0]
    assert stranger.get("/api/v1/auth/clients").json() == {"clients": [], "total": 0}
    path = f"/api/v1/auth/clients/{body['client_id']}"
    missing = stranger.delete("/api/v1/auth/clients/unknown")
    refused = stranger.delete(path)
    assert (refused.status_code, refused.json()) == (missing.status_code, missing.json()) and refused.status_code == 404
    assert owner.delete(path).status_code == 204
    assert not Client.objects.filter(pk=body["client_id"]).exists()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "redirect_uris": ["http://app.example/cb"]},
        {"name": "x", "redirect_uris": ["https://*.example/cb"]},
        {"name": "x", "redirect_uris": ["https://a@app.example/cb"]},
        {"name": "x", "redirect_uris": ["javascript:alert(1)"]},
        {"name": "x", "redirect_uris": ["https://app.example/cb#f"]},
        {"name": "x", "type": "public", "grant_types": ["client_credentials"]},
        {"name": "x", "grant_types": ["authorization_code"]},
        {"redirect_uris": []},
    ],
)
def test_a_bad_client_is_422(body: dict[str, Any]) -> None:
    user = create_developer()
    assert signed_in(user).post("/api/v1/auth/clients", body).status_code == 422
    assert not Client.objects.filter(owner=user).exists()
