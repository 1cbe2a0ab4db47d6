"""End users: they appear with their first valid token, and can be banned."""

import datetime as dt
import uuid

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from common.errors import Conflict, FieldError, NotFound
from common.strict_jwt import is_identifier, is_storable
from projects.appearance import APPEARANCE_COLUMNS, announce_appearance
from projects.bans import BanChange, announce_ban, announce_ban_change
from projects.models import EndUser, EndUserQuerySet, Project

SEEN_EVERY = dt.timedelta(days=1)
BAN_REASON_CHARS_MAX = 1000


class EndUserNotFound(NotFound):
    """404: no such end user in this project."""

    code = "end_user_not_found"
    detail = "End user not found."


class EndUserGone(Conflict):
    """409: nothing is known any more about who this was."""

    code = "end_user_anonymised"
    detail = "This end user was anonymised and cannot be let in again."


def ensure_end_user(*, project: Project, external_id: str, email: str | None, mode: str) -> EndUser:
    """Return the end user whom the app knows by this id, making the row when it is missing. Safe under races.

    `mode` is the one in which they come now; what follows from a first appearance there is planned with it.
    """
    rows = EndUser.objects.by_external_id(project, external_id)
    found = rows.first()
    if isinstance(found, EndUser):
        return note_visit(end_user=found, email=email, mode=mode)
    now = timezone.now()
    made = EndUser(project=project, external_id=external_id, email=email, last_seen_at=now)
    setattr(made, APPEARANCE_COLUMNS[mode], now)
    with transaction.atomic():
        EndUser.objects.bulk_create([made], ignore_conflicts=True)
        # Whoever won the race made the row that counts.
        end_user: EndUser = rows.get()
        if end_user.pk == made.pk:
            announce_appearance(end_user, mode)
            return end_user
    return note_visit(end_user=end_user, email=email, mode=mode)


def note_visit(*, end_user: EndUser, email: str | None, mode: str) -> EndUser:
    """Follow a changed address of a verified token, and note a first appearance in a mode; no write when nothing changed."""
    now = timezone.now()
    if getattr(end_user, APPEARANCE_COLUMNS[mode]) is None and end_user.is_active and end_user.banned_at is None:
        _note_appearance(end_user, mode, now)
    changed = {}
    if email and end_user.email != email:
        changed["email"] = email
    if changed or (end_user.last_seen_at is not None and now - end_user.last_seen_at > SEEN_EVERY):
        EndUser.objects.for_project(end_user.project_id).filter(pk=end_user.pk).update(last_seen_at=now, **changed)
        end_user.last_seen_at = now
        end_user.email = changed.get("email", end_user.email)
    return end_user


def _note_appearance(end_user: EndUser, mode: str, now: dt.datetime) -> None:
    """Of many first requests at once, one notes it and tells about it."""
    column = APPEARANCE_COLUMNS[mode]
    rows = EndUser.objects.for_project(end_user.project_id).filter(pk=end_user.pk, **{f"{column}__isnull": True})
    with transaction.atomic():
        if rows.update(**{column: now}):
            announce_appearance(end_user, mode)
    setattr(end_user, column, now)


def get_end_user(*, project: Project, end_user_id: uuid.UUID) -> EndUser:
    """Return one end user of a project. Raises EndUserNotFound (404)."""
    found = EndUser.objects.for_project(project).filter(pk=end_user_id).first()
    if not isinstance(found, EndUser):
        raise EndUserNotFound
    return found


def list_end_users(*, project: Project, search: str = "", is_active: bool | None = None) -> EndUserQuerySet:
    """Return the end users of a project whose id or address contains the text."""
    rows: EndUserQuerySet = EndUser.objects.for_project(project)
    if search:
        rows = rows.filter(Q(external_id__icontains=search) | Q(email__icontains=search))
    if is_active is not None:
        rows = rows.filter(is_active=is_active)
    return rows


def set_end_user_active(*, end_user: EndUser, is_active: bool, actor: User | None = None, reason: str = "") -> EndUser:
    """Ban an end user or let them in again, and log who did so and why. A ban holds from their next request on.

    Asking for what is so already changes nothing. Raises: EndUserGone (409) for one who was anonymised, FieldError (422).
    """
    reason = reason.strip()
    if len(reason) > BAN_REASON_CHARS_MAX:
        raise FieldError("body", "reason", msg=f"At most {BAN_REASON_CHARS_MAX} characters.")
    with transaction.atomic():
        # Whoever bans or lets in at the same time waits here, so that each change is logged once.
        held = EndUser.objects.for_project(end_user.project_id).select_for_update(no_key=True).get(pk=end_user.pk)
        if held.anonymised_at is not None and is_active:
            raise EndUserGone()
        end_user.is_active, end_user.banned_at = held.is_active, held.banned_at
        if (held.is_active and held.banned_at is None) == is_active:
            return end_user
        end_user.is_active = is_active
        end_user.banned_at = None if is_active else timezone.now()
        end_user.save(update_fields=["is_active", "banned_at"])
        if not is_active:
            announce_ban(end_user)
        announce_ban_change(BanChange(end_user, banned=not is_active, actor=actor, reason=reason))
    return end_user


def plain_email(value: object) -> str | None:
    """Return the address of a claim when it looks like one, in lower case; anything else is None."""
    if not isinstance(value, str) or not is_storable(value):
        return None
    # Of some letters the lower case is longer.
    address = value.lower()
    local, at, domain = address.rpartition("@")
    return address if len(address) <= 254 and at and local and domain and " " not in address else None


def is_external_id(value: object) -> bool:
    """Say whether a value can be an app's own id for a user."""
    return is_identifier(value)
