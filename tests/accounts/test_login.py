"""POST /api/v1/auth/login, GET /api/v1/auth/me, POST /api/v1/auth/logout."""

import uuid

import jwt
import pytest
from allauth.idp.oidc.models import Token
from django.conf import settings

from accounts.services.users import set_password
from tests.builders import PASSWORD, Api, create_developer, signed_in, unique_email

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/auth/me"


def test_it_gives_tokens_that_the_api_takes() -> None:
    user = create_developer(full_name="Ada")
    answer = Api().post(LOGIN, {"email": user.email.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", settings.IDP_OIDC_ACCESS_TOKEN_EXPIRES_IN)
    me = Api(body["access_token"]).get(ME)
    assert (me.status_code, me.json()["id"], me.json()["full_name"]) == (200, str(user.pk), "Ada")


def test_the_access_token_is_a_signed_jwt_of_its_own_kind() -> None:
    user = create_developer()
    token = Api().post(LOGIN, {"email": user.email, "password": PASSWORD}).json()["access_token"]
    keys = jwt.PyJWKSet.from_dict(Api().get("/.well-known/jwks.json").json())
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("at+jwt", "RS256")
    claims = jwt.decode(
        token, keys[header["kid"]].key, algorithms=["RS256"], audience="payments-api", issuer=settings.PUBLIC_BASE_URL
    )
    assert claims["sub"] == str(user.pk)


def test_no_token_is_stored_in_clear() -> None:
    user = create_developer()
    body = Api().post(LOGIN, {"email": user.email, "password": PASSWORD}).json()
    stored = list(Token.objects.filter(user=user).values_list("hash", flat=True))
    assert len(stored) == 2
    assert body["access_token"] not in stored and body["refresh_token"] not in stored


@pytest.mark.parametrize("case", ["wrong password", "unknown address", "inactive"])
def test_every_failure_reads_alike(case: str) -> None:
    user = create_developer(is_active=case != "inactive")
    email = unique_email() if case == "unknown address" else user.email
    answer = Api().post(LOGIN, {"email": email, "password": "wrong-password" if case == "wrong password" else PASSWORD})
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Incorrect email or password", "code": "invalid_credentials"}
    assert answer["WWW-Authenticate"] == "Bearer"
    assert not Token.objects.filter(user=user).exists()


def test_guessing_is_stopped_and_says_when_to_come_back() -> None:
    user = create_developer()
    answers = [Api().post(LOGIN, {"email": user.email, "password": f"guess-{n}-xx"}) for n in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    last = answers[-1]
    assert set(last.json()) == {"detail", "code", "retry_after"}
    assert int(last["Retry-After"]) == last.json()["retry_after"] > 0
    assert (last["X-RateLimit-Limit"], last["X-RateLimit-Remaining"]) == ("10", "0")
    assert int(last["X-RateLimit-Reset"]) > 1_700_000_000
    # The right password does not get through either, and another account is not held up.
    assert Api().post(LOGIN, {"email": user.email, "password": PASSWORD}).status_code == 429
    other = create_developer()
    assert Api().post(LOGIN, {"email": other.email, "password": PASSWORD}).status_code == 200


def test_a_forged_forwarding_header_does_not_reset_the_limit() -> None:
    user = create_developer()
    codes = [
        Api()
        .post(LOGIN, {"email": user.email, "password": "wrong-password"}, X_Forwarded_For=f"203.0.113.{n}")
        .status_code
        for n in range(12)
    ]
    assert codes[-1] == 429


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer a.b.c",
        "Bearer not-a-token",
        "Bearer ak_" + "x" * 32,
        "Bearer a b",
        "Token x",
    ],
)
def test_me_without_a_valid_token_is_401(authorization: str) -> None:
    answer = Api().get(ME, Authorization=authorization)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert set(answer.json()) == {"detail", "code"}


@pytest.mark.parametrize("event", ["logout", "inactive", "password", "token deleted"])
def test_a_revocation_holds_from_the_next_request(event: str) -> None:
    user = create_developer()
    api, other_session = signed_in(user), signed_in(user)
    assert api.get(ME).status_code == 200
    if event == "logout":
        assert api.post("/api/v1/auth/logout").status_code == 204
    elif event == "inactive":
        user.is_active = False
        user.save()
    elif event == "password":
        set_password(user=user, password="another-good-password")
    else:
        Token.objects.filter(user=user).delete()
    assert api.get(ME).status_code == 401
    assert other_session.get(ME).status_code == (200 if event == "logout" else 401)


def test_a_rehash_of_the_same_password_signs_nobody_out() -> None:
    user = create_developer()
    api = signed_in(user)
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    assert api.get(ME).status_code == 200


def test_one_request_costs_one_query(django_assert_num_queries: object) -> None:
    api = signed_in(create_developer())
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert api.get(ME).status_code == 200


def test_a_token_signed_by_our_key_but_never_issued_is_refused() -> None:
    from accounts.services.tokens import encode_access_token

    user = create_developer()
    forged = encode_access_token(client_id="payments-service", subject=str(user.pk), scopes=["openid"])
    assert Api(forged).get(ME).status_code == 401
    assert uuid.UUID(str(user.pk))
