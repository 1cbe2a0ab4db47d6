"""How a connection to GitHub fares: what GitHub last answered, and what keeps it from working.

Invariants: an answer ends only a problem that it disproves; owners are told of one problem once a day at most, however often it
comes and goes, and anew after the connection was saved.
"""

from django.db import transaction

from common import clock
from licenses.models import GitHubConnection
from licenses.models.connections import GitHubConnectionQuerySet
from moderation.models import ReviewItem
from moderation.services import connection_state
from notifications.models import OutboxRow
from notifications.services.outbox import record_effect

Problem = GitHubConnection.Problem
# Anything that the token was let see shows these to be over.
READING_DISPROVES = frozenset(
    {Problem.TOKEN_REJECTED, Problem.TOKEN_UNREADABLE, Problem.UNREACHABLE, Problem.UNEXPECTED}
)
# Whoever could change a member may do so, in an organisation and a team that are there. It says nothing of what members may do.
WRITING_DISPROVES = frozenset(Problem) - {Problem.BASE_PERMISSION}
WAITS = (
    "Nobody is invited or removed until the connection is mended and saved again; then what waits goes on by itself."
)


def note_answer(connection: GitHubConnection, *, has_written: bool) -> None:
    """Note that GitHub answered as it should, to a change that it made or to a question only."""
    disproves = WRITING_DISPROVES if has_written else READING_DISPROVES
    connection_state.note_answer(connection, _as_read(connection), disproves=disproves)


def note_health(connection: GitHubConnection) -> None:
    """Note that the connection was examined and can do what it has to, which ends every problem."""
    connection_state.note_answer(connection, _as_read(connection))


def note_problem(connection: GitHubConnection, problem: str) -> None:
    """Note what keeps a connection from working. Owners and staff are told of one that a person has to mend."""
    title = f"The connection to GitHub does not work: {GitHubConnection.Problem(problem).label}" if problem else ""
    place = {"organization": connection.organization, "team": connection.team_slug}
    with transaction.atomic():
        begins = connection_state.note_problem(
            connection,
            problem,
            _as_read(connection),
            kind=ReviewItem.Kind.STUCK_LICENSE,
            key="github",
            title=title,
            details=place,
        )
        if begins and not _were_told(connection, problem):
            record_effect(
                project_id=connection.project_id,
                mode=connection.mode,
                kind="alert",
                effect_key=f"alert:github:{connection.pk}:{problem}:{connection.problem_since:%Y%m%d%H%M%S%f}",
                payload={"title": title, "text": WAITS, "context": place},
                cause=str(connection.pk),
            )


def _were_told(connection: GitHubConnection, problem: str) -> bool:
    """Say whether owners were told of a problem within a day, and nobody has saved the connection since."""
    rows = OutboxRow.objects.for_project(connection.project_id).filter(
        mode=connection.mode, effect_key__startswith=f"alert:github:{connection.pk}:{problem}:"
    )
    since = max(clock.now() - connection_state.TELL_EVERY, connection.updated_at)
    return rows.filter(created_at__gt=since).exists()


def _as_read(connection: GitHubConnection) -> GitHubConnectionQuerySet:
    """Keep the connection as it was read: one that was saved meanwhile has another token, and another state."""
    rows = GitHubConnection.objects.for_project(connection.project_id).filter(pk=connection.pk)
    return rows.filter(token=connection.token, organization=connection.organization)
