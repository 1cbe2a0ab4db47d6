"""API keys of a project's servers. The key itself is shown once; its SHA-256 and first eight characters are kept."""

import hashlib
import secrets
import uuid

from accounts.models import User
from common.errors import NotFound
from projects.models import ApiKey, Project

KEY_PREFIX = "ak_"
# 24 random bytes are exactly 32 URL-safe characters: 192 bits.
KEY_BYTES = 24
SHOWN_CHARACTERS = 8


class ApiKeyNotFound(NotFound):
    """404: no such key in this project."""

    code = "api_key_not_found"
    detail = "API key not found."


def create_api_key(*, project: Project, created_by: User, name: str, is_test_mode: bool) -> tuple[ApiKey, str]:
    """Make a key; return its row and the key itself."""
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    row = ApiKey.objects.create(
        project=project,
        name=name,
        key_hash=hashlib.sha256(key.encode()).hexdigest(),
        key_prefix=key[:SHOWN_CHARACTERS],
        is_test_mode=is_test_mode,
        created_by=created_by,
    )
    return row, key


def delete_api_key(*, project: Project, api_key_id: uuid.UUID) -> None:
    """Delete a key; it is refused from the next request on. Raises ApiKeyNotFound (404)."""
    deleted, _ = ApiKey.objects.for_project(project).filter(pk=api_key_id).delete()
    if not deleted:
        raise ApiKeyNotFound
