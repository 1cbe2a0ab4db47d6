"""Sends a mail once more because its recipient asks for it: a mail of its own, in the action log."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts.models import User
from licenses.services.mails import LICENSE_MAIL
from moderation.services.action_log import log_action
from notifications.models import OutboxRow
from notifications.services.mail import MAIL, NO_ADDRESS
from notifications.services.outbox import record_effect

Status = OutboxRow.Status
KINDS = (MAIL, LICENSE_MAIL)


def resendable(rows: QuerySet[OutboxRow]) -> QuerySet[OutboxRow]:
    """Keep mails that were sent, or that nobody could be sent to then. What was skipped for a reason of its own stays unsent."""
    return rows.filter(Q(status=Status.DONE) | Q(status=Status.SKIPPED, error=NO_ADDRESS), kind__in=KINDS)


def resend_mails(*, rows: Iterable[OutboxRow], actor: User, reason: str = "") -> int:
    """Record each mail again, to where its recipient is billed now (a licence's: to its buyer); returns how many.

    A licence's mail that is not true any more is skipped when it is to be sent. One that waits to be sent again already is left
    out, so that pressing twice sends one.
    """
    return sum(_resend(row, actor, reason) for row in rows)


def _resend(row: OutboxRow, actor: User, reason: str) -> bool:
    with transaction.atomic():
        # Whoever else presses now waits here, and then finds this one's mail.
        locked = OutboxRow.objects.for_project(row.project_id).select_for_update(no_key=True).get(pk=row.pk)
        before = f"{MAIL}:resent:{locked.pk}:"
        earlier = OutboxRow.objects.for_project(row.project_id).filter(mode=row.mode, effect_key__startswith=before)
        if earlier.filter(status__in=[Status.PENDING, Status.PROCESSING]).exists():
            return False
        recorded = record_effect(
            project_id=locked.project_id,
            mode=locked.mode,
            kind=locked.kind,
            effect_key=f"{before}{earlier.count() + 1}",
            payload=locked.payload,
            end_user_id=locked.end_user_id,
            cause=f"resent by {actor.email}",
        )
        log_action(
            action="mail.resend",
            subject=str(locked.pk),
            actor=actor,
            reason=reason,
            project_id=locked.project_id,
            mode=locked.mode,
            details={"effect_key": locked.effect_key, "template": locked.payload.get("template")},
        )
        return recorded
