"""Developer tokens: issued, refreshed by rotation, and ended as a family.

One token store (allauth's) holds the hashes of all of them, whether they came from /api/v1/auth/login or from the OAuth2
endpoints. A refresh token works once; its second use ends the sign-in that it came from, because one of the two who used it
stole it. The row of the family is locked first, so that two uses at once are noticed as well.
Source: https://datatracker.ietf.org/doc/html/rfc9700#section-4.14.2
"""

import datetime as dt
import hashlib
import secrets
from dataclasses import dataclass

from allauth.idp.oidc import app_settings
from allauth.idp.oidc.models import Client, Token
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import FamilyToken, TokenFamily, User
from accounts.oidc import ACCESS_TOKEN_AUDIENCE, ACCESS_TOKEN_TYP, FIRST_PARTY_CLIENT_ID, SUPPORTED_SCOPES
from accounts.signing import sign_token
from common.errors import NotAuthenticated

REUSED = "refresh_token_reused"
SIGNED_OUT = "signed_out"
REVOKED = "revoked"


class RefreshRefused(NotAuthenticated):
    """401: the refresh token is unknown, expired, used before or revoked."""

    code = "invalid_refresh_token"
    detail = "The refresh token is not valid any more. Sign in again."


@dataclass(frozen=True)
class TokenPair:
    """What a sign-in gives. Never logged or stored."""

    access_token: str
    refresh_token: str
    expires_in: int

    def __repr__(self) -> str:
        return "<TokenPair>"


@dataclass(frozen=True)
class ClaimedRefreshToken:
    """A refresh token that may be exchanged, with its family's row locked."""

    token: Token
    family: TokenFamily


def hash_token(value: str) -> str:
    """Return the form in which a token is stored; the same as allauth's."""
    return hashlib.sha256(value.encode()).hexdigest()


def encode_access_token(*, client_id: str, subject: str, scopes: list[str]) -> str:
    """Sign a developer's access token."""
    claims = {
        "aud": ACCESS_TOKEN_AUDIENCE,
        "sub": subject,
        "client_id": client_id,
        "scope": " ".join(scopes),
        "token_use": "access",
    }
    return sign_token(typ=ACCESS_TOKEN_TYP, claims=claims, ttl_seconds=app_settings.ACCESS_TOKEN_EXPIRES_IN)


def issue_login_tokens(*, user: User) -> TokenPair:
    """Start a sign-in: a new family with its first access and refresh token."""
    with transaction.atomic():
        return _issue(user=user, family=TokenFamily.objects.create(user=user))


def refresh_login_tokens(*, refresh_token: str) -> TokenPair:
    """Exchange a refresh token of /api/v1/auth/login for a new pair. Raises RefreshRefused (401)."""
    pair: TokenPair | None = None
    # The refusal is raised after the commit: a noticed theft must stay noticed.
    with transaction.atomic():
        claimed = claim_refresh_token(refresh_token, client_id=FIRST_PARTY_CLIENT_ID)
        if claimed is not None and claimed.token.user is not None:
            spend_refresh_token(claimed)
            pair = _issue(user=claimed.family.user, family=claimed.family)
    if pair is None:
        raise RefreshRefused
    return pair


def claim_refresh_token(value: str, *, client_id: str) -> ClaimedRefreshToken | None:
    """Lock the token's family and say whether the token may be exchanged; a second use ends the family. Needs a transaction."""
    known = FamilyToken.objects.filter(token_hash=hash_token(value), is_refresh=True).first()
    if known is None:
        return None
    family = TokenFamily.objects.select_for_update(of=("self",)).select_related("user").get(pk=known.family_id)
    known.refresh_from_db(fields=["used_at"])
    if family.ended_at is not None:
        return None
    if known.used_at is not None:
        end_family(family=family, reason=REUSED)
        return None
    token = (
        Token.objects.valid().filter(type=Token.Type.REFRESH_TOKEN, hash=known.token_hash, client_id=client_id).first()
    )
    if token is None or not family.user.is_active or token.created_at < family.user.tokens_valid_from:
        return None
    return ClaimedRefreshToken(token=token, family=family)


def spend_refresh_token(claimed: ClaimedRefreshToken) -> None:
    """Mark a claimed refresh token as used, for good."""
    FamilyToken.objects.filter(token_hash=claimed.token.hash).update(used_at=timezone.now())
    Token.objects.filter(type=Token.Type.REFRESH_TOKEN, hash=claimed.token.hash).delete()


def add_to_family(*, family: TokenFamily, access_token: str | None, refresh_token: str | None) -> None:
    """Remember which sign-in the tokens descend from."""
    rows = [(access_token, False), (refresh_token, True)]
    FamilyToken.objects.bulk_create(
        FamilyToken(token_hash=hash_token(value), family=family, is_refresh=is_refresh)
        for value, is_refresh in rows
        if value
    )


def end_family(*, family: TokenFamily, reason: str) -> None:
    """Revoke every token that descends from one sign-in."""
    hashes = FamilyToken.objects.filter(family=family).values("token_hash")
    Token.objects.filter(hash__in=hashes).delete()
    TokenFamily.objects.filter(pk=family.pk, ended_at__isnull=True).update(ended_at=timezone.now(), end_reason=reason)


def end_family_of_token(*, value: str, reason: str) -> None:
    """Revoke the sign-in that a token belongs to; an unknown token changes nothing."""
    known = FamilyToken.objects.filter(token_hash=hash_token(value)).select_related("family").first()
    if known is not None:
        with transaction.atomic():
            family = TokenFamily.objects.select_for_update().get(pk=known.family_id)
            end_family(family=family, reason=reason)


def prune_tokens(*, older_than: dt.timedelta = dt.timedelta(days=60)) -> int:
    """Delete expired tokens, and families that nobody can refresh any more. Returns the number of deleted rows."""
    stale = timezone.now() - older_than
    expired, _ = Token.objects.expired().delete()
    remembered, _ = FamilyToken.objects.filter(created_at__lt=stale).delete()
    families, _ = TokenFamily.objects.filter(created_at__lt=stale, tokens__isnull=True).delete()
    return expired + remembered + families


def _issue(*, user: User, family: TokenFamily) -> TokenPair:
    scopes = list(SUPPORTED_SCOPES)
    lifetime = app_settings.ACCESS_TOKEN_EXPIRES_IN
    access_token = encode_access_token(client_id=FIRST_PARTY_CLIENT_ID, subject=str(user.pk), scopes=scopes)
    refresh_token = secrets.token_urlsafe(48)
    now = timezone.now()
    Token.objects.bulk_create(
        Token(
            type=kind,
            hash=hash_token(value),
            client_id=FIRST_PARTY_CLIENT_ID,
            user=user,
            expires_at=now + dt.timedelta(seconds=seconds),
            scopes="\n".join(scopes),
        )
        for kind, value, seconds in (
            (Token.Type.ACCESS_TOKEN, access_token, lifetime),
            (Token.Type.REFRESH_TOKEN, refresh_token, settings.IDP_OIDC_REFRESH_TOKEN_EXPIRES_IN),
        )
    )
    add_to_family(family=family, access_token=access_token, refresh_token=refresh_token)
    return TokenPair(access_token=access_token, refresh_token=refresh_token, expires_in=lifetime)


def acting_user(token: Token) -> User | None:
    """Return the developer that an access token acts for, or None when it is not good any more.

    A client-credentials token has no user of its own: it acts for the developer who owns the client.
    """
    client: Client | None = token.client
    user = token.user or (client.owner if client is not None else None)
    if not isinstance(user, User) or not user.is_active or token.created_at < user.tokens_valid_from:
        return None
    return user
