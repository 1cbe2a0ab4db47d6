"""Puts effects that could not be carried out before a person."""

from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from notifications.models import OutboxRow


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
