"""Folds old reports of usage into their totals, in small steps. What was used stays to the last digit; single reports and keys go.

Invariant: a report goes only when its period is closed and nothing of that waits to be billed, and its total says in the same
statement how much of it is not kept any more.
"""

import time
import uuid

from django.conf import settings
from django.db import connection

BATCH = 1000
RUN_SECONDS_MAX = 60.0

_OLD = "received_at < clock_timestamp() - make_interval(days => %(days)s)"
# Whose reports are old enough: an index probe per project and mode.
_WHOSE = f"""
    SELECT project.id, modes.mode FROM projects_project project CROSS JOIN (VALUES ('test'), ('live')) modes(mode)
    WHERE EXISTS (
        SELECT FROM entitlements_usageevent WHERE project_id = project.id AND mode = modes.mode AND {_OLD}
    )
"""  # noqa: S608 - words of our own
# Materialized: a plan that picked anew for each row would take more than was asked for.
_FOLD = f"""
    WITH old AS MATERIALIZED (
        SELECT event.id FROM entitlements_usageevent event
            JOIN entitlements_usageperiod period ON period.id = event.period_id AND period.closed_at IS NOT NULL
        WHERE event.project_id = %(project)s AND event.mode = %(mode)s AND event.{_OLD}
            AND NOT EXISTS (
                SELECT FROM entitlements_usagecharge charge WHERE charge.project_id = event.project_id
                    AND charge.mode = event.mode AND charge.period_id = event.period_id AND charge.status = 'pending'
            )
        ORDER BY event.received_at LIMIT %(batch)s FOR UPDATE OF event SKIP LOCKED
    ), gone AS (
        DELETE FROM entitlements_usageevent event USING old WHERE event.id = old.id
        RETURNING event.period_id, event.meter_id, event.quantity, event.late
    ), folded AS (
        UPDATE entitlements_usagetotal total
        SET folded_used = total.folded_used + sums.used, folded_events = total.folded_events + sums.events,
            folded_late = total.folded_late + sums.late
        FROM (
            SELECT period_id, meter_id, sum(quantity) AS used, count(*) AS events,
                coalesce(sum(quantity) FILTER (WHERE late), 0) AS late
            FROM gone GROUP BY period_id, meter_id
        ) sums
        WHERE total.project_id = %(project)s AND total.mode = %(mode)s AND total.period_id = sums.period_id
            AND total.meter_id = sums.meter_id
    )
    SELECT count(*) FROM gone
"""  # noqa: S608 - words of our own


def fold_old_reports(*, batch: int = BATCH, seconds_max: float = RUN_SECONDS_MAX) -> int:
    """Fold reports that are older than USAGE_EVENT_RETENTION_DAYS, a batch per statement; returns how many.

    Each batch is committed by itself: a run that is cut off has lost nothing, and two runs share the work.
    """
    give_up_at = time.monotonic() + seconds_max
    folded = 0
    for project_id, mode in _whose():
        while True:
            found = _fold(project_id, mode, batch)
            folded += found
            if time.monotonic() >= give_up_at:
                return folded
            if found < batch:
                break
    return folded


def _whose() -> list[tuple[uuid.UUID, str]]:
    with connection.cursor() as cursor:
        cursor.execute(_WHOSE, {"days": settings.USAGE_EVENT_RETENTION_DAYS})
        return list(cursor.fetchall())


def _fold(project_id: uuid.UUID, mode: str, batch: int) -> int:
    days: int = settings.USAGE_EVENT_RETENTION_DAYS
    with connection.cursor() as cursor:
        cursor.execute(_FOLD, {"project": project_id, "mode": mode, "days": days, "batch": batch})
        return int(cursor.fetchone()[0])
