"""Tokens that a project's server asks for on behalf of its user.

A test key mints tokens that never reach live mode, whatever it asks for. A live key mints tokens for both modes, because live
users do use test mode while an app is being built, unless `test_only` is asked for.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from accounts.signing import sign_token
from common.errors import Forbidden
from projects.models import EndUser
from projects.principals import ServerPrincipal
from projects.services.end_users import ensure_end_user

END_USER_TYP = "eu+jwt"
DEFAULT_TTL_SECONDS = 900
MAX_TTL_SECONDS = 86400


class UserBanned(Forbidden):
    """403: a banned user may do nothing, and nothing is done for them. Signing in again does not help, so it is no 401."""

    code = "end_user_banned"
    detail = "This user has been banned."


@dataclass(frozen=True)
class EndUserToken:
    """A minted token. Never logged or stored."""

    access_token: str
    expires_in: int
    end_user: EndUser

    def __repr__(self) -> str:
        return f"<EndUserToken for {self.end_user.pk}>"


def audience_of(project_id: uuid.UUID) -> str:
    """Name the audience of a project's end-user tokens."""
    return f"project:{project_id}"


def mint_end_user_token(
    *, server: ServerPrincipal, user_id: str, email: str | None, ttl_seconds: int, test_only: bool
) -> EndUserToken:
    """Mint a token for one user of the server's project. Raises UserBanned (403)."""
    end_user = ensure_end_user(project=server.project, external_id=user_id, email=email, mode=server.mode)
    if not end_user.is_active or end_user.banned_at is not None:
        raise UserBanned
    claims: dict[str, Any] = {
        "aud": audience_of(server.project.pk),
        "project_id": str(server.project.pk),
        "sub": end_user.external_id,
        "test_only": test_only or server.test_mode,
    }
    if end_user.email:
        claims["email"] = end_user.email
    token = sign_token(typ=END_USER_TYP, claims=claims, ttl_seconds=ttl_seconds)
    return EndUserToken(access_token=token, expires_in=ttl_seconds, end_user=end_user)
