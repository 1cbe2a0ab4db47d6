"""Who acts, other than a developer: an end user of a project, or a project's server."""

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from common.modes import Mode
from projects.models import ApiKey, EndUser, Project


@dataclass(frozen=True)
class EndUserPrincipal:
    """request.user on end-user endpoints."""

    end_user: EndUser
    project: Project
    claims: dict[str, Any] = field(repr=False)
    test_only: bool = False
    is_authenticated: bool = True

    @property
    def pk(self) -> uuid.UUID:
        """The end user's id."""
        return self.end_user.pk

    @property
    def caller(self) -> str:
        """A name for idempotency keys and rate limits."""
        return f"end_user:{self.end_user.pk}"


@dataclass(frozen=True)
class LicenseHolderPrincipal:
    """request.user on the endpoints of a licence's page: whoever has its signed link."""

    license_id: uuid.UUID
    project: Project
    # None while it is not known: a purchase that is no licence yet.
    mode: Mode | None = None
    is_authenticated: bool = True

    @property
    def pk(self) -> uuid.UUID:
        """The licence's id, which is the purchase's."""
        return self.license_id

    @property
    def caller(self) -> str:
        """A name for idempotency keys and rate limits."""
        return f"license:{self.license_id}"


@dataclass(frozen=True)
class PublicCaller:
    """request.user on endpoints that anybody may call."""

    address: str
    is_authenticated: bool = False

    @property
    def caller(self) -> str:
        """A name for idempotency keys: two who share an address and a random key ask the same."""
        return f"address:{hashlib.sha256(self.address.encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class ServerPrincipal:
    """request.user on server-to-server endpoints; the key decides the mode."""

    api_key: ApiKey
    project: Project
    mode: Mode
    is_authenticated: bool = True

    @property
    def pk(self) -> uuid.UUID:
        """The key's id."""
        return self.api_key.pk

    @property
    def test_mode(self) -> bool:
        """Whether the key acts in test mode."""
        return self.api_key.is_test_mode

    @property
    def caller(self) -> str:
        """A name for idempotency keys and rate limits."""
        return f"key:{self.api_key.pk}"
