"""Takes licences back, and gives them back: by a refund or dispute, or by staff.

Invariant: what a bank decided is undone by the bank's own change of mind or by staff; what staff decided only by staff, so that
a licence which they gave back in spite of a refund is not taken by the same refund again.
"""

import uuid
from collections.abc import Sequence

from django.db import connection, transaction

from accounts.models import User
from common import clock
from common.errors import Conflict, FieldError
from licenses.models import License, LicenseState
from licenses.services.mails import mail_revoked
from licenses.services.removals import record_removals
from licenses.services.states import LicenseMoved, lock_license, move_license
from licenses.services.usernames import record_invitation
from moderation.services.action_log import log_action

STAFF = "staff"
REASON_CHARS_MAX = 1000
NOT_TOLD = "Found again after a restore or an import: its buyer was told then, or never will be."


class AlreadyRevoked(Conflict):
    """409: it is revoked."""

    code = "license_already_revoked"
    detail = "This licence was revoked already."


def follow_money(*, project_id: uuid.UUID, license_id: uuid.UUID, causes: Sequence[str], told: bool = True) -> bool:
    """Bring a licence in line with its payment: `causes` are the refunds and disputes that take it, oldest first.

    True when that changed it; `told` says whether the app hears of it. Call in the transaction that writes the refund or dispute.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("a licence follows its payment in the payment's transaction")
    row = lock_license(project_id=project_id, license_id=license_id)
    if row.taken_by != list(causes):
        row.taken_by = list(causes)
        row.save(update_fields=["taken_by"])
    because = next((cause for cause in causes if cause not in row.overruled), "")
    if because and row.state != LicenseState.REVOKED:
        _take_back(row, because=because, by=f"stripe:{because}", told=told)
        return True
    if not because and row.state == LicenseState.REVOKED and row.revoked_because != STAFF:
        _give_back(row, by=f"stripe:{row.payment_intent_id}", told=told)
        return True
    return False


def revoke_license(*, row: License, reason: str, actor: User) -> License:
    """Take a licence back for a reason, and its holder out of GitHub. Raises: FieldError (422), AlreadyRevoked (409)."""
    reason = checked_reason(reason)
    with transaction.atomic():
        held = lock_license(project_id=row.project_id, license_id=row.pk)
        if held.state == LicenseState.REVOKED:
            raise AlreadyRevoked()
        _take_back(held, because=STAFF, by=f"staff:{actor.email}")
        _log(held, "license.revoke", reason, actor)
    return held


def restore_license(*, row: License, reason: str, actor: User) -> License:
    """Give a revoked licence back for a reason, whatever refund or dispute took it so far.

    Raises: FieldError (422), LicenseMoved (409).
    """
    reason = checked_reason(reason)
    with transaction.atomic():
        held = lock_license(project_id=row.project_id, license_id=row.pk)
        if held.state != LicenseState.REVOKED:
            raise LicenseMoved("This licence is not revoked.")
        held.overruled = sorted({*held.overruled, *held.taken_by, held.revoked_because} - {STAFF})
        _give_back(held, by=f"staff:{actor.email}")
        _log(held, "license.restore", reason, actor)
    return held


def checked_reason(reason: str) -> str:
    """Return a reason as it is kept. Raises: FieldError (422)."""
    reason = reason.strip()
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise FieldError("body", "reason", msg=f"Say why, in at most {REASON_CHARS_MAX} characters.")
    return reason


def _take_back(row: License, *, because: str, by: str, told: bool = True) -> None:
    at = clock.now()
    move_license(row, "take_back", by=by, note=because, told=told, at=at, because=because)
    row.activations.all().delete()
    mail_revoked(row, cause=by, skipped_because="" if told else NOT_TOLD)
    record_removals(row, because=f"revoked:{int(at.timestamp() * 1000)}")


def _give_back(row: License, *, by: str, told: bool = True) -> None:
    """Give back what was there: a buyer whose username is known is invited again at once."""
    known, github_user_id = row.username, row.github_user_id
    move_license(row, "give_back", by=by, told=told)
    if known and github_user_id is not None:
        move_license(row, "take_username", by=by, note=known, told=told, username=known, at=clock.now())
        row.github_user_id = github_user_id
        row.save(update_fields=["github_user_id"])
        record_invitation(row, cause=by)


def _log(row: License, action: str, reason: str, actor: User) -> None:
    log_action(
        action=action,
        subject=str(row.pk),
        actor=actor,
        reason=reason,
        project_id=row.project_id,
        mode=row.mode,
        details={"product": row.product.code, "email": row.email, "github_username": row.username},
    )
