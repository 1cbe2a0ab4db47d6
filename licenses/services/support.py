"""What staff and developers do to a licence by hand. Every one of them is in the action log, with who and why."""

from django.db import transaction

from accounts.models import User
from licenses.models import License, LicenseState
from licenses.services.mails import mail_again
from licenses.services.revoking import checked_reason
from licenses.services.states import LicenseRevoked, lock_license
from licenses.services.usernames import invite_again, submit_username
from moderation.services.action_log import log_action


def resend_mail(*, row: License, reason: str, actor: User) -> str:
    """Send the mail that fits where a licence stands again; returns its name. Raises: FieldError (422), LicenseRevoked (409)."""
    reason = checked_reason(reason)
    with transaction.atomic():
        held = lock_license(project_id=row.project_id, license_id=row.pk)
        if held.state == LicenseState.REVOKED:
            raise LicenseRevoked()
        template = mail_again(held, cause=f"staff:{actor.email}")
        _log(held, "license.resend_mail", reason, actor, mail=template)
    return template


def resend_link(*, row: License) -> bool:
    """Mail the buyer a new link, as they asked for; False when the licence was revoked."""
    with transaction.atomic():
        held = lock_license(project_id=row.project_id, license_id=row.pk)
        if held.state == LicenseState.REVOKED:
            return False
        mail_again(held, cause="buyer")
        return True


def change_username(*, row: License, username: str, reason: str, actor: User) -> License:
    """Let another username in instead. Raises: FieldError (422), LicenseRevoked (409)."""
    reason = checked_reason(reason)
    with transaction.atomic():
        before = row.username
        moved = submit_username(
            project_id=row.project_id,
            license_id=row.pk,
            username=username,
            replaces=True,
            by=f"staff:{actor.email}",
        )
        _log(moved, "license.change_username", reason, actor, before=before, after=username)
    return moved


def invite_by_staff(*, row: License, reason: str, actor: User) -> License:
    """Have the same person invited again; whoever is still in keeps what they have.

    Raises: FieldError (422), LicenseRevoked, LicenseMoved (409).
    """
    reason = checked_reason(reason)
    with transaction.atomic():
        moved = invite_again(project_id=row.project_id, license_id=row.pk, by=f"staff:{actor.email}")
        _log(moved, "license.invite_again", reason, actor)
    return moved


def _log(row: License, action: str, reason: str, actor: User, **details: str) -> None:
    log_action(
        action=action,
        subject=str(row.pk),
        actor=actor,
        reason=reason,
        project_id=row.project_id,
        mode=row.mode,
        details={"product": row.product.code, "email": row.email, "github_username": row.username, **details},
    )
