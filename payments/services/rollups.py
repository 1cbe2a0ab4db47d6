"""Folds the deltas of the roll-ups into their days and gauges, and compares both with the base rows.

The deltas are appended by triggers (payments/migrations/0005_rollup_triggers.py). Invariant: what is folded and what is not yet
equal, together, the sum over the base rows at every moment; folding moves numbers from one side to the other in one statement.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from common.locks import FOLD_ROLLUPS
from common.long_statements import long_statements
from payments.models import RevenueDelta, SubscriptionGaugeDelta

DELTAS_PER_STATEMENT = 10_000
_SUMS = ("payments", "succeeded", "failed", "gross_cents", "refunds", "refunded_cents")
_NAMES = ", ".join(_SUMS)

# Deltas of a project that is being deleted have nowhere to go and vanish with it.
_FOLD_REVENUE = f"""
    WITH taken AS (
        DELETE FROM payments_revenuedelta WHERE id IN (SELECT id FROM payments_revenuedelta ORDER BY id LIMIT %s) RETURNING *
    ), folded AS (
        INSERT INTO payments_revenueday (project_id, mode, currency, day, {_NAMES})
        SELECT taken.project_id, mode, currency, day, {", ".join(f"sum({name})" for name in _SUMS)}
        FROM taken JOIN projects_project ON projects_project.id = taken.project_id
        GROUP BY taken.project_id, mode, currency, day
        ON CONFLICT (project_id, mode, currency, day) DO UPDATE
        SET {", ".join(f"{name} = payments_revenueday.{name} + excluded.{name}" for name in _SUMS)}
    )
    SELECT count(*) FROM taken
"""  # noqa: S608 - only the names above go in
_FOLD_GAUGES = """
    WITH taken AS (
        DELETE FROM payments_subscriptiongaugedelta
        WHERE id IN (SELECT id FROM payments_subscriptiongaugedelta ORDER BY id LIMIT %s) RETURNING *
    ), folded AS (
        INSERT INTO payments_subscriptiongauge (project_id, mode, status, stripe_price_id, subscriptions, quantity)
        SELECT taken.project_id, mode, status, stripe_price_id, sum(subscriptions), sum(quantity)
        FROM taken JOIN projects_project ON projects_project.id = taken.project_id
        GROUP BY taken.project_id, mode, status, stripe_price_id
        ON CONFLICT (project_id, mode, status, stripe_price_id) DO UPDATE
        SET subscriptions = payments_subscriptiongauge.subscriptions + excluded.subscriptions,
            quantity = payments_subscriptiongauge.quantity + excluded.quantity
    )
    SELECT count(*) FROM taken
"""


def fold_rollups() -> int:
    """Fold all deltas that are there, in bounded statements; returns how many. Does nothing while another process folds."""
    folded = 0
    for statement in (_FOLD_REVENUE, _FOLD_GAUGES):
        while True:
            taken = _fold_once(statement)
            folded += taken
            if taken < DELTAS_PER_STATEMENT:
                break
    return folded


def _fold_once(statement: str) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [FOLD_ROLLUPS])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute(statement, [DELTAS_PER_STATEMENT])
        return int(cursor.fetchone()[0])


_READ_REVENUE = f"""
    SELECT currency, {", ".join(f"sum({name})::bigint AS {name}" for name in _SUMS)} FROM (
        SELECT currency, {_NAMES} FROM payments_revenueday WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s
        UNION ALL
        SELECT currency, {_NAMES} FROM payments_revenuedelta WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s
    ) counted GROUP BY currency HAVING sum(payments) <> 0 OR sum(refunds) <> 0 ORDER BY currency
"""  # noqa: S608 - only the names above go in
_READ_GAUGES = """
    SELECT status, sum(subscriptions)::bigint FROM (
        SELECT status, subscriptions FROM payments_subscriptiongauge WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s
        UNION ALL
        SELECT status, subscriptions FROM payments_subscriptiongaugedelta
        WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s
    ) counted GROUP BY status
