"""Has buyers invited to the team: looks the username up, writes the seat, asks GitHub, and notes what came of it.

Invariants: GitHub is called with no transaction open; a seat is committed before GitHub is asked to invite; what comes late, for a
username that was changed or a licence that was revoked meanwhile, is taken out again; an error never means that somebody declined.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from common import clock
from common.ids import uuid7
from licenses.models import License, LicenseSeat, LicenseState
from licenses.services.github import (
    INVITATION_LIFE,
    GitHub,
    GitHubUser,
    NotFound,
    QuotaReached,
    RateLimited,
    Refused,
    State,
    TokenTrouble,
    github_effect,
)
from licenses.services.mails import GRANTED, INVITED, mail_buyer
from licenses.services.removals import record_removals
from licenses.services.states import GITHUB, is_current, lock_license, move_license, note_change
from licenses.services.usernames import have_invited
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, EffectWaits

# What a page can say about a username that did not do.
UNKNOWN, NO_PERSON = "unknown_username", "not_a_person"
OVERTAKEN = "The licence has moved on."
PROJECT_OFF = "project_off"
FIRST_CHECK = dt.timedelta(seconds=30)
# When an invitation that GitHub was asked for has arrived, or never will.
LANDS_WITHIN = dt.timedelta(hours=1)
# An invitation that was accepted at the last minute may not have been found accepted yet.
MAY_BE_OPEN = INVITATION_LIFE + dt.timedelta(days=1)
Outcome = LicenseSeat.Outcome


def send_invitation(row: OutboxRow) -> Mapping[str, Any]:
    """Have the username of a licence invited. Raises: EffectSkipped, EffectWaits; GitHub's errors, which say when to try again."""
    revision = int(row.payload.get("revision") or 0)
    # What waits when its project is deleted invites nobody any more.
    rows = License.objects.for_project(row.project_id).filter(project__deleted_at=None)
    holder = rows.select_related("product", "project").filter(pk=row.payload.get("license")).first()
    if holder is not None and row.payload.get("check"):
        _wait_while_off(holder)
        return _look_again(holder, revision, by=row.cause)
    if holder is None or not is_current(holder, revision=revision):
        if holder is not None:
            _take_out_late(holder, revision)
        raise EffectSkipped(OVERTAKEN)
    _wait_while_off(holder)
    team = holder.product.team_slug
    with github_effect(project_id=row.project_id, mode=row.mode, team_slug=team) as github:
        try:
            user = _person(github, holder)
        except NotFound:
            return _refuse(holder, revision, UNKNOWN)
        except Refused:
            return _refuse(holder, revision, NO_PERSON)
        if not _take_seat(holder, revision, user, github, _belongs(github, user.login)):
            raise EffectSkipped(OVERTAKEN)
        try:
            state = github.invite(user.login)
        except NotFound:
            return _refuse(holder, revision, UNKNOWN)
        except QuotaReached as error:
            _note_delay(holder, revision, error.retry_at)
            _note_refused(holder, revision)
            raise
        except (Refused, RateLimited, TokenTrouble):
            _note_refused(holder, revision)
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
        _seats(row).filter(revision=revision).update(next_check_at=None, outcome=Outcome.ENDED)
        note_change(row, f"invitation_{ended_as}", before=row.state, by=GITHUB, note=row.username)
        return True


def _wait_while_off(holder: License) -> None:
    """Let nobody in for a project that was switched off, until it is on again."""
    if not holder.project.is_active:
        raise EffectWaits(PROJECT_OFF, "The project is switched off.", holds_its_kind=True)


def _look_again(holder: License, revision: int, *, by: str) -> Mapping[str, Any]:
    """Have somebody who was let in invited anew, only when GitHub says that they are not in the team any more."""
    if holder.state != LicenseState.ACTIVE or holder.revision != revision:
        raise EffectSkipped(OVERTAKEN)
    with github_effect(project_id=holder.project_id, mode=holder.mode, team_slug=holder.product.team_slug) as github:
        try:
            state = github.standing(_person(github, holder).login).state
        except NotFound:
            # GitHub has no such account any more: the buyer is asked for another one.
            state = State.GONE
    if state == State.ACTIVE:
        return {"login": holder.username, "state": state}
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if row.state != LicenseState.ACTIVE or row.revision != revision:
            raise EffectSkipped(OVERTAKEN)
        have_invited(row, by=by)
    return {"login": holder.username, "state": state, "invited_anew": True}


