"""Who a developer's bearer token speaks for. One query per request, so that a revocation holds from the next request on."""

import time
from dataclasses import dataclass

from allauth.idp.oidc.models import Token
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import User
from accounts.oidc import ACCESS_TOKEN_AUDIENCE, ACCESS_TOKEN_TYP
from accounts.services.tokens import acting_user, hash_token
from accounts.signing import verify_own_token
from common.audit import note_actor
from common.errors import NotAuthenticated
from common.strict_jwt import TokenExpired, TokenRefused, parse


class InvalidToken(NotAuthenticated):
    """401: a token was sent and is not good here."""

    code = "invalid_token"
    detail = "The token is not valid for this endpoint."


class ExpiredToken(NotAuthenticated):
    """401: a token of the right kind was sent, whose time is over."""

    code = "token_expired"
    detail = "This token has expired; sign in again or use the refresh token."


@dataclass(frozen=True)
class DeveloperToken:
    """request.auth of a developer's request."""

    value: str
    client_id: str | None

    def __repr__(self) -> str:
        return f"<DeveloperToken of client {self.client_id}>"


def read_bearer(request: Request) -> str:
    """Return the bearer token of a request. Raises NotAuthenticated (401) when there is not exactly one."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() != "bearer" or not value:
        raise NotAuthenticated
    if " " in value or "," in value:
        raise InvalidToken
    return value


def developer_of(request: Request) -> User:
    """Return the developer of a request that DeveloperAuthentication let through."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


class DeveloperAuthentication(BaseAuthentication):
    """`typ=at+jwt, aud=payments-api`, and still in the token store."""

    def authenticate(self, request: Request) -> tuple[User, DeveloperToken]:
        """Return the developer. Raises NotAuthenticated, InvalidToken or ExpiredToken (401)."""
        value = read_bearer(request)
        try:
            claims = verify_own_token(parse(value), typ=ACCESS_TOKEN_TYP, audience=ACCESS_TOKEN_AUDIENCE)
        except TokenExpired as error:
            raise ExpiredToken from error
        except TokenRefused as error:
            raise InvalidToken from error
        rows = Token.objects.valid().select_related("user", "client__owner")
        token = rows.filter(type=Token.Type.ACCESS_TOKEN, hash=hash_token(value)).first()
        user = acting_user(token) if token is not None else None
        if token is None or user is None:
            # The store knows no leeway: it lets go of a token before its signature does.
            raise ExpiredToken if claims["exp"] <= time.time() else InvalidToken
        note_actor(user)
        return user, DeveloperToken(value=value, client_id=token.client_id)

    def authenticate_header(self, request: Request) -> str:
        """Make DRF's own refusals 401 too."""
        return "Bearer"
