"""A project's identity provider: whose tokens it accepts for its end users."""

import re
import uuid
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.oidc import ACCESS_TOKEN_AUDIENCE
from common.errors import FieldError, NotFound
from common.outgoing import OutgoingFailed, OutgoingRefused, check_before_saving
from projects.models import IdentityProvider, Project, ProviderKind
from projects.services.jwks import fetch_keys, store_keys

MIN_SECRET_BYTES = 32
WHY_HTTPS = "Use https: keys that came over http prove nothing."
_CLAIM = re.compile(r"^[A-Za-z0-9_:/.@-]{1,100}$")
_RESERVED_AUDIENCES = re.compile(rf"^(?:{ACCESS_TOKEN_AUDIENCE}|entitlements:.*)$")


class IdentityProviderNotFound(NotFound):
    """404: the project has no identity provider."""

    code = "identity_provider_not_found"
    detail = "This project has no identity provider."


def get_identity_provider(*, project: Project) -> IdentityProvider:
    """Return the project's provider. Raises IdentityProviderNotFound (404)."""
    provider = IdentityProvider.objects.for_project(project).first()
    if not isinstance(provider, IdentityProvider):
        raise IdentityProviderNotFound
    return provider


def put_identity_provider(*, project: Project, fields: dict[str, Any]) -> IdentityProvider:
    """Set or change the provider; a secret that is absent or null is kept. Raises FieldError (422)."""
    _check_jwks_url(project.pk, fields)
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=project.pk)
        provider = IdentityProvider.objects.for_project(project).first() or IdentityProvider(project=project)
        before = (provider.kind, provider.jwks_url)
        _assign(provider, fields)
        if (provider.kind, provider.jwks_url) != before:
            provider.jwks_document = provider.jwks_fetched_at = provider.jwks_attempted_at = None
        provider.save()
    if provider.kind == ProviderKind.JWKS and provider.jwks_document is None:
        _warm_up(provider)
    return provider


def check_identity_provider(*, provider: IdentityProvider | None, fields: dict[str, Any]) -> None:
    """Check fields as `put_identity_provider` would, and save nothing. Raises FieldError (422)."""
    found = provider or IdentityProvider(project_id=uuid.UUID(int=0))
    _check_jwks_url(found.project_id, fields)
    _assign(found, fields)


def delete_identity_provider(*, project: Project) -> None:
    """Remove the provider; its tokens are refused from the next request on. Raises IdentityProviderNotFound (404)."""
    deleted, _ = IdentityProvider.objects.for_project(project).delete()
    if not deleted:
        raise IdentityProviderNotFound


def _assign(provider: IdentityProvider, fields: dict[str, Any]) -> None:
    provider.kind = fields["kind"]
    provider.issuer = fields["issuer"]
    provider.audience = fields["audience"]
    if provider.issuer.rstrip("/") == settings.PUBLIC_BASE_URL:
        raise FieldError("body", "issuer", msg="This is the issuer of this service itself.")
    if _RESERVED_AUDIENCES.fullmatch(provider.audience):
        raise FieldError("body", "audience", msg="This audience is kept for this service's own tokens.")
    for name in ("user_id_claim", "email_claim"):
        if fields.get(name) is not None:
            if not _CLAIM.fullmatch(fields[name]):
                raise FieldError("body", name, msg="Name one claim, for instance sub.")
            setattr(provider, name, fields[name])
    for name in ("test_only", "is_active"):
        if fields.get(name) is not None:
            setattr(provider, name, fields[name])
    if provider.kind == ProviderKind.JWKS:
        _assign_jwks(provider, fields.get("jwks_url"))
    else:
        _assign_secret(provider, fields.get("hs256_secret"))


def _check_jwks_url(project_id: uuid.UUID, fields: dict[str, Any]) -> None:
    url = fields.get("jwks_url")
    if fields["kind"] == ProviderKind.JWKS and url:
        check_before_saving(url, field="jwks_url", whose=str(project_id), why_https=WHY_HTTPS)


def _assign_jwks(provider: IdentityProvider, url: str | None) -> None:
    provider.jwks_url = url or provider.jwks_url
    if not provider.jwks_url:
        raise FieldError("body", "jwks_url", msg="A provider of kind jwks needs the address of its key set.")
    provider.hs256_secret_encrypted = ""


def _assign_secret(provider: IdentityProvider, secret: str | None) -> None:
    if secret is not None:
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise FieldError("body", "hs256_secret", msg=f"The secret must have at least {MIN_SECRET_BYTES} bytes.")
        provider.set_hs256_secret(secret)
    if not provider.hs256_secret_encrypted:
        raise FieldError("body", "hs256_secret", msg="A provider of kind hs256 needs its secret.")
    provider.jwks_url = ""


def _warm_up(provider: IdentityProvider) -> None:
    """Fetch the keys now, so that the first user does not wait; a failure is no reason to refuse the setting."""
    try:
        store_keys(provider=provider, document=fetch_keys(provider))
    except (OutgoingFailed, OutgoingRefused):
        return
