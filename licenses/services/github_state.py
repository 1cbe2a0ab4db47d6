"""How a connection to GitHub fares: what GitHub last answered, and what keeps it from working."""

from django.db import transaction

from licenses.models import GitHubConnection
from licenses.models.connections import GitHubConnectionQuerySet
from moderation.models import ReviewItem
from moderation.services import connection_state
from notifications.services.outbox import record_effect

WAITS = (
    "Nobody is invited or removed until the connection is mended and saved again; then what waits goes on by itself."
)


def note_answer(connection: GitHubConnection) -> None:
    """Note that GitHub answered as it should."""
    connection_state.note_answer(connection, _as_read(connection))


def note_problem(connection: GitHubConnection, problem: str) -> None:
    """Note what keeps a connection from working. Owners and staff are told of one that a person has to mend, once each time."""
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
        if begins:
            record_effect(
                project_id=connection.project_id,
                mode=connection.mode,
                kind="alert",
                effect_key=f"alert:github:{connection.pk}:{problem}:{connection.problem_since:%Y%m%d%H%M%S%f}",
                payload={"title": title, "text": WAITS, "context": place},
                cause=str(connection.pk),
            )


def _as_read(connection: GitHubConnection) -> GitHubConnectionQuerySet:
    """Keep the connection as it was read: one that was saved meanwhile has another token, and another state."""
    rows = GitHubConnection.objects.for_project(connection.project_id).filter(pk=connection.pk)
    return rows.filter(token=connection.token, organization=connection.organization)
