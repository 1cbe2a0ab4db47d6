"""Who changed a project's mails, alerts and webhook endpoints: told to an app above, which writes it down.

Invariant: no secret, and of an address that may hold a token its host only.
"""

import uuid
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from accounts.models import User


class ChangeLog(Protocol):
    """Writes one line down. Called in the transaction of the change."""

    def __call__(
        self,
        *,
        action: str,
        subject: str,
        actor: User | None,
        project_id: uuid.UUID | None,
        mode: str,
        details: Mapping[str, Any],
    ) -> object:
        """Write it."""


_logs: list[ChangeLog] = []


def register_change_log(log: ChangeLog) -> None:
    """Say who writes changes down; once per process, in `AppConfig.ready`."""
    if log not in _logs:
        _logs.append(log)


def log_change(
    *,
    action: str,
    subject: object,
    actor: User | None,
    project_id: uuid.UUID | None,
    mode: str = "",
    **details: Any,
) -> None:
    """Have a change written down; nothing when nobody is named, since whoever then calls writes it down with their reason."""
    if actor is None:
        return
    for log in _logs:
        log(action=action, subject=str(subject), actor=actor, project_id=project_id, mode=mode, details=details)


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what differs, with what it was and what it is."""
    return {name: [before.get(name), value] for name, value in after.items() if before.get(name) != value}


def host_of(url: str) -> str:
    """Name an address without its path and query, which may hold a token; "" for none."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if url else ""
