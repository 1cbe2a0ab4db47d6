"""Moves licences: one transition, its stamp, a line of history and the app's event together, or none of them.

Invariant: every change of a licence's state goes through `move_license`, inside a transaction that holds the licence's row.
"""

import uuid
from typing import Any

from django.db import connection
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from common import clock
from common.errors import Conflict, NotFound
from licenses.models import License, LicenseChange, LicenseState
from licenses.services.shapes import render_license
from notifications.services.outbox import record_effect

BUYER, GITHUB, SYSTEM = "buyer", "github", "system"
APP_EVENT = "app_event"
# What the app is told of, by the transition that causes it.
EVENTS = {
    "issue": "license.purchased",
    "take_username": "license.username_submitted",
    "note_invited": "license.invited",
    "note_member": "license.activated",
    "take_back": "license.revoked",
    "give_back": "license.restored",
}


class LicenseNotFound(NotFound):
    """404: no such licence, or not the caller's."""

    code = "license_not_found"
    detail = "There is no such licence."


class LicenseRevoked(Conflict):
    """409: the licence was taken back."""

    code = "license_revoked"
    detail = "This licence was revoked."


class LicenseMoved(Conflict):
    """409: the licence's state does not allow this, or somebody else has just changed it."""

    code = "license_moved"
    detail = "The licence has moved on meanwhile. Look at where it stands now."


def lock_license(*, project_id: uuid.UUID, license_id: uuid.UUID) -> License:
    """Return a licence with its row held until the transaction ends. Raises: LicenseNotFound (404)."""
    rows = License.objects.for_project(project_id).select_related("product", "end_user")
    found = rows.select_for_update(of=("self",)).filter(pk=license_id).first()
    if found is None:
        raise LicenseNotFound()
    return found


def move_license(row: License, change: str, *, by: str, note: str = "", told: bool = True, **values: Any) -> License:
    """Carry out one transition, save it, and write its history and, when the app is to be told, event. Raises: LicenseMoved (409).

    `values` are the transition's own.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("a licence moves in a transaction")
    before = row.state
    try:
        getattr(row, change)(by=by[:255], **values)
        row.save()
    except (TransitionNotAllowed, ConcurrentTransition):
        raise LicenseMoved() from None
    note_change(row, change, before=before, by=by, note=note, told=told)
    return row


def note_change(row: License, change: str, *, before: str, by: str, note: str = "", told: bool = True) -> None:
    """Write a line of history, and tell the app of it."""
    line = LicenseChange.objects.create(
        project_id=row.project_id,
        mode=row.mode,
        license=row,
        change=change,
        before=before,
        after=row.state,
        by=by[:255],
        note=note[:1000],
        at=clock.now(),
    )
    event_type = EVENTS.get(change)
    if event_type and told:
        record_effect(
            project_id=row.project_id,
            mode=row.mode,
            kind=APP_EVENT,
            effect_key=f"app:{event_type}:{line.pk}",
            payload={"type": event_type, "data": render_license(row)},
            end_user_id=row.end_user_id,
            cause=by[:255],
        )


def is_current(row: License, *, revision: int) -> bool:
    """Say whether an invitation of this revision is still to be sent."""
    return bool(row.revision == revision and row.state == LicenseState.USERNAME_SUBMITTED)
