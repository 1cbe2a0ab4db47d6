"""Takes people out of GitHub whom no licence lets in any more.

Invariants: somebody whom another licence lets into the same team stays, also one of another project that shares the team; whoever
owns the organisation stays; a seat counts as removed only after GitHub said that nothing is left, so that a removal that was lost
is found and asked for again.
"""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from django.db import connection, transaction
from django.db.models import CharField, Exists, F, OuterRef, Q, QuerySet, Value, Window
from django.db.models.functions import Cast, Concat, RowNumber

from common import clock
from common.modes import LIVE
from licenses.models import SEATED_STATES, License, LicenseSeat, LicenseState
from licenses.services.github import NotFound, OwnerKept, github_effect
from licenses.services.states import SYSTEM, LicenseMoved, LicenseNotFound, LicenseRevoked, lock_license
from licenses.services.usernames import invite_again
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, record_effect

GITHUB_REMOVE, EFFECT_KEY = "github_remove", "github:remove:"
STILL_ENTITLED = "Another licence lets this user in."
WAS_IN_TEAM = "The user was in the team before any licence and stays."
OWNER_STAYS = "The user owns the organisation and stays."
GONE_FROM_GITHUB = "GitHub has no such user any more."
SWEPT_AT_ONCE = 200


def unwanted_seats() -> QuerySet[LicenseSeat]:
    """Return seats of people who may still be in and whom their licence does not let in any more.

    While a new username is being looked at, the one before keeps its place.
    """
    settled = Q(license__state__in=[LicenseState.INVITED, LicenseState.ACTIVE])
    unwanted = Q(license__state=LicenseState.REVOKED) | settled & Q(revision__lt=F("license__revision"))
    return LicenseSeat.objects.filter(unwanted, removed_at__isnull=True)


def record_removals(row: License, *, because: str) -> int:
    """Record the removal of a licence's seats that it does not want any more; returns how many are new."""
    if not connection.in_atomic_block:
        raise RuntimeError("a removal is recorded in the transaction of its cause")
    return sum(_record(seat, because) for seat in unwanted_seats().filter(license=row))


def remove_member(row: OutboxRow) -> Mapping[str, Any]:
    """Take the person of a seat out of GitHub, and make sure of it.

    Raises: EffectSkipped, EffectWaits; GitHub's errors, which say when to try again.
    """
    seat = LicenseSeat.objects.for_project(row.project_id).filter(pk=row.payload.get("seat")).first()
    if seat is None or seat.removed_at is not None or not unwanted_seats().filter(pk=seat.pk).exists():
        raise EffectSkipped("Nobody is to be removed any more.")
    if seat.was_in_team:
        _close(seat, WAS_IN_TEAM)
        raise EffectSkipped(WAS_IN_TEAM)
    others = dict(_entitling(seat).values_list("pk", "team_slug"))
    if seat.team_slug in others.values():
        _close(seat, STILL_ENTITLED)
        raise EffectSkipped(STILL_ENTITLED)
    note = "removed"
    with github_effect(project_id=row.project_id, mode=row.mode, team_slug=seat.team_slug) as github:
        if github.organization.casefold() != seat.organization.casefold():
            _put_before_staff(seat, f"is still a member of {seat.organization}, which is not connected any more")
            _close(seat, "The organisation is not connected any more.")
            raise EffectSkipped("The organisation is not connected any more.")
        try:
            # Logins change, and a name that was given up can be a stranger's today.
            login = github.user_by_id(seat.github_user_id).login
            # By an invitation that came to nothing nobody became a member: whoever is one was let in by somebody else.
            is_ours = not seat.was_member and seat.outcome != LicenseSeat.Outcome.ENDED
            github.revoke(login, leave_organization=is_ours and not others)
        except NotFound:
            note = GONE_FROM_GITHUB
        except OwnerKept:
            _put_before_staff(seat, "owns the organisation and was left there")
            _close(seat, OWNER_STAYS)
            raise EffectSkipped(OWNER_STAYS) from None
    _close(seat, note)
    _let_back_in(seat, known=set(others))
    return {"login": seat.login, "note": note}


