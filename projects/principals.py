"""Who acts, other than a developer: an end user of a project, or a project's server."""

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
