"""Puts things before a person, each cause once."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from common.errors import Conflict, FieldError
from common.ids import uuid7
from common.inserts import Rows, insert_together
from moderation.models import ReviewItem
from moderation.services.action_log import log_action

Status = ReviewItem.Status
REASON_CHARS_MAX = 1000


class AlreadyDecided(Conflict):
    """409: somebody has decided about this item."""

    code = "review_item_decided"
    detail = "This item was decided already."


def open_review_item(
    *,
    project_id: uuid.UUID,
    mode: str,
    kind: str,
    cause_key: str,
    title: str,
    subject: str = "",
    end_user_id: uuid.UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Open an item; False when this cause has one already, open or closed. One statement."""
    item = ReviewItem(
        id=uuid7(),
        project_id=project_id,
        mode=mode,
        kind=str(kind),
        cause_key=cause_key[:255],
        subject=subject[:255],
        end_user_id=end_user_id,
        title=title[:255],
        details=dict(details or {}),
    )
    return insert_together(Rows([item])) == 1


def decide_review_item(*, item: ReviewItem, status: str, actor: User, reason: str) -> None:
    """Approve or dismiss a pending item and log who did and why, both or neither.

    Raises: FieldError (422) without a reason, AlreadyDecided (409).
    """
    reason = reason.strip()
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise FieldError("body", "reason", msg=f"Say why, in at most {REASON_CHARS_MAX} characters.")
    with transaction.atomic():
        rows = ReviewItem.objects.for_project(item.project_id).filter(pk=item.pk, status=Status.PENDING)
        if not rows.update(status=status, note=reason, assigned_to=actor, resolved_at=Now()):
            raise AlreadyDecided()
        log_action(
            action=f"review.{status}",
            subject=str(item.pk),
            actor=actor,
            reason=reason,
            project_id=item.project_id,
            mode=item.mode,
            details={"kind": item.kind, "cause": item.cause_key, "title": item.title},
        )
