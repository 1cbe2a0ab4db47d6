"""Effects that could not be carried out: put before a person, and carried out again when one says so."""

from collections.abc import Iterable

from django.db import transaction

from accounts.models import User
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import open_review_item
from notifications.models import OutboxRow
from notifications.services.running import replay_rows


def review_dead_effect(row: OutboxRow) -> None:
    """Open an item for a dead letter: one each time that it dies, so that a replay in vain is seen as well."""
    open_review_item(
        project_id=row.project_id,
        mode=row.mode,
        kind=ReviewItem.Kind.DEAD_LETTER,
        cause_key=f"outbox:{row.pk}:{row.lease_token}",
        title=f"{row.kind} could not be carried out: {row.effect_key}",
        subject=str(row.pk),
        end_user_id=row.end_user_id,
        details={"kind": row.kind, "effect_key": row.effect_key, "cause": row.cause, "error": row.error},
    )


def replay_effects(*, rows: Iterable[OutboxRow], actor: User | None, reason: str = "") -> int:
    """Make dead letters due again and log it for each; one that somebody else replayed meanwhile is left out. Returns how many."""
    count = 0
    for row in rows:
        with transaction.atomic():
            if not replay_rows(OutboxRow.objects.for_project(row.project_id).filter(pk=row.pk)):
                continue
            count += 1
            log_action(
                action="outbox.replay",
                subject=str(row.pk),
                actor=actor,
                reason=reason,
                project_id=row.project_id,
                mode=row.mode,
                details={"kind": row.kind, "effect_key": row.effect_key, "error": row.error},
            )
    return count
