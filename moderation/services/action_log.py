"""Writes down what was done to money, access or people."""

import uuid
from collections.abc import Mapping
from typing import Any

from accounts.models import User
from moderation.models import ActionLog

SYSTEM = "system"


def log_action(
    *,
    action: str,
    subject: str,
    actor: User | None,
    reason: str = "",
    project_id: uuid.UUID | None = None,
    mode: str = "",
    details: Mapping[str, Any] | None = None,
) -> ActionLog:
    """Append one line; call it in the transaction of the action, so that neither is without the other."""
    return ActionLog.objects.create(
        action=action,
        subject=subject[:255],
        actor_id=actor.pk if actor else None,
        actor_label=actor.email if actor else SYSTEM,
        reason=reason,
        project_id=project_id,
        mode=mode,
        details=dict(details or {}),
    )
