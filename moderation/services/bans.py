"""Writes down who banned an end user, who let them in again, and why."""

from moderation.services.action_log import log_action
from projects.bans import BanChange


def log_ban(change: BanChange) -> None:
    """Append the line of a ban or of its end, in its transaction."""
    log_action(
        action="end_user.ban" if change.banned else "end_user.unban",
        subject=str(change.end_user.pk),
        actor=change.actor,
        reason=change.reason,
        project_id=change.end_user.project_id,
    )