"""


def read_revenue(*, project_ids: Sequence[uuid.UUID], mode: str) -> list[dict[str, Any]]:
    """Return the sums per currency of these projects in one mode. One query. Units: minor units."""
    with connection.cursor() as cursor:
        cursor.execute(_READ_REVENUE, {"projects": list(project_ids), "mode": mode})
        return [dict(zip(("currency", *_SUMS), row, strict=True)) for row in cursor.fetchall()]


def read_subscription_counts(*, project_ids: Sequence[uuid.UUID], mode: str) -> dict[str, int]:
    """Return how many subscriptions of these projects have each status. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_READ_GAUGES, {"projects": list(project_ids), "mode": mode})
        return {status: count for status, count in cursor.fetchall() if count}


_BASE_REVENUE = """
    SELECT project_id, mode, currency, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS payments,
           count(*) FILTER (WHERE status IN ('succeeded', 'partially_refunded', 'refunded')) AS succeeded,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           coalesce(sum(amount_cents) FILTER (WHERE status IN ('succeeded', 'partially_refunded', 'refunded')), 0) AS gross_cents,
           0 AS refunds, 0 AS refunded_cents
    FROM payments_transaction GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT project_id, mode, currency, (created_at AT TIME ZONE 'UTC')::date, 0, 0, 0, 0, count(*), sum(amount_cents)
    FROM payments_refund WHERE status IN ('succeeded', 'pending', 'requires_action') GROUP BY 1, 2, 3, 4
"""
_MINUS = ", ".join(f"-{name}" for name in _SUMS)
# Statements that end with no row when the roll-ups are right. `differs` is base minus roll-up.
REVENUE_DIFFERENCES = f"""
    SELECT project_id, mode, currency, day, {", ".join(f"sum({name})::bigint AS {name}" for name in _SUMS)} FROM (
        {_BASE_REVENUE}
        UNION ALL SELECT project_id, mode, currency, day, {_MINUS} FROM payments_revenueday
        UNION ALL SELECT project_id, mode, currency, day, {_MINUS} FROM payments_revenuedelta
        WHERE EXISTS (SELECT 1 FROM projects_project WHERE projects_project.id = project_id)
    ) compared GROUP BY project_id, mode, currency, day
    HAVING {" OR ".join(f"sum({name}) <> 0" for name in _SUMS)}
"""  # noqa: S608 - only the names above go in
GAUGE_DIFFERENCES = """
    SELECT project_id, mode, status, stripe_price_id, sum(subscriptions)::bigint AS subscriptions, sum(quantity)::bigint AS quantity
    FROM (
        SELECT project_id, mode, status, stripe_price_id, count(*) AS subscriptions, sum(quantity) AS quantity
        FROM payments_subscription GROUP BY 1, 2, 3, 4
        UNION ALL SELECT project_id, mode, status, stripe_price_id, -subscriptions, -quantity FROM payments_subscriptiongauge
        UNION ALL SELECT project_id, mode, status, stripe_price_id, -subscriptions, -quantity FROM payments_subscriptiongaugedelta
        WHERE EXISTS (SELECT 1 FROM projects_project WHERE projects_project.id = project_id)
    ) compared GROUP BY project_id, mode, status, stripe_price_id HAVING sum(subscriptions) <> 0 OR sum(quantity) <> 0
"""


def find_rollup_differences() -> list[dict[str, Any]]:
    """Compare every day and gauge with its base rows, in one statement each; an empty list means that all are right."""
    found = []
    for statement in (REVENUE_DIFFERENCES, GAUGE_DIFFERENCES):
        with long_statements() as cursor:
            cursor.execute(statement)
            names = [column.name for column in cursor.description or ()]
            found += [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return found


def mend_rollups() -> int:
    """Append what is missing as deltas, and return how many days and gauges were wrong. Safe while others write.

    Difference and correction are one statement on one snapshot: what is written meanwhile is neither lost nor counted twice.
    """
    with long_statements() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [FOLD_ROLLUPS])
        cursor.execute(
            f"INSERT INTO {RevenueDelta._meta.db_table} (project_id, mode, currency, day, {_NAMES}) {REVENUE_DIFFERENCES}"
        )
        mended = cursor.rowcount
        cursor.execute(
            f"INSERT INTO {SubscriptionGaugeDelta._meta.db_table} "
            f"(project_id, mode, status, stripe_price_id, subscriptions, quantity) {GAUGE_DIFFERENCES}"
        )
        return int(mended + cursor.rowcount)