def sweep_unwanted_seats() -> int:
    """Record removals that nobody recorded, such as after a crash between an invitation and its note; returns how many.

    Of each project's the oldest come first, so that many of one project hide nobody else's.
    """
    because = f"sweep:{clock.now():%Y%m%d}"
    removals = OutboxRow.objects.filter(project=OuterRef("project"), mode=OuterRef("mode"), kind=GITHUB_REMOVE)
    of_seat = Concat(Value(EFFECT_KEY), Cast(OuterRef("pk"), CharField()), Value(":"))
    waits = removals.unfinished().filter(effect_key__startswith=of_seat)
    # What was asked for today and came to nothing has its turn tomorrow.
    tried = removals.filter(effect_key=Concat(of_seat, Value(because)))
    place = Window(RowNumber(), partition_by=["project"], order_by=["created_at", "pk"])
    lost = unwanted_seats().filter(~Exists(waits), ~Exists(tried))
    recorded = 0
    for seat in lost.alias(place=place).order_by("place", "created_at")[:SWEPT_AT_ONCE]:
        with transaction.atomic():
            recorded += _record(seat, because)
    return recorded


def _record(seat: LicenseSeat, because: str) -> bool:
    return record_effect(
        project_id=seat.project_id,
        mode=seat.mode,
        kind=GITHUB_REMOVE,
        effect_key=f"{EFFECT_KEY}{seat.pk}:{because}",
        payload={"seat": str(seat.pk), "login": seat.login},
        cause=because,
    )


def _entitling(seat: LicenseSeat) -> QuerySet[LicenseSeat]:
    """Return the other seats by which the person has a place in the organisation, whichever project's they are.

    Nothing of another project's is shown to anybody. Its seat counts once that project's own token has seen the place: merely
    naming an organisation and a person keeps nobody in.
    """
    own = Q(project=seat.project_id, license__state__in=SEATED_STATES)
    seen = Q(license__state__in=[LicenseState.INVITED, LicenseState.ACTIVE], license__invitation_ended_as="")
    rows = LicenseSeat.objects.filter(
        own | seen & Q(project__deleted_at__isnull=True),
        # A live licence keeps its place when a test one ends, and never the other way round.
        mode__in={seat.mode, LIVE},
        github_user_id=seat.github_user_id,
        organization__iexact=seat.organization,
        removed_at__isnull=True,
        revision=F("license__revision"),
    )
    return rows.exclude(pk=seat.pk)


def _close(seat: LicenseSeat, note: str) -> None:
    rows = LicenseSeat.objects.for_project(seat.project_id).filter(pk=seat.pk)
    rows.update(removed_at=clock.now(), removal_note=note[:255], next_check_at=None)


def _let_back_in(seat: LicenseSeat, *, known: Collection[uuid.UUID]) -> None:
    """Invite somebody again whom another licence let in during the removal, or whose invitation went with it.

    `known`: the seats that were there before.
    """
    entitling = list(_entitling(seat).values_list("pk", "project_id", "license_id", "license__state"))
    if not entitling:
        return
    for seat_id, project_id, license_id, state in entitling:
        is_hit = seat_id not in known or state == LicenseState.INVITED
        if project_id != seat.project_id and is_hit:
            _invite_back(project_id, license_id)
    rows = License.objects.for_project(seat.project_id).filter(
        mode=seat.mode,
        github_user_id=seat.github_user_id,
        state__in=[LicenseState.INVITED, LicenseState.ACTIVE],
    )
    for license_id in rows.values_list("pk", flat=True):
        _invite_back(seat.project_id, license_id)


def _invite_back(project_id: uuid.UUID, license_id: uuid.UUID) -> None:
    with transaction.atomic():
        row = lock_license(project_id=project_id, license_id=license_id)
        try:
            invite_again(project_id=project_id, license_id=row.pk, by=SYSTEM)
        except (LicenseMoved, LicenseNotFound, LicenseRevoked):
            return


def _put_before_staff(seat: LicenseSeat, what: str) -> None:
    open_review_item(
        project_id=seat.project_id,
        mode=seat.mode,
        kind=ReviewItem.Kind.STUCK_LICENSE,
        cause_key=f"license_seat:{seat.pk}",
        title=f"{seat.login} {what}, though no licence lets them in",
        subject=str(seat.license_id),
        details={"login": seat.login, "organization": seat.organization, "team": seat.team_slug},
    )
