"""How a connection to a peer fares: what the peer last answered, and what keeps it from working. One for every kind of peer."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from django.db.models import QuerySet

from common import clock
from moderation.services.review import open_review_item

# An answer is noted this often, so that a busy connection is not written with every call.
NOTE_EVERY = dt.timedelta(minutes=1)
# What goes on by itself needs nobody; the rest waits for somebody who mends it.
PASSING = ("", "unreachable", "unexpected")


class PeerConnection(Protocol):
    """What a connection's row knows of its state."""

    pk: Any
    project_id: uuid.UUID
    mode: str
    problem: str
    problem_since: dt.datetime | None
    answered_at: dt.datetime | None


def note_answer(connection: PeerConnection, rows: QuerySet[Any]) -> None:
    """Note that the peer answered as it should. `rows` is the connection as it was read: one that was saved since is another."""
    moment = clock.now()
    if not connection.problem and connection.answered_at and moment - connection.answered_at < NOTE_EVERY:
        return
    connection.problem, connection.problem_since, connection.answered_at = "", None, moment
    rows.update(problem="", problem_since=None, answered_at=moment)


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
    moment = clock.now()
    connection.problem, connection.problem_since = problem, moment
    if not rows.update(problem=problem, problem_since=moment) or problem in PASSING:
        return False
    open_review_item(
        project_id=connection.project_id,
        mode=connection.mode,
        kind=kind,
        cause_key=f"{key}:{connection.pk}:{problem}:{int(moment.timestamp())}",
        title=title,
        subject=str(connection.pk),
        details={**details, "problem": problem},
    )
    return True
