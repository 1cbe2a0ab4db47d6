"""Records what a change at Stripe causes outside our own rows, each once by its key (docs/adr/0014-effects-and-reviews.md)."""

import uuid
from collections.abc import Mapping
from typing import Any

from notifications.services.outbox import record_effect
from payments.services.ownership import Cause, Scope

MAIL, APP_EVENT, ALERT = "mail", "app_event", "alert"
NO_EFFECTS = "Found again after a restore or an import: its effects belong to the past."
# No project has an endpoint of its own that listens yet. The row is the record of what happened, which one can be fed from later.
NO_LISTENER = "No endpoint listens."


def cause_effect(
    scope: Scope,
    cause: Cause,
    *,
    kind: str,
    effect_key: str,
    payload: Mapping[str, Any],
    end_user_id: uuid.UUID | None = None,
    lane: str = "",
) -> bool:
    """Record an effect in the current transaction; False when it was recorded before."""
    return record_effect(
        project_id=scope.project_id,
        mode=scope.mode,
        kind=kind,
        effect_key=effect_key,
        payload=payload,
        end_user_id=end_user_id,
        cause=cause.event_id or cause.source,
        lane=lane,
        skipped_because=NO_EFFECTS if cause.without_effects else NO_LISTENER if kind == APP_EVENT else "",
    )
