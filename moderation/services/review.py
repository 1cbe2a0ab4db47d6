"""Puts things before a person, each cause once."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, Unpack

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import User
from common import clock
from common.errors import Conflict, FieldError
from common.ids import uuid7
from common.inserts import Rows, insert_together
from moderation.models import ReviewItem, ReviewNote
from moderation.services.action_log import log_action

Status = ReviewItem.Status
REASON_CHARS_MAX = 1000
NOTE_CHARS_MAX = 4000
# What a rule finds again and again is put before a person this often at most.
AGAIN_AFTER = dt.timedelta(hours=24)


class AlreadyDecided(Conflict):
    """409: somebody has decided about this item."""

    code = "review_item_decided"
    detail = "This item was decided already."


class ItemDetails(TypedDict):
    """What may be known besides."""

    end_user_id: NotRequired[uuid.UUID | None]
    details: NotRequired[Mapping[str, Any]]


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


def open_unless_open(
    *, project_id: uuid.UUID, mode: str, kind: str, subject: str, title: str, **more: Unpack[ItemDetails]
) -> bool:
    """Open an item for what a rule finds about a subject; False while one waits, or was opened within a day. Two statements.

    Of two rules that look at once the second loses by the key, which is the subject's and the day's.
    """
    moment = clock.now()
    rows = ReviewItem.objects.for_project(project_id).filter(mode=mode, kind=kind, subject=subject[:255])
    if rows.filter(Q(status=Status.PENDING) | Q(created_at__gt=moment - AGAIN_AFTER)).exists():
        return False
    return open_review_item(
        project_id=project_id,
        mode=mode,
        kind=kind,
        cause_key=f"{kind}:{subject}:{moment:%Y-%m-%d}",
        title=title,
        subject=subject,
        **more,
    )


def assign_review_item(*, item: ReviewItem, to: User | None, actor: User, reason: str = "") -> None:
    """Give a pending item to somebody, or to nobody, and log it. Raises: AlreadyDecided (409)."""
    with transaction.atomic():
        rows = ReviewItem.objects.for_project(item.project_id).filter(pk=item.pk, status=Status.PENDING)
        if not rows.update(assigned_to=to):
            raise AlreadyDecided()
        _log(item, "review.assign", actor, reason=reason.strip(), details={"to": to.email if to else None})


def note_review_item(*, item: ReviewItem, text: str, actor: User) -> ReviewNote:
    """Write a note beside an item, decided or not. Raises: FieldError (422)."""
    text = text.strip()
    if not text or len(text) > NOTE_CHARS_MAX:
        raise FieldError("body", "text", msg=f"Write something, in at most {NOTE_CHARS_MAX} characters.")
    with transaction.atomic():
        note = ReviewNote.objects.create(
            project_id=item.project_id, item=item, author=actor, author_label=actor.email, text=text
        )
        _log(item, "review.note", actor, details={"note": str(note.pk)})
    return note


def checked_reason(reason: str) -> str:
    """Return a reason as it is kept. Raises: FieldError (422)."""
    reason = reason.strip()
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise FieldError("body", "reason", msg=f"Say why, in at most {REASON_CHARS_MAX} characters.")
    return reason


def decide_review_item(*, item: ReviewItem, status: str, actor: User, reason: str) -> None:
    """Approve or dismiss a pending item and log who did and why, both or neither.

    Raises: FieldError (422) without a reason, AlreadyDecided (409).
    """
    reason = checked_reason(reason)
    with transaction.atomic():
        rows = ReviewItem.objects.for_project(item.project_id).filter(pk=item.pk, status=Status.PENDING)
        if not rows.update(status=status, note=reason, assigned_to=actor, resolved_at=Now()):
            raise AlreadyDecided()
        details = {"kind": item.kind, "cause": item.cause_key, "title": item.title}
        _log(item, f"review.{status}", actor, reason=reason, details=details)


def _log(item: ReviewItem, action: str, actor: User, *, details: Mapping[str, Any], reason: str = "") -> None:
    log_action(
        action=action,
        subject=str(item.pk),
        actor=actor,
        reason=reason,
        project_id=item.project_id,
        mode=item.mode,
        details=details,
    )
