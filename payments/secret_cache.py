"""The signing secrets that verify deliveries, kept in memory for a few seconds so that a delivery costs no query for them.

Invariant: an entry lives at most WEBHOOK_SECRET_CACHE_SECONDS, also one that says "nothing configured", so that a saved, rolled or
deactivated secret holds everywhere within that time, and at once in the process that saved it.
"""

import datetime as dt
import logging
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from django.conf import settings
from django.utils import timezone

from common.encryption import DecryptionError
from payments.models import StripeCredentials
from payments.services.shared_webhook import PROJECTS_MAX

logger = logging.getLogger(__name__)

ENTRIES_MAX = 4096


@dataclass(frozen=True)
class Verifier:
    """The secrets of one project and mode; a rolled one carries its end."""

    project_id: uuid.UUID
    mode: str
    _secrets: tuple[tuple[str, dt.datetime | None], ...] = field(repr=False)

    def secrets(self) -> list[str]:
        """Return the secrets that verify at this moment."""
        now = timezone.now()
        return [secret for secret, until in self._secrets if until is None or now < until]


_Key = tuple[uuid.UUID, str] | None
_entries: OrderedDict[_Key, tuple[float, list[Verifier]]] = OrderedDict()
_lock = threading.Lock()


def verifier_of(project_id: uuid.UUID, mode: str) -> Verifier | None:
    """Return who verifies for a project and mode; None when nothing usable is configured. No query on a warm cache.

    Raises: DecryptionError, when the secret's encryption key is missing.
    """
    found = _cached((project_id, mode))
    return found[0] if found else None


def shared_verifiers() -> list[Verifier]:
    """Return who verifies on the shared address: the projects that opted in, at most 50. No query on a warm cache."""
    return _cached(None)


def forget_secrets(project_id: uuid.UUID) -> None:
    """Drop what this process remembers of a project, after its secrets changed."""
    with _lock:
        for key in [key for key in _entries if key is None or key[0] == project_id]:
            del _entries[key]


def _cached(key: _Key) -> list[Verifier]:
    now = time.monotonic()
    with _lock:
        entry = _entries.get(key)
        if entry is not None and entry[0] > now:
            return entry[1]
    found = _load_shared() if key is None else _load(*key)
    with _lock:
        # Counted from before the query: what it read may have been replaced while it ran.
        _entries[key] = (now + settings.WEBHOOK_SECRET_CACHE_SECONDS, found)
        _entries.move_to_end(key)
        while len(_entries) > ENTRIES_MAX:
            _entries.popitem(last=False)
    return found


def _load(project_id: uuid.UUID, mode: str) -> list[Verifier]:
    rows = (
        StripeCredentials.objects.for_project(project_id).usable().filter(mode=mode, project__deleted_at__isnull=True)
    )
    return [verifier for row in rows if (verifier := _verifier(row)) is not None]


def _load_shared() -> list[Verifier]:
    rows = StripeCredentials.objects.usable().filter(project__shared_webhook=True, project__deleted_at__isnull=True)
    found = []
    for row in rows.order_by("project_id", "mode")[: PROJECTS_MAX * 2]:
        try:
            verifier = _verifier(row)
        except DecryptionError as error:
            # One project's unreadable secret is no reason to refuse the others' events.
            logger.error("webhook_secret_unreadable project=%s error=%s", row.project_id, error)
            continue
        if verifier is not None:
            found.append(verifier)
    return found


def _verifier(row: StripeCredentials) -> Verifier | None:
    secrets: list[tuple[str, dt.datetime | None]] = []
    if row.webhook_secret:
        secrets.append((row.get_secret("webhook_secret"), None))
    if row.previous_webhook_secret and row.previous_webhook_secret_expires_at:
        secrets.append((row.get_secret("previous_webhook_secret"), row.previous_webhook_secret_expires_at))
    return Verifier(row.project_id, row.mode, tuple(secrets)) if secrets else None
