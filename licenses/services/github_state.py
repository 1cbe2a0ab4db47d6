"""How a connection to GitHub fares: what GitHub last answered, and what keeps it from working."""

import datetime as dt

from common import clock
from licenses.models import GitHubConnection
from moderation.models import ReviewItem
from moderation.services.review import open_review_item

Problem = GitHubConnection.Problem
# An answer is noted this often, so that a busy connection is not written with every call.
NOTE_EVERY = dt.timedelta(minutes=1)
# What goes on by itself needs nobody; the rest waits for somebody who mends it.
PASSING = ("", Problem.UNREACHABLE, Problem.UNEXPECTED)


def note_answer(connection: GitHubConnection) -> None:
    """Note that GitHub answered as it should."""
    moment = clock.now()
    if not connection.problem and connection.answered_at and moment - connection.answered_at < NOTE_EVERY:
        return
    connection.problem, connection.problem_since, connection.answered_at = "", None, moment
    _update(connection, problem="", problem_since=None, answered_at=moment)


def note_problem(connection: GitHubConnection, problem: str) -> None:
    """Note what keeps a connection from working. One that a person has to mend is put before one, once each time it begins."""
    if not problem or connection.problem == problem:
        return
    moment = clock.now()
    connection.problem, connection.problem_since = problem, moment
    if not _update(connection, problem=problem, problem_since=moment) or problem in PASSING:
        return
    open_review_item(
        project_id=connection.project_id,
        mode=connection.mode,
        kind=ReviewItem.Kind.STUCK_LICENSE,
        cause_key=f"github:{connection.pk}:{problem}:{int(moment.timestamp())}",
        title=f"The connection to GitHub does not work: {Problem(problem).label}",
        subject=str(connection.pk),
        details={"organization": connection.organization, "team": connection.team_slug, "problem": problem},
    )


def _update(connection: GitHubConnection, **values: object) -> int:
    """Write to the connection as it was read: one that was saved meanwhile has another token, and another state."""
    rows = GitHubConnection.objects.for_project(connection.project_id).filter(pk=connection.pk)
    return rows.filter(token=connection.token, organization=connection.organization).update(**values)
