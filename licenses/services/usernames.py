"""Takes the GitHub username that a buyer gives: one per licence at a time, however many tabs send one.

Invariant: whoever holds the licence's row first wins; the other is told which name was taken. GitHub is asked afterwards, by the
outbox, so that nobody waits for it here.
"""

import uuid
from typing import Any

from django.db import transaction

from common import clock
from common.errors import Conflict, FieldError
from common.ids import uuid7
from licenses.models import License, LicenseState
from licenses.services.allowance import use_allowance
from licenses.services.github import clean_username
from licenses.services.progress import GITHUB_INVITE, check_key, invitation_key, is_under_way
from licenses.services.states import BUYER, LicenseMoved, LicenseRevoked, lock_license, move_license
from notifications.models import OutboxRow
from notifications.services.outbox import record_effect

FIELD = "github_username"


class UsernameGiven(Conflict):
    """409: another username was given already, perhaps in another tab."""

    code = "username_already_submitted"
    detail = "Another username was given for this licence already."
    action = "change_username"


def submit_username(
    *,
    project_id: uuid.UUID,
    license_id: uuid.UUID,
    username: str,
    replaces: bool = False,
    revision: int | None = None,
    by: str = BUYER,
) -> License:
    """Take a username and have it invited; the same one again changes nothing while GitHub is being asked or has taken it.

    Another one is taken only when it `replaces` what was given, as it was at `revision` when that is named.
    Raises: FieldError (422), LicenseNotFound (404), LicenseRevoked, UsernameGiven (409), InvitationsUsedUp (429).
    """
    name = clean_username(username)
    if name is None:
        raise FieldError(
            "body", FIELD, msg="Give a GitHub username: letters, digits and single hyphens, at most 39 characters."
        )
    with transaction.atomic():
        row = lock_license(project_id=project_id, license_id=license_id)
        if row.state == LicenseState.REVOKED:
            raise LicenseRevoked()
        if row.state != LicenseState.PENDING:
            is_same = row.username.casefold() == name.casefold()
            if is_same and row.state == LicenseState.USERNAME_SUBMITTED and not is_under_way(row):
                # It came to nothing, and nobody would ask any more.
                return have_invited(row, by=by)
            if is_same and not row.invitation_ended_as:
                return row
            if not replaces or (revision is not None and revision != row.revision):
                raise UsernameGiven(_taken(row), extra={FIELD: row.username})
        return _take(row, name, by=by)


def invite_again(
    *, project_id: uuid.UUID, license_id: uuid.UUID, revision: int | None = None, by: str = BUYER
) -> License:
    """Have the same person invited once more, after the invitation expired, was declined, or could not be sent.

    Somebody who has access keeps it: GitHub is asked whether they are still in, and only who is not is invited. Pressing twice
    invites once. Raises: LicenseNotFound (404), LicenseRevoked, LicenseMoved (409), InvitationsUsedUp (429).
    """
    with transaction.atomic():
        row = lock_license(project_id=project_id, license_id=license_id)
        if row.state == LicenseState.REVOKED:
            raise LicenseRevoked()
        if revision is not None and revision != row.revision:
            # It was asked for just now.
            return row
        if row.state == LicenseState.USERNAME_SUBMITTED:
            return row if is_under_way(row) else have_invited(row, by=by)
        if row.state == LicenseState.PENDING or not row.username:
            raise LicenseMoved()
        if by == BUYER and not row.invitation_ended_as:
            raise LicenseMoved("The invitation is still open. Accept it at GitHub.")
        if row.state == LicenseState.ACTIVE:
            _record_check(row, cause=by)
            return row
        return have_invited(row, by=by)


def have_invited(row: License, *, by: str) -> License:
    """Have whoever a licence is for invited anew. Call with its row held."""
    return _take(row, row.username, by=by, github_user_id=row.github_user_id)


def _take(row: License, name: str, *, by: str, **kept: Any) -> License:
    if by == BUYER:
        use_allowance(row)
    move_license(row, "take_username", by=by, note=name, username=name, at=clock.now())
    if kept.get("github_user_id"):
        # Whoever has the name today may be somebody else: the same person is invited again.
        row.github_user_id = kept["github_user_id"]
        row.save(update_fields=["github_user_id"])
    record_invitation(row, cause=by)
    return row


def record_invitation(row: License, *, cause: str) -> None:
    """Record that GitHub is to be asked for the username of a licence's revision."""
    record_effect(
        project_id=row.project_id,
        mode=row.mode,
        kind=GITHUB_INVITE,
        effect_key=invitation_key(row),
        payload={"license": str(row.pk), "revision": row.revision},
        end_user_id=row.end_user_id,
        cause=cause,
    )


def _record_check(row: License, *, cause: str) -> None:
    """Record that GitHub is to be asked whether somebody is still in, unless that is under way."""
    rows = OutboxRow.objects.for_project(row.project_id).filter(mode=row.mode, effect_key__startswith=check_key(row))
    if rows.unfinished().exists():
        return
    record_effect(
        project_id=row.project_id,
        mode=row.mode,
        kind=GITHUB_INVITE,
        effect_key=f"{check_key(row)}{uuid7()}",
        payload={"license": str(row.pk), "revision": row.revision, "check": True},
        end_user_id=row.end_user_id,
        cause=cause,
    )


def _taken(row: License) -> str:
    return f"{row.username} was given for this licence already. Change it if that is not you."
