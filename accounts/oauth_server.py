"""The OAuth2 rules that differ from allauth's: PKCE for every client, refresh families, `at+jwt` access tokens.

The only file besides accounts/views/oauth.py that touches allauth's internals, which is why its version is pinned.
"""

from typing import Any

from allauth.idp.oidc import app_settings
from allauth.idp.oidc.internal.oauthlib.request_validator import OAuthLibRequestValidator
from allauth.idp.oidc.internal.oauthlib.server import generate_refresh_token
from allauth.idp.oidc.internal.oauthlib.utils import get_validator_context
from allauth.idp.oidc.models import Client, Token
from django.core.cache import cache
from django.db import transaction
from oauthlib.common import Request
from oauthlib.openid import Server

from accounts.models import TokenFamily, User
from accounts.services.tokens import (
    REVOKED,
    ClaimedRefreshToken,
    acting_user,
    add_to_family,
    claim_refresh_token,
    encode_access_token,
    end_family_of_token,
    hash_token,
    spend_refresh_token,
)
from common.strict_jwt import is_storable


class RequestValidator(OAuthLibRequestValidator):
    """One per request: it carries the claimed refresh token from the check to the exchange."""

    def __init__(self) -> None:
        super().__init__()
        self._claimed: ClaimedRefreshToken | None = None

    def _lookup_client(self, request: Request, client_id: Any) -> Client | None:
        if not isinstance(client_id, str) or not is_storable(client_id):
            return None
        return super()._lookup_client(request, client_id)

    def is_pkce_required(self, client_id: Any, request: Request) -> bool:
        """Require PKCE of confidential clients too."""
        return True

    def validate_redirect_uri(
        self, client_id: Any, redirect_uri: Any, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Compare redirect addresses as text, exactly."""
        return redirect_uri in request.client.get_redirect_uris()

    def validate_code(
        self, client_id: Any, code: Any, client: Any, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Let a code through once, also when two requests carry it at the same moment."""
        # The code itself is deleted only after its use; adding a mark is atomic.
        claimed = cache.add(
            f"oauth-code-used:{hash_token(str(code))}", 1, timeout=2 * app_settings.AUTHORIZATION_CODE_EXPIRES_IN
        )
        return bool(claimed) and super().validate_code(client_id, code, client, request, *args, **kwargs)

    def validate_refresh_token(
        self, refresh_token: Any, client: Any, request: Request, *args: Any, **kwargs: Any
    ) -> bool:
        """Claim the refresh token; its second use ends the sign-in that it came from."""
        if not isinstance(refresh_token, str):
            return False
        self._claimed = claim_refresh_token(refresh_token, client_id=client.pk)
        if self._claimed is None:
            return False
        request.user = self._claimed.family.user
        get_validator_context().refresh_token = self._claimed.token
        return True

    def save_bearer_token(self, token: dict[str, Any], request: Request, *args: Any, **kwargs: Any) -> None:
        """Store the new tokens and remember the sign-in that they descend from."""
        super().save_bearer_token(token, request, *args, **kwargs)
        if self._claimed is not None:
            spend_refresh_token(self._claimed)
            family = self._claimed.family
        elif isinstance(request.user, User):
            family = TokenFamily.objects.create(user=request.user)
        else:
            return
        add_to_family(family=family, access_token=token["access_token"], refresh_token=token.get("refresh_token"))

    def validate_bearer_token(self, token: Any, scopes: Any, request: Request) -> bool:
        """Refuse what the API would refuse: tokens from before a password change."""
        if not super().validate_bearer_token(token, scopes, request):
            return False
        stored = get_validator_context().access_token
        return stored is not None and acting_user(stored) is not None

    def revoke_token(self, token: Any, token_type_hint: Any, request: Request, *args: Any, **kwargs: Any) -> None:
        """Revoke a client's own token; with a refresh token everything that descends from its sign-in."""
        stored = Token.objects.by_value(str(token)).filter(client_id=request.client.pk).first()
        if stored is None:
            return
        if stored.type == Token.Type.REFRESH_TOKEN:
            end_family_of_token(value=str(token), reason=REVOKED)
        with transaction.atomic():
            Token.objects.filter(pk=stored.pk).delete()


def generate_access_token(request: Request) -> str:
    """Sign the access token of an OAuth2 grant. Without a user (client credentials) its subject is the client."""
    client: Client = request.client
    subject = str(request.user.pk) if request.user is not None else client.pk
    return encode_access_token(client_id=client.pk, subject=subject, scopes=list(request.scopes or []))


def oauth_server(**options: Any) -> Server:
    """Build the server for one request."""
    return Server(
        request_validator=RequestValidator(),
        token_generator=generate_access_token,
        refresh_token_generator=generate_refresh_token,
        token_expires_in=app_settings.ACCESS_TOKEN_EXPIRES_IN,
        **options,
    )
