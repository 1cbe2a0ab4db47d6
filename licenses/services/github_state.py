"""How a connection to GitHub fares: what GitHub last answered, and what keeps it from working."""

from licenses.models import GitHubConnection
from licenses.models.connections import GitHubConnectionQuerySet
from moderation.models import ReviewItem
from moderation.services import connection_state


def note_answer(connection: GitHubConnection) -> None:
    """Note that GitHub answered as it should."""
    connection_state.note_answer(connection, _as_read(connection))


def note_problem(connection: GitHubConnection, problem: str) -> None:
    """Note what keeps a connection from working. One that a person has to mend is put before one, once each time it begins."""
    connection_state.note_problem(
        connection,
        problem,
        _as_read(connection),
        kind=ReviewItem.Kind.STUCK_LICENSE,
        key="github",
        title=f"The connection to GitHub does not work: {GitHubConnection.Problem(problem).label}" if problem else "",
        details={"organization": connection.organization, "team": connection.team_slug},
    )


def _as_read(connection: GitHubConnection) -> GitHubConnectionQuerySet:
    """Keep the connection as it was read: one that was saved meanwhile has another token, and another state."""
    rows = GitHubConnection.objects.for_project(connection.project_id).filter(pk=connection.pk)
    return rows.filter(token=connection.token, organization=connection.organization)