def _person(github: GitHub, holder: License) -> GitHubUser:
    """Look up who is meant: by the id once it is known, because a name that was given up can be a stranger's today."""
    if holder.github_user_id is not None:
        return github.user_by_id(holder.github_user_id)
    return github.resolve(holder.username)


def _belongs(github: GitHub, login: str) -> tuple[bool, bool]:
    """Say whether somebody is in the organisation already, and whether in the team."""
    place = github.organization_membership(login)
    if place is None or place.state != State.ACTIVE:
        return False, False
    in_team = github.membership(login)
    return True, in_team is not None and in_team.state == State.ACTIVE


def _take_seat(holder: License, revision: int, user: GitHubUser, github: GitHub, belongs: tuple[bool, bool]) -> bool:
    """Commit whom GitHub is going to be asked for; False when the licence has moved on."""
    is_member, is_in_team = belongs
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
            "asked_at": clock.now(),
            "outcome": "",
        }
        held = _may_have_let_in(row).filter(github_user_id=user.id, organization__iexact=github.organization)
        first, first_in_team = (
            seats.order_by("created_at").first() for seats in (held, held.filter(team_slug=github.team_slug))
        )
        # Whom a licence let in is no member of before; an invitation that is tried again may have been accepted meanwhile.
        before = {
            "was_member": is_member and (first is None or first.was_member),
            "was_in_team": is_in_team and (first_in_team is None or first_in_team.was_in_team),
        }
        LicenseSeat.objects.update_or_create(
            project_id=row.project_id,
            license=row,
            revision=revision,
            defaults=values,
            create_defaults=values | before,
        )
        return True


def _may_have_let_in(row: License) -> QuerySet[LicenseSeat]:
    """Return the seats by which a licence let somebody in, or may have done so without our knowing yet.

    An invitation that came to nothing let nobody in: whoever is there now was let in by somebody else.
    """
    # Another project's that shares the organisation counts once its own token has seen the place.
    known = Q(project=row.project_id) | Q(license__state__in=[LicenseState.INVITED, LicenseState.ACTIVE])
    is_open = Q(outcome="", asked_at__gt=clock.now() - MAY_BE_OPEN)
    return LicenseSeat.objects.filter(known, Q(outcome=Outcome.JOINED) | is_open, removed_at__isnull=True)


def _settle(holder: License, revision: int, user: GitHubUser, state: str) -> Mapping[str, Any]:
    """Note what GitHub answered; whoever is not meant to be in any more is taken out again."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if not is_current(row, revision=revision):
            _remove_late(row, _seats(row).filter(revision=revision))
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
    _seats(row).filter(revision=row.revision).update(next_check_at=None, outcome=Outcome.JOINED)
    mail_buyer(row, GRANTED, key=str(row.revision), cause=GITHUB)


def _refuse(holder: License, revision: int, problem: str) -> Mapping[str, Any]:
    """Ask the buyer for another username."""
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        if not is_current(row, revision=revision):
            raise EffectSkipped(OVERTAKEN)
        move_license(row, "refuse_username", by=GITHUB, note=row.username, problem=problem)
    return {"refused": problem}


def _note_refused(holder: License, revision: int) -> None:
    """Note that GitHub said no: nobody was let in by this attempt, whoever tries it again later."""
    _seats(holder).filter(revision=revision).update(outcome=Outcome.ENDED)


def _note_delay(holder: License, revision: int, until: dt.datetime | None) -> None:
    rows = License.objects.for_project(holder.project_id).filter(pk=holder.pk, revision=revision)
    rows.filter(state=LicenseState.USERNAME_SUBMITTED).update(delayed_until=until)


def _take_out_late(holder: License, revision: int) -> None:
    """After a crash between an invitation and its note, somebody may be in whom the licence does not want any more.

    What was closed long after GitHub was asked was closed properly, and by what GitHub refused nobody came in: whoever has the
    place today has it from somebody else. So it is when staff replay what failed.
    """
    with transaction.atomic():
        row = lock_license(project_id=holder.project_id, license_id=holder.pk)
        unknown = _seats(row).filter(revision=revision, outcome="", asked_at__gt=clock.now() - LANDS_WITHIN)
        _remove_late(row, unknown.filter(removed_at__lt=F("asked_at") + LANDS_WITHIN))


def _remove_late(row: License, closed: QuerySet[LicenseSeat]) -> None:
    """Have a seat removed once more: a removal that came before the invitation found nobody."""
    closed.update(removed_at=None, removal_note="")
    record_removals(row, because=f"late:{uuid7()}")


def _seats(row: License) -> QuerySet[LicenseSeat]:
    return LicenseSeat.objects.for_project(row.project_id).filter(license=row)
