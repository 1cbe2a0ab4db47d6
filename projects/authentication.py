"""Who an end user's token or a server's key speaks for.

One query each, so that bans and revocations hold from the next request on.
"""

import hashlib
import uuid
from typing import Any

from django.conf import settings
from django.db.models import FilteredRelation, Q
from django.db.models.functions import Now
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.authentication import InvalidToken, read_bearer
from accounts.signing import verify_own_token
from common.errors import ApiError
from common.modes import LIVE, TEST
from common.strict_jwt import ParsedToken, TokenRefused, is_identifier, is_storable, parse, verify
from projects.access import ProjectNotFound
from projects.models import ApiKey, EndUser, IdentityProvider, Project, ProviderKind
from projects.principals import EndUserPrincipal, ServerPrincipal
from projects.services.end_user_tokens import END_USER_TYP, UserBanned, audience_of
from projects.services.end_users import SEEN_EVERY, ensure_end_user, note_visit, plain_email
from projects.services.jwks import find_key

KEY_PREFIX = "ak_"
PROJECT_HEADER = "X-Project-ID"
AUDIENCE_PREFIX = "project:"
# Kinds that only this service makes. (`at+jwt` is what providers call their own access tokens too, RFC 9068.)
OWN_TYPES = frozenset({END_USER_TYP, "ent+jwt"})
TRUE_WORDS = frozenset({"true", "1", "t", "yes", "y", "on"})
FALSE_WORDS = frozenset({"false", "0", "f", "no", "n", "off"})
MAX_CANDIDATES = 20


class ProjectRequired(ApiError):
    """400: a provider's token that names no project came without the header."""

    code = "project_required"
    detail = "This token names no project; send the header X-Project-ID."


class ModeMismatch(ApiError):
    """400: test_mode contradicts the API key."""

    code = "mode_mismatch"
    detail = "test_mode contradicts the API key, which decides the mode."


class EndUserAuthentication(BaseAuthentication):
    """Tokens minted by this service (`eu+jwt`), and tokens of the project's own identity provider."""

    def authenticate(self, request: Request) -> tuple[EndUserPrincipal, None]:
        """Return the end user. Raises InvalidToken (401), ProjectRequired (400), ProjectNotFound (404)."""
        value = read_bearer(request)
        try:
            return authenticate_end_user(request, parse(value)), None
        except TokenRefused as error:
            raise InvalidToken from error

    def authenticate_header(self, request: Request) -> str:
        """Make DRF's own refusals 401 too."""
        return "Bearer"


class ApiKeyAuthentication(BaseAuthentication):
    """`Bearer ak_…`; the key decides project and mode."""

    def authenticate(self, request: Request) -> tuple[ServerPrincipal, None]:
        """Return the server. Raises InvalidToken (401), ModeMismatch (400)."""
        value = read_bearer(request)
        if not value.startswith(KEY_PREFIX):
            raise InvalidToken
        return authenticate_server(request, value), None

    def authenticate_header(self, request: Request) -> str:
        """Make DRF's own refusals 401 too."""
        return "Bearer"


class EndUserOrServerAuthentication(BaseAuthentication):
    """Either of the two, told apart by the form of the token."""

    def authenticate(self, request: Request) -> tuple[EndUserPrincipal | ServerPrincipal, None]:
        """Return the end user or the server. Raises as the two do."""
        if read_bearer(request).startswith(KEY_PREFIX):
            return ApiKeyAuthentication().authenticate(request)
        return EndUserAuthentication().authenticate(request)

    def authenticate_header(self, request: Request) -> str:
        """Make DRF's own refusals 401 too."""
        return "Bearer"


def end_user_of(request: Request) -> EndUserPrincipal:
    """Return the end user of a request that EndUserAuthentication let through."""
    principal: object = request.user
    if not isinstance(principal, EndUserPrincipal):
        raise InvalidToken
    return principal


def server_of(request: Request) -> ServerPrincipal:
    """Return the server of a request that ApiKeyAuthentication let through."""
    principal: object = request.user
    if not isinstance(principal, ServerPrincipal):
        raise InvalidToken
    return principal


def authenticate_server(request: Request, value: str) -> ServerPrincipal:
    """Look an API key up by its hash."""
    key_hash = hashlib.sha256(value.encode()).hexdigest()
    api_key = ApiKey.objects.filter(key_hash=key_hash, is_active=True).select_related("project").first()
    if api_key is None or not api_key.project.is_active or api_key.project.deleted_at is not None:
        raise InvalidToken("The API key is not valid.", code="invalid_api_key")
    contradictions = FALSE_WORDS if api_key.is_test_mode else TRUE_WORDS
    if any(word.lower() in contradictions for word in _mode_words(request)):
        raise ModeMismatch
    if api_key.last_used_at is None or timezone.now() - api_key.last_used_at > SEEN_EVERY:
        ApiKey.objects.for_project(api_key.project_id).filter(pk=api_key.pk).update(last_used_at=Now())
    return ServerPrincipal(api_key=api_key, project=api_key.project, mode=api_key.mode)


