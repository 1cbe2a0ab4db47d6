"""How the events of a project fare, per mode: one statement that costs the same whatever the history.

Every figure comes from the end of an index; what counts rows stops at COUNT_MAX.
"""

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db import connection

from common.modes import MODES

COUNT_MAX = 10_000


@dataclass(frozen=True)
class Health:
    """One mode's events. `dead_events` stops at COUNT_MAX."""

    last_event_at: dt.datetime | None = None
    last_failure_at: dt.datetime | None = None
    oldest_pending_at: dt.datetime | None = None
    dead_events: int = 0


# The oldest of those that are due first: exact until more than COUNT_MAX events of one account wait.
_HEALTH = """
    SELECT account.mode,
        (SELECT e.received_at FROM payments_webhookevent e
         WHERE e.project_id = account.project_id AND e.mode = account.mode ORDER BY e.received_at DESC LIMIT 1),
        (SELECT e.failed_at FROM payments_webhookevent e
         WHERE e.project_id = account.project_id AND e.mode = account.mode AND e.failed_at IS NOT NULL
         ORDER BY e.failed_at DESC LIMIT 1),
        (SELECT min(waiting.received_at) FROM (
            SELECT e.received_at FROM payments_webhookevent e
            WHERE e.project_id = account.project_id AND e.mode = account.mode AND e.status IN ('pending', 'processing')
            ORDER BY e.next_attempt_at LIMIT %s) waiting),
        (SELECT count(*) FROM (
            SELECT 1 FROM payments_webhookevent e
            WHERE e.project_id = account.project_id AND e.mode = account.mode AND e.status = 'dead' LIMIT %s) dead)
    FROM (SELECT %s::uuid AS project_id, unnest(%s::text[]) AS mode) account
"""


def read_health(*, project_id: uuid.UUID) -> dict[str, Health]:
    """Return how each mode's events fare. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(_HEALTH, [COUNT_MAX, COUNT_MAX, project_id, list(MODES)])
        return {row[0]: Health(*row[1:]) for row in cursor.fetchall()}
