"""POST /api/v1/auth/refresh: rotation, and the end of a family when a refresh token comes twice."""

import threading

import pytest
from allauth.idp.oidc import app_settings
from allauth.idp.oidc.models import Token
from django.db import connection

from accounts.models import TokenFamily
from accounts.services.tokens import issue_login_tokens
from accounts.services.users import set_password
from tests.builders import Api, create_developer, run_all

PATH = "/api/v1/auth/refresh"
ME = "/api/v1/auth/me"


def test_it_rotates() -> None:
    first = issue_login_tokens(user=create_developer())
    answer = Api().post(PATH, {"refresh_token": first.refresh_token})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert body["refresh_token"] != first.refresh_token
    assert Api(body["access_token"]).get(ME).status_code == 200
    assert Api().post(PATH, {"refresh_token": body["refresh_token"]}).status_code == 200


def test_a_refresh_token_used_twice_ends_its_family_and_no_other() -> None:
    user = create_developer()
    stolen, elsewhere = issue_login_tokens(user=user), issue_login_tokens(user=user)
    fresh = Api().post(PATH, {"refresh_token": stolen.refresh_token}).json()
    replay = Api().post(PATH, {"refresh_token": stolen.refresh_token})
    assert (replay.status_code, replay.json()["code"]) == (401, "invalid_refresh_token")
    assert replay["WWW-Authenticate"] == "Bearer"
    for token in (stolen.access_token, fresh["access_token"]):
        assert Api(token).get(ME).status_code == 401
    assert Api().post(PATH, {"refresh_token": fresh["refresh_token"]}).status_code == 401
    assert TokenFamily.objects.filter(user=user, end_reason="refresh_token_reused").count() == 1
    assert Api(elsewhere.access_token).get(ME).status_code == 200
    assert Api().post(PATH, {"refresh_token": elsewhere.refresh_token}).status_code == 200


def test_an_access_token_is_no_refresh_token_and_reverse() -> None:
    pair = issue_login_tokens(user=create_developer())
    assert Api().post(PATH, {"refresh_token": pair.access_token}).status_code == 401
    assert Api(pair.refresh_token).get(ME).status_code == 401


def test_an_expired_access_token_says_so_and_only_one_that_was_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    user = create_developer()
    for seconds in (5, 3600):
        # Within the leeway of the signature, and beyond it.
        with monkeypatch.context() as patched:
            patched.setattr(app_settings, "ACCESS_TOKEN_EXPIRES_IN", -seconds)
            pair = issue_login_tokens(user=user)
        expired = Api(pair.access_token).get(ME)
        assert (expired.status_code, expired["WWW-Authenticate"]) == (401, "Bearer")
        assert expired.json() == {
            "code": "token_expired",
            "detail": "This token has expired; sign in again or use the refresh token.",
        }
        assert Api().post(PATH, {"refresh_token": pair.refresh_token}).status_code == 200
    header, claims, signature = pair.access_token.split(".")
    forged = f"{header}.{claims}.{signature[::-1]}"
    revoked = issue_login_tokens(user=user)
    Token.objects.filter(user=user).delete()
    for value in (forged, revoked.access_token, pair.refresh_token):
        assert Api(value).get(ME).json()["code"] == "invalid_token"


def test_unknown_and_missing_tokens_are_refused() -> None:
    assert Api().post(PATH, {"refresh_token": "nonsense"}).status_code == 401
    missing = Api().post(PATH, {})
    assert (missing.status_code, missing.json()["detail"][0]["loc"]) == (422, ["body", "refresh_token"])


def test_it_stops_with_the_user_and_with_the_password() -> None:
    user = create_developer()
    pair = issue_login_tokens(user=user)
    set_password(user=user, password="another-good-password")
    assert Api().post(PATH, {"refresh_token": pair.refresh_token}).status_code == 401
    pair = issue_login_tokens(user=user)
    user.is_active = False
    user.save()
    assert Api().post(PATH, {"refresh_token": pair.refresh_token}).status_code == 401


def test_two_uses_at_once_are_noticed() -> None:
    user = create_developer()
    pair = issue_login_tokens(user=user)
    barrier = threading.Barrier(2)
    codes: list[int] = []

    def refresh() -> None:
        barrier.wait()
        codes.append(Api().post(PATH, {"refresh_token": pair.refresh_token}).status_code)
        connection.close()

    threads = [threading.Thread(target=refresh) for _ in range(2)]
    run_all(threads)
    assert sorted(codes) == [200, 401]
    assert not Token.objects.filter(user=user).exists()
