"""OAuth2 clients of developers. A client's secret is shown once; its hash is kept."""

import ipaddress
import secrets
from urllib.parse import urlsplit

from allauth.idp.oidc.models import Client
from django.db.models import QuerySet

from accounts.models import User
from accounts.oidc import SUPPORTED_SCOPES
from common.errors import FieldError, NotFound
from common.strict_jwt import is_storable

MAX_CLIENTS = 50


class ClientNotFound(NotFound):
    """404: no such client, or somebody else's."""

    code = "client_not_found"
    detail = "OAuth2 client not found."


def clients_of(user: User) -> "QuerySet[Client]":
    """Return the clients that a developer owns, newest first."""
    return Client.objects.filter(owner=user).order_by("-created_at", "pk")


def create_client(
    *, owner: User, name: str, client_type: str, redirect_uris: list[str], grant_types: list[str] | None
) -> tuple[Client, str | None]:
    """Register a client; return it with its secret, which a public client does not have. Raises FieldError (422)."""
    for position, uri in enumerate(redirect_uris):
        if not is_redirect_uri(uri):
            raise FieldError(
                "body",
                "redirect_uris",
                position,
                msg="Give an https address, or http on a loopback address, without a fragment.",
            )
    confidential = client_type == Client.Type.CONFIDENTIAL
    if not grant_types:
        grant_types = ["authorization_code", "refresh_token"] if redirect_uris else ["client_credentials"]
    if "client_credentials" in grant_types and not confidential:
        raise FieldError("body", "grant_types", msg="A public client has no credentials of its own.")
    if "authorization_code" in grant_types and not redirect_uris:
        raise FieldError("body", "redirect_uris", msg="The authorization-code grant needs a redirect address.")
    if clients_of(owner).count() >= MAX_CLIENTS:
        raise FieldError("body", "name", msg=f"At most {MAX_CLIENTS} clients per developer; delete one first.")
    client = Client(name=name, type=client_type, owner=owner, response_types="code")
    client.set_redirect_uris(redirect_uris)
    client.set_grant_types(list(dict.fromkeys(grant_types)))
    client.set_scopes(list(SUPPORTED_SCOPES))
    client.set_default_scopes(["openid"])
    secret = secrets.token_urlsafe(32) if confidential else None
    client.set_secret(secret or secrets.token_urlsafe(32))
    client.save()
    return client, secret


def delete_client(*, owner: User, client_id: str) -> None:
    """Delete a client and, with it, its tokens. Raises ClientNotFound (404)."""
    if not is_storable(client_id):
        raise ClientNotFound
    deleted, _ = Client.objects.filter(owner=owner, pk=client_id).delete()
    if not deleted:
        raise ClientNotFound


def is_redirect_uri(uri: str) -> bool:
    """Say whether a redirect address may be registered: https anywhere, http on this machine only."""
    if any(not 0x21 <= ord(char) <= 0x7E for char in uri) or any(char in uri for char in "*\\#"):
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
