"""How a connection to LiteLLM fares: what its proxy last answered, and what keeps it from working."""

from entitlements.models import Connection
from entitlements.models.connections import ConnectionQuerySet
from moderation.models import ReviewItem
from moderation.services import connection_state

Problem = Connection.Problem


def note_answer(connection: Connection) -> None:
    """Note that the proxy answered as it should."""
    connection_state.note_answer(connection, _as_read(connection))


def note_problem(connection: Connection, problem: str) -> None:
    """Note what keeps a connection from working. One that a person has to mend is put before one, once each time it begins."""
    connection_state.note_problem(
        connection,
        problem,
        _as_read(connection),
        kind=ReviewItem.Kind.FAILED_PROVISIONING,
        key="connection",
        title=f"The connection to LiteLLM does not work: {Problem(problem).label.lower()}" if problem else "",
        details={"base_url": connection.base_url},
    )


def _as_read(connection: Connection) -> ConnectionQuerySet:
    """Keep the connection as it was read: one that was saved meanwhile has another address or key, and another state."""
    rows = Connection.objects.for_project(connection.project_id).filter(pk=connection.pk)
    return rows.filter(base_url=connection.base_url, master_key=connection.master_key)
