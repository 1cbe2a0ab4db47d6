"""Sums the ledger's newest transactions into days, in the background."""

import datetime as dt

from django.utils import timezone

from common.ids import first_uuid7_of
from common.long_statements import long_statements

# Ids are made in the order of real time, so that the range of the newest is what was written lately.
_SUM = """
    INSERT INTO entitlements_creditday (project_id, mode, day, given, used)
    SELECT entry.project_id, entry.mode, (uuid_extract_timestamp(entry.id) AT TIME ZONE 'UTC')::date,
        coalesce(sum(entry.amount) FILTER (WHERE entry.kind = ANY(%(giving)s)), 0),
        coalesce(-sum(entry.amount) FILTER (WHERE entry.kind = ANY(%(using)s)), 0)
    FROM entitlements_credittransaction entry
    JOIN projects_project project ON project.id = entry.project_id
    WHERE entry.id >= %(first_id)s GROUP BY 1, 2, 3
    ON CONFLICT (project_id, mode, day) DO UPDATE SET given = excluded.given, used = excluded.used
    WHERE (entitlements_creditday.given, entitlements_creditday.used) IS DISTINCT FROM (excluded.given, excluded.used)
"""
# What takes credits and what gives them back to the same use.
USING_KINDS = ["spend", "reserve", "commit", "release", "reservation_expired"]
GIVING_KINDS = ["grant", "daily"]
# Yesterday is summed again too: a transaction that began before midnight may be committed after it.
DAYS_AGAIN = 1


def sum_credit_days(*, days_again: int = DAYS_AGAIN) -> int:
    """Write the sums of today and of the days before it; returns how many rows changed. One statement, safe to repeat."""
    today = timezone.now().astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first_id = first_uuid7_of(today - dt.timedelta(days=days_again))
    with long_statements() as cursor:
        cursor.execute(_SUM, {"first_id": first_id, "giving": GIVING_KINDS, "using": USING_KINDS})
        return int(cursor.rowcount)
