"""How a connection to a peer fares: what the peer last answered, and what keeps it from working. One for every kind of peer.

Invariants: an answer ends only a problem that it disproves, and no problem that passes hides one that somebody has to mend; of one
problem of a connection there is one item, until that was decided about and a day has gone by.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from django.db import transaction
from django.db.models import Q, QuerySet

from common import clock
from moderation.models import ReviewItem
from moderation.services.review import open_review_item

# An answer is noted this often, so that a busy connection is not written with every call.
NOTE_EVERY = dt.timedelta(minutes=1)
# What goes on by itself needs nobody; the rest waits for somebody who mends it.
PASSING = ("", "unreachable", "unexpected")
# A problem that comes and goes is put before a person this often at most.
TELL_EVERY = dt.timedelta(hours=24)


class PeerConnection(Protocol):
    """What a connection's row knows of its state."""

    pk: Any
    project_id: uuid.UUID
    mode: str
    problem: str
    problem_since: dt.datetime | None
    answered_at: dt.datetime | None


def note_answer(connection: PeerConnection, rows: QuerySet[Any], *, disproves: Collection[str] | None = None) -> None:
    """Note that the peer answered as it should, which ends the problems that this disproves; None = every one.

    `rows` is the connection as it was read: one that was saved since is another.
    """
    moment = clock.now()
    ends = bool(connection.problem) and (disproves is None or connection.problem in disproves)
    if not ends and connection.answered_at and moment - connection.answered_at < NOTE_EVERY:
        return
    connection.answered_at = moment
    rows.update(answered_at=moment)
    if ends:
        # Another problem may have been noted since the connection was read.
        rows.filter(problem=connection.problem).update(problem="", problem_since=None)
        connection.problem, connection.problem_since = "", None


def note_problem(
    connection: PeerConnection,
    problem: str,
    rows: QuerySet[Any],
    *,
    kind: str,
    key: str,
    title: str,
    details: Mapping[str, Any],
) -> bool:
    """Note what keeps a connection from working; True when it begins and a person has to mend it, which puts it before one."""
    if not problem or connection.problem == problem:
        return False
    changed = rows.exclude(problem=problem)
    if problem in PASSING:
        changed = changed.filter(problem__in=PASSING)
    moment = clock.now()
    with transaction.atomic():
        # Of two that note it at once, the second finds it noted.
        if not changed.update(problem=problem, problem_since=moment):
            return False
        connection.problem, connection.problem_since = problem, moment
        if problem in PASSING:
            return False
        cause = f"{key}:{connection.pk}:{problem}:"
        if not _is_before_staff(connection, cause, moment):
            open_review_item(
                project_id=connection.project_id,
                mode=connection.mode,
                kind=kind,
                cause_key=f"{cause}{int(moment.timestamp() * 1000)}",
                title=title,
                subject=str(connection.pk),
                details={**details, "problem": problem},
            )
        return True


def _is_before_staff(connection: PeerConnection, cause: str, moment: dt.datetime) -> bool:
    """Say whether an item of this problem waits for somebody, or was opened within a day."""
    rows = ReviewItem.objects.for_project(connection.project_id).filter(
        mode=connection.mode, cause_key__startswith=cause
    )
    return rows.filter(Q(status=ReviewItem.Status.PENDING) | Q(created_at__gt=moment - TELL_EVERY)).exists()
