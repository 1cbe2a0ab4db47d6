"""Records what a change at Stripe causes outside our own rows, each once by its key (docs/adr/0014-effects-and-reviews.md)."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.encryption import DecryptionError
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, EffectWaits, effect_row, record_effect
from payments.services.inbox import CONFIG_ERROR
from payments.services.ownership import Cause, Scope
from payments.stripe_api import StripeKeyRejected, StripeNotConfigured, StripePermissionMissing
from projects.models import Project

MAIL, APP_EVENT, ALERT = "mail", "app_event", "alert"
NO_EFFECTS = "Found again after a restore or an import: its effects belong to the past."
# No project has an endpoint of its own that listens yet. The row is the record of what happened, which one can be fed from later.
NO_LISTENER = "No endpoint listens."
PROJECT_DELETED = "The project was deleted."
WAITS = "This waits for a Stripe key that works."


def cause_effect(
    scope: Scope,
    cause: Cause,
    *,
    kind: str,
    effect_key: str,
    payload: Mapping[str, Any],
    end_user_id: uuid.UUID | None = None,
    lane: str = "",
    skipped_because: str = "",
) -> bool:
    """Record an effect in the current transaction; False when it was recorded before.

    With `skipped_because` its key is taken and it will not happen: it is too late to be of use.
    """
    return record_effect(
        payload=payload,
        end_user_id=end_user_id,
        lane=lane,
        **_facts(scope, cause, kind=kind, effect_key=effect_key, skipped_because=skipped_because),
    )


def effect_of(
    scope: Scope,
    cause: Cause,
    *,
    kind: str,
    effect_key: str,
    payload: Mapping[str, Any],
    end_user_id: uuid.UUID | None = None,
    skipped_because: str = "",
) -> OutboxRow:
    """Return an effect's row unsaved, to be inserted in the current transaction (common/inserts.py): a taken key wins."""
    return effect_row(
        payload=payload,
        end_user_id=end_user_id,
        **_facts(scope, cause, kind=kind, effect_key=effect_key, skipped_because=skipped_because),
    )


@contextmanager
def waiting_for_keys(row: OutboxRow) -> Iterator[None]:
    """Let an effect that calls Stripe wait for the configuration to be mended, as events do; saving it wakes the effect.

    Raises: EffectWaits when the key is missing, rejected or unreadable, EffectSkipped when nobody will mend it any more.
    """
    try:
        yield
    except (StripeNotConfigured, StripeKeyRejected, DecryptionError) as error:
        if not Project.objects.existing().filter(pk=row.project_id).exists():
            raise EffectSkipped(PROJECT_DELETED) from None
        # What lacks one permission says nothing about others of its kind.
        alone = isinstance(error, StripePermissionMissing)
        raise EffectWaits(CONFIG_ERROR, f"{error.detail} {WAITS}", holds_its_kind=not alone) from None


def _facts(scope: Scope, cause: Cause, *, kind: str, effect_key: str, skipped_because: str) -> dict[str, Any]:
    if cause.without_effects:
        skipped_because = NO_EFFECTS
    elif kind == APP_EVENT:
        skipped_because = skipped_because or NO_LISTENER
    return {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "kind": kind,
        "effect_key": effect_key,
        "cause": cause.event_id or cause.source,
        "skipped_because": skipped_because,
    }
