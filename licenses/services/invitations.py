"""Has buyers invited to the team: looks the username up, writes the seat, asks GitHub, and notes what came of it.

Invariants: GitHub is called with no transaction open; a seat is committed before GitHub is asked to invite; what comes late, for a
username that was changed or a licence that was revoked meanwhile, is taken out again; an error never means that somebody declined.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Q

from common import clock
from licenses.models import License, LicenseSeat, LicenseState
from licenses.services.github import GitHub, GitHubUser, NotFound, QuotaReached, Refused, github_effect
from licenses.services.mails import GRANTED, INVITED, mail_buyer
from licenses.services.removals import record_removals
from licenses.services.states import GITHUB, is_current, lock_license, move_license, note_change
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped

# What a page can say about a username that did not do.
UNKNOWN, NO_PERSON = "unknown_username", "not_a_person"
OVERTAKEN = "The licence has moved on."
FIRST_CHECK = dt.timedelta(seconds=30)


def send_invitation(row: OutboxRow) -> Mapping[str, Any]:
    """Have the username of a licence invited. Raises: EffectSkipped, EffectWaits; GitHub's errors, which say when to try again."""
    revision = int(row.payload.get("revision") or 0)
    found = License.objects.for_project(row.project_id).select_related("product").filter(pk=row.payload.get("license"))
    holder = found.first()
    if holder is None or not is_current(holder, revision=revision):
        if holder is not None:
            _take_out_late(holder, revision)
        raise EffectSkipped(OVERTAKEN)
    team = holder.product.team_slug
    with github_effect(project_id=row.project_id, mode=row.mode, team_slug=team) as github:
        try:
            user = _person(github, holder)
        except NotFound:
            return _refuse(holder, revision, UNKNOWN)
        except Refused:
            return _refuse(holder, revision, NO_PERSON)
        place = github.organization_membership(user.login)
        if not _take_seat(holder, revision, user, github, is_member=place is not None and place.state == "active"):
            raise EffectSkipped(OVERTAKEN)
        try:
            state = github.invite(user.login)
        except NotFound:
            return _refuse(holder, revision, UNKNOWN)
        except QuotaReached as error:
            _note_delay(holder, revision, error.retry_at)
            raise
    return _settle(holder, revision, user, state)


def note_accepted(*, holder: License, revision: int) -> bool:
    """Note that the invitation of a revision was accepted; False when the licence has moved on."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if row.revision != revision or row.state != LicenseState.INVITED:
            return False
        _grant(row)
        return True


def note_ended(*, holder: License, revision: int, ended_as: str) -> bool:
    """Note that the invitation of a revision is not open any more; False when the licence has moved on."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if row.revision != revision or row.state != LicenseState.INVITED or row.invitation_ended_as:
            return False
        row.invitation_ended_as, row.invitation_ended_at = ended_as, clock.now()
        row.save(update_fields=["invitation_ended_as", "invitation_ended_at"])
        _seats(row).filter(revision=revision).update(next_check_at=None)
        note_change(row, f"invitation_{ended_as}", before=row.state, by=GITHUB, note=row.username)
        return True


def _person(github: GitHub, holder: License) -> GitHubUser:
    """Look up who is meant: by the id once it is known, because a name that was given up can be a stranger's today."""
    if holder.github_user_id is not None:
        return github.user_by_id(holder.github_user_id)
    return github.resolve(holder.username)


def _take_seat(holder: License, revision: int, user: GitHubUser, github: GitHub, *, is_member: bool) -> bool:
    """Commit whom GitHub is going to be asked for; False when the licence has moved on."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if not is_current(row, revision=revision):
            return False
        row.username, row.github_user_id = user.login, user.id
        row.save(update_fields=["username", "github_user_id"])
        values = {
            "mode": row.mode,
            "github_user_id": user.id,
            "login": user.login,
            "organization": github.organization,
            "team_slug": github.team_slug,
        }
        # Another project's that shares the organisation counts once its own token has seen the place.
        known = Q(project=row.project_id) | Q(license__state__in=[LicenseState.INVITED, LicenseState.ACTIVE])
        held = LicenseSeat.objects.filter(
            known, github_user_id=user.id, organization__iexact=github.organization, removed_at__isnull=True
        )
        first = held.order_by("created_at").first()
        # Whom a licence let in is no member of before; an invitation that is tried again may have been accepted meanwhile.
        was_member = is_member if first is None else first.was_member
        LicenseSeat.objects.update_or_create(
            project_id=row.project_id,
            license=row,
            revision=revision,
            defaults=values,
            create_defaults=values | {"was_member": was_member},
        )
        return True


def _settle(holder: License, revision: int, user: GitHubUser, state: str) -> Mapping[str, Any]:
    """Note what GitHub answered; whoever is not meant to be in any more is taken out again."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if not is_current(row, revision=revision):
            _remove_late(row, revision)
            return {"login": user.login, "state": state, "late": True}
        if state == "active":
            _grant(row)
        else:
            at = clock.now()
            move_license(row, "note_invited", by=GITHUB, note=user.login, at=at)
            _seats(row).filter(revision=revision).update(next_check_at=at + FIRST_CHECK)
            mail_buyer(row, INVITED, key=str(revision), cause=GITHUB)
        record_removals(row, because=f"changed:{revision}")
        return {"login": user.login, "state": state}


def _grant(row: License) -> None:
    move_license(row, "note_member", by=GITHUB, note=row.username, at=clock.now())
    _seats(row).filter(revision=row.revision).update(next_check_at=None)
    mail_buyer(row, GRANTED, key=str(row.revision), cause=GITHUB)


def _refuse(holder: License, revision: int, problem: str) -> Mapping[str, Any]:
    """Ask the buyer for another username."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if not is_current(row, revision=revision):
            raise EffectSkipped(OVERTAKEN)
        move_license(row, "refuse_username", by=GITHUB, note=row.username, problem=problem)
    return {"refused": problem}


def _note_delay(holder: License, revision: int, until: dt.datetime | None) -> None:
    rows = License.objects.for_project(holder.project_id).filter(pk=holder.pk, revision=revision)
    rows.filter(state=LicenseState.USERNAME_SUBMITTED).update(delayed_until=until)


def _take_out_late(holder: License, revision: int) -> None:
    """After a crash between an invitation and its note, somebody may be in whom the licence does not want any more."""
    with transaction.atomic():
        _remove_late(lock_license(project_id=holder.project_id, license_id=holder.pk), revision)


def _remove_late(row: License, revision: int) -> None:
    """Have the seat of a revision removed once more: a removal that came before the invitation found nobody."""
    _seats(row).filter(revision=revision).update(removed_at=None, removal_note="")
    record_removals(row, because=f"late:{revision}")


def _seats(row: License) -> Any:
    return LicenseSeat.objects.for_project(row.project_id).filter(license=row)
