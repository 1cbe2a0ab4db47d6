"""What this service changes in allauth's OpenID provider: its issuer, its claims, and who may ask about a token."""

from collections.abc import Iterable
from typing import Any, Literal

from allauth.idp.oidc.adapter import DefaultOIDCAdapter
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser

from accounts.models import User

ACCESS_TOKEN_TYP = "at+jwt"
ACCESS_TOKEN_AUDIENCE = "payments-api"
FIRST_PARTY_CLIENT_ID = "payments-service"
SUPPORTED_SCOPES = ("openid", "profile", "email")


class OidcAdapter(DefaultOIDCAdapter):
    """Named by settings.IDP_OIDC_ADAPTER."""

    scope_display = {
        "openid": "Know who you are",
        "email": "See your e-mail address",
        "profile": "See your name",
    }

    def get_issuer(self) -> str:
        """Return PUBLIC_BASE_URL: the issuer must not depend on the Host header of a request."""
        issuer: str = settings.PUBLIC_BASE_URL
        return issuer

    def get_claims(
        self,
        purpose: Literal["id_token", "userinfo"],
        user: AbstractBaseUser,
        client: Any,
        scopes: Iterable[str],
        email: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return who the user is, from the one e-mail address that a user has here."""
        granted = set(scopes)
        claims: dict[str, Any] = {"sub": self.get_user_sub(client, user)}
        if "email" in granted and isinstance(user, User):
            claims["email"] = user.email
            claims["email_verified"] = False
        if "profile" in granted and isinstance(user, User) and user.full_name:
            claims["name"] = user.full_name
        return claims

    def is_introspection_allowed(self, token: Any, *, caller_client: Any) -> bool:
        """Say that a token issued before the user's last password change is not active."""
        return token.user is None or token.created_at >= token.user.tokens_valid_from
