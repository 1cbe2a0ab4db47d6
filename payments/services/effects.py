"""Records what a change at Stripe causes outside our own rows, each once by its key (docs/adr/0014-effects-and-reviews.md)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack

from common.encryption import DecryptionError
from notifications.event_types import APP_EVENT as APP_EVENT
from notifications.models import OutboxRow
from notifications.services.outbox import (
    AccountEffect,
    Effect,
    EffectSkipped,
    EffectWaits,
    effect_row,
    record_effect,
)
from payments.services.inbox import CONFIG_ERROR
from payments.services.ownership import Cause, Scope
from payments.stripe_api import StripeKeyRejected, StripeNotConfigured, StripePermissionMissing
from projects.models import Project

MAIL, ALERT = "mail", "alert"
NO_EFFECTS = "Found again after a restore or an import: its effects belong to the past."
PROJECT_DELETED = "The project was deleted."
WAITS = "This waits for a Stripe key that works."


def cause_effect(scope: Scope, cause: Cause, **effect: Unpack[Effect]) -> bool:
    """Record an effect in the current transaction; False when it was recorded before."""
    return record_effect(**_caused(scope, cause, effect))


def effect_of(scope: Scope, cause: Cause, **effect: Unpack[Effect]) -> OutboxRow:
    """Return an effect's row unsaved, to be inserted in the current transaction (common/inserts.py): a taken key wins."""
    return effect_row(**_caused(scope, cause, effect))


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


def _caused(scope: Scope, cause: Cause, effect: Effect) -> AccountEffect:
    skipped_because = NO_EFFECTS if cause.without_effects else effect.get("skipped_because", "")
    return {
        **effect,
        "project_id": scope.project_id,
        "mode": scope.mode,
        "cause": cause.event_id or cause.source,
        "skipped_because": skipped_because,
    }
