"""Asks GitHub whether invitations were accepted: there is no webhook that would say so to the team's token.

Invariants: open invitations are listed once per organisation and round, page by page, and only who is not on the list is asked for
alone; a seat is claimed before GitHub is called, so that two rounds at once do not ask twice; an error leaves everything as it is,
and one that is about one account keeps nobody else waiting; when GitHub asks to wait, a project and mode asks nothing more.
"""

import datetime as dt
import logging
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from common import clock
from licenses.models import License, LicenseSeat, LicenseState
from licenses.services.github import GitHub, GitHubError, NotConnected, NotFound, Refused, State, Unexpected
from licenses.services.invitations import note_accepted, note_ended

logger = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 500
CLAIM = dt.timedelta(minutes=5)
# How soon an invitation is asked about again, by its age: most are accepted at once or on the next day.
PACE = (
    # Less than a minute: rounds come each half minute, and what is due a moment after one waits for the next.
    (dt.timedelta(hours=1), dt.timedelta(seconds=55)),
    (dt.timedelta(days=1), dt.timedelta(minutes=10)),
    (dt.timedelta(days=365), dt.timedelta(hours=1)),
)
# So many odd answers in one round are GitHub's trouble, and not that of single accounts.
ODD_ANSWERS_MAX = 3
# How soon a buyer may have GitHub asked again, and how long an answer is expected within seconds.
ASK_AGAIN = dt.timedelta(seconds=5)
ANSWERS_WITHIN = dt.timedelta(minutes=1)
Ended = License.InvitationEnd


@dataclass(frozen=True)
class Check:
    """A buyer's asking: when GitHub was asked that said "not yet", or that it has said nothing so far."""

    answered_at: dt.datetime | None = None
    is_slow: bool = False


def poll_invitations() -> int:
    """Ask about every invitation that is due; returns how many licences moved."""
    groups: dict[tuple[uuid.UUID, str, str], list[LicenseSeat]] = defaultdict(list)
    for seat in _claim():
        groups[seat.project_id, seat.mode, seat.team_slug].append(seat)
    pending: dict[tuple[uuid.UUID, str], set[str]] = {}
    waits: dict[tuple[uuid.UUID, str], dt.datetime] = {}
    moved = 0
    for (project_id, mode, team_slug), seats in groups.items():
        if (project_id, mode) in waits:
            _put_off(seats, waits[project_id, mode])
            continue
        try:
            github = GitHub(project_id, mode, team_slug=team_slug)
            if (project_id, mode) not in pending:
                pending[project_id, mode] = {(one.login or "").casefold() for one in github.list_invitations()}
            moved += _ask(github, seats, pending[project_id, mode])
        except NotConnected:
            continue
        except GitHubError as error:
            # The claim's time is the pause; GitHub may ask for a longer one.
            logger.warning("license_poll_failed project=%s mode=%s error=%s", project_id, mode, type(error).__name__)
            if error.retry_at is not None:
                waits[project_id, mode] = error.retry_at
                _put_off(seats, error.retry_at)
    return moved


def check_soon(holder: License) -> bool:
    """Have a licence's invitation asked about now; False when that was asked for just now, or nothing is to be asked.

    Also when it is due by itself: whoever says that they have accepted does not wait for the next round.
    """
    if holder.state != LicenseState.INVITED or holder.invitation_ended_as:
        return False
    now = clock.now()
    rows = _current_seat(holder).filter(next_check_at__isnull=False)
    answered = Q(check_asked_at__isnull=True) | Q(checked_at__gte=F("check_asked_at"))
    rows = rows.filter(answered | Q(check_asked_at__lte=now - ASK_AGAIN))
    return bool(rows.update(next_check_at=now, check_asked_at=now))


def check_of(holder: License) -> Check | None:
    """Say what came of the buyer's last asking whether an invitation was accepted; None when they have not asked."""
    seat = _current_seat(holder).filter(next_check_at__isnull=False, check_asked_at__isnull=False).first()
    if holder.state != LicenseState.INVITED or holder.invitation_ended_as or seat is None:
        return None
    asked_at, answered_at = seat.check_asked_at, seat.checked_at
    if asked_at is not None and answered_at is not None and answered_at >= asked_at:
        return Check(answered_at=answered_at)
    return Check(is_slow=asked_at is not None and asked_at <= clock.now() - ANSWERS_WITHIN)


def _claim() -> Sequence[LicenseSeat]:
    """Take the seats that are due, and put them off for as long as asking may take."""
    now = clock.now()
    with transaction.atomic():
        due = LicenseSeat.objects.filter(
            next_check_at__lte=now,
            removed_at__isnull=True,
            license__state=LicenseState.INVITED,
            license__revision=F("revision"),
            project__is_active=True,
            project__deleted_at=None,
        )
        rows = list(
            due.select_related("license")
            .select_for_update(of=("self",), skip_locked=True)
            .order_by("next_check_at")[:CLAIMED_AT_ONCE]
        )
        LicenseSeat.objects.filter(pk__in=[row.pk for row in rows]).update(next_check_at=now + CLAIM)
    for row in rows:
        # In memory, until GitHub has answered: what it is asked from now on is an answer to whoever asked before.
        row.checked_at = now
    return rows


def _current_seat(holder: License) -> QuerySet[LicenseSeat]:
    return LicenseSeat.objects.for_project(holder.project_id).filter(license=holder, revision=holder.revision)


def _ask(github: GitHub, seats: Sequence[LicenseSeat], pending: set[str]) -> int:
    moved = odd = 0
    for seat in seats:
        if seat.login.casefold() in pending:
            _wait(seat)
            continue
        try:
            moved += _look_at(github, seat, pending)
        except (Unexpected, Refused) as error:
            odd += 1
            if odd == ODD_ANSWERS_MAX:
                raise
            # The claim's time is this one's pause.
            logger.warning("license_poll_odd seat=%s error=%s", seat.pk, type(error).__name__)
    return moved


def _look_at(github: GitHub, seat: LicenseSeat, pending: set[str]) -> bool:
    """Ask about one who is on no list of open invitations, by today's login."""
    holder = seat.license
    try:
        login = github.user_by_id(seat.github_user_id).login
    except NotFound:
        return note_ended(holder=holder, revision=seat.revision, ended_as=Ended.DECLINED)
    if login.casefold() in pending:
        _wait(seat)
        return False
    standing = github.standing(login, invited_at=holder.invited_at)
    if standing.state == State.ACTIVE:
        return note_accepted(holder=holder, revision=seat.revision)
    if standing.state == State.PENDING:
        _wait(seat)
        return False
    ended = Ended.EXPIRED if standing.state == State.EXPIRED else Ended.DECLINED
    return note_ended(holder=holder, revision=seat.revision, ended_as=ended)


def _put_off(seats: Sequence[LicenseSeat], until: dt.datetime) -> None:
    rows = LicenseSeat.objects.for_project(seats[0].project_id).filter(pk__in=[seat.pk for seat in seats])
    rows.filter(next_check_at__isnull=False).update(next_check_at=until)


def _wait(seat: LicenseSeat) -> None:
    now = clock.now()
    age = now - (seat.license.invited_at or now)
    pause = next(pause for until, pause in PACE if age < until or until == PACE[-1][0])
    rows = LicenseSeat.objects.for_project(seat.project_id).filter(pk=seat.pk, next_check_at__isnull=False)
    # Who has asked since this round began is asked about anew.
    asked_since = When(check_asked_at__gt=seat.checked_at, then=F("next_check_at"))
    rows.update(
        checked_at=seat.checked_at, next_check_at=Case(asked_since, default=Value((seat.checked_at or now) + pause))
    )