def authenticate_end_user(request: Request, token: ParsedToken) -> EndUserPrincipal:
    """Verify an end user's token. The row lookup comes first and changes nothing; nothing of it is used unverified."""
    is_own = token.claims.get("iss") == settings.PUBLIC_BASE_URL
    project_id = _project_id(request, token, is_own=is_own)
    row, candidates = _load(project_id, _candidates(token, is_own=is_own))
    if is_own:
        claims = verify_own_token(token, typ=END_USER_TYP, audience=audience_of(project_id))
        if row is None or row.deleted_at is not None:
            raise ProjectNotFound
        user_id, email, test_only = (
            claims.get("sub"),
            plain_email(claims.get("email")),
            claims.get("test_only") is not False,
        )
    else:
        provider = _provider_of(row)
        claims = _verify_provider_token(provider, token)
        user_id, email = claims.get(provider.user_id_claim), plain_email(claims.get(provider.email_claim))
        test_only = provider.test_only or claims.get("test_only", False) is not False
    if row is None or not row.is_active or not is_identifier(user_id):
        raise TokenRefused("the project is disabled, or the token names no user")
    if test_only and any(word.lower() not in TRUE_WORDS for word in _mode_words(request)):
        raise TokenRefused("a test-mode token on live")
    end_user = _end_user(row, candidates, str(user_id), email, _mode_of(request))
    if not end_user.is_active or end_user.banned_at is not None:
        raise UserBanned
    return EndUserPrincipal(end_user=end_user, project=row, claims=claims, test_only=test_only)


def _project_id(request: Request, token: ParsedToken, *, is_own: bool) -> uuid.UUID:
    """Say which project the token is for; every place that names one must name the same."""
    audience = token.claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    named = [
        text.removeprefix(AUDIENCE_PREFIX)
        for text in audiences
        if isinstance(text, str) and text.startswith(AUDIENCE_PREFIX)
    ]
    if "project_id" in token.claims:
        named.append(token.claims["project_id"])
    header = request.headers.get(PROJECT_HEADER)
    if not named and is_own:
        raise TokenRefused("a developer's token")
    if not named and header is None:
        raise ProjectRequired
    found = {_as_uuid(text) for text in [*named, *([header] if header is not None else [])]}
    if len(found) != 1:
        raise TokenRefused("the token and the header name different projects")
    return found.pop()


def _as_uuid(text: object) -> uuid.UUID:
    try:
        return uuid.UUID(text) if isinstance(text, str) and len(text) == 36 else _refuse("not a project id")
    except ValueError as error:
        raise TokenRefused("not a project id") from error


def _refuse(reason: str) -> Any:
    raise TokenRefused(reason)


def _candidates(token: ParsedToken, *, is_own: bool) -> list[str]:
    """List the claims that may turn out to be the user's id; which one it is, only the provider's row says."""
    if is_own:
        return [str(value) for value in [token.claims.get("sub")] if is_identifier(value)]
    texts = [value for value in token.claims.values() if is_identifier(value)]
    subject = token.claims.get("sub")
    return [*([subject] if is_identifier(subject) else []), *texts][:MAX_CANDIDATES]


def _load(project_id: uuid.UUID, external_ids: list[str]) -> tuple[Project | None, list[EndUser]]:
    """Read the project, its provider and the end users with these ids in one query."""
    # An empty list would make Django leave the query out; no end user has the id "".
    condition = Q(end_users__external_id__in=external_ids or [""])
    rows = list(
        Project.objects.filter(pk=project_id)
        .annotate(caller=FilteredRelation("end_users", condition=condition))
        .select_related("identity_provider", "caller")  # type: ignore[misc]
    )
    callers = [getattr(row, "caller", None) for row in rows]
    return (rows[0] if rows else None), [caller for caller in callers if isinstance(caller, EndUser)]


def _end_user(project: Project, candidates: list[EndUser], external_id: str, email: str | None, mode: str) -> EndUser:
    for candidate in candidates:
        if candidate.external_id == external_id:
            candidate.project = project
            return note_visit(end_user=candidate, email=email, mode=mode)
    return ensure_end_user(project=project, external_id=external_id, email=email, mode=mode)


def _provider_of(project: Project | None) -> IdentityProvider:
    # A project that is missing and one that has no provider answer alike: the token cannot be verified.
    provider = (
        getattr(project, "identity_provider", None) if project is not None and project.deleted_at is None else None
    )
    if not isinstance(provider, IdentityProvider) or not provider.is_active:
        raise TokenRefused("the project has no identity provider")
    return provider


def _verify_provider_token(provider: IdentityProvider, token: ParsedToken) -> dict[str, Any]:
    if token.typ in OWN_TYPES:
        raise TokenRefused("a kind of token that only this service makes")
    algorithm = token.header["alg"]
    if provider.kind == ProviderKind.HS256:
        if algorithm != "HS256":
            raise TokenRefused("the algorithm is not allowed")
        key: Any = provider.hs256_secret()
    else:
        key = find_key(provider=provider, token=token)
    return verify(token, key=key, algorithms=[algorithm], audience=provider.audience, issuer=provider.issuer)


def _mode_words(request: Request) -> list[str]:
    """Return every `test_mode` of the query; none means test mode."""
    words: list[str] = request.query_params.getlist("test_mode")
    return [word for word in words if is_storable(word)]


def _mode_of(request: Request) -> str:
    """Say in which mode an end user comes: live only when the query says so and nothing else."""
    words = [word.lower() for word in _mode_words(request)]
    return LIVE if words and all(word in FALSE_WORDS for word in words) else TEST
