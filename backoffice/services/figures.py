"""The figures of the dashboard: three statements, whatever the history and however many projects.

Invariants: sums come from roll-ups, the rest from the ends of partial indexes, and what counts rows stops at COUNT_MAX; nothing is
read of a project that is not among those that were asked for; modes and currencies are never added together.
"""

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from common import clock
from licenses.models.licenses import STUCK_INVITED_AFTER, STUCK_PENDING_AFTER, STUCK_SUBMITTED_AFTER
from payments.services.go_live import GOOD_ENDPOINTS

COUNT_MAX = 1000
ACCOUNTS_MAX = 500
# Paid for now; who only tries brings nothing in yet.
EARNING_STATUSES = ("active", "past_due")

_MONEY = """
    WITH days AS (
        SELECT currency, day, sum(succeeded)::bigint AS succeeded, sum(failed)::bigint AS failed,
            sum(gross_cents)::bigint AS gross_cents, sum(refunded_cents)::bigint AS refunded_cents
        FROM (
            SELECT currency, day, succeeded, failed, gross_cents, refunded_cents FROM payments_revenueday
            WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s AND day >= %(since)s
            UNION ALL
            SELECT currency, day, succeeded, failed, gross_cents, refunded_cents FROM payments_revenuedelta
            WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s AND day >= %(since)s
        ) counted GROUP BY currency, day
    ),
    gauges AS (
        SELECT project_id, status, stripe_price_id, sum(subscriptions)::bigint AS subscriptions, sum(quantity)::bigint AS quantity
        FROM (
            SELECT project_id, status, stripe_price_id, subscriptions, quantity FROM payments_subscriptiongauge
            WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s
            UNION ALL
            SELECT project_id, status, stripe_price_id, subscriptions, quantity FROM payments_subscriptiongaugedelta
            WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s
        ) counted GROUP BY project_id, status, stripe_price_id
    ),
    earning AS (
        SELECT gauges.subscriptions, price.currency,
            gauges.quantity * price.amount_cents::numeric / CASE price.interval WHEN 'year' THEN 12 ELSE 1 END AS cents
        FROM gauges LEFT JOIN entitlements_planprice price
            ON price.project_id = gauges.project_id AND price.mode = %(mode)s
            AND price.stripe_price_id = gauges.stripe_price_id AND gauges.stripe_price_id <> ''
        WHERE gauges.status = ANY(%(earning)s)
    )
    SELECT
        (SELECT json_agg(days ORDER BY currency, day) FROM days),
        (SELECT json_object_agg(status, number)
         FROM (SELECT status, sum(subscriptions)::bigint AS number FROM gauges GROUP BY status) counted),
        (SELECT json_object_agg(currency, cents)
         FROM (SELECT currency, round(sum(cents)) AS cents FROM earning WHERE currency IS NOT NULL GROUP BY 1) summed),
        (SELECT sum(subscriptions)::bigint FROM earning WHERE currency IS NULL),
        (SELECT json_object_agg(day, number) FROM (
            SELECT (ended_at AT TIME ZONE 'UTC')::date AS day, count(*) AS number FROM payments_subscription
            WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s AND ended_at >= %(since)s AND ended_at <= %(now)s
                AND status = 'canceled' GROUP BY 1) ended),
        (SELECT json_agg(credits ORDER BY day) FROM (
            SELECT day, sum(given)::bigint AS given, sum(used)::bigint AS used FROM entitlements_creditday
            WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s AND day >= %(since)s GROUP BY day) credits)
"""
_OF_THESE = "project_id = ANY(%(projects)s) AND mode = %(mode)s"
_WORK = f"""
    SELECT
        (SELECT json_object_agg(kind, number) FROM (
            SELECT kind, count(*) AS number FROM (
                SELECT kind FROM moderation_reviewitem WHERE status = 'pending' AND {_OF_THESE} LIMIT %(most)s
            ) waiting GROUP BY kind) counted),
        (SELECT count(*) FROM (
            SELECT 1 FROM licenses_license WHERE {_OF_THESE} AND (
                state = 'pending' AND purchased_at < %(pending_before)s
                OR state = 'username_submitted' AND username_submitted_at < %(submitted_before)s
                OR state = 'invited' AND first_invited_at < %(invited_before)s) LIMIT %(most)s) stuck),
        (SELECT count(*) FROM (
            SELECT 1 FROM notifications_alertincident WHERE resolved_at IS NULL AND project_id = ANY(%(projects)s)
            LIMIT %(most)s) open)
"""  # noqa: S608 - only the name above goes in
# Every figure comes from the end of an index of one project and mode.
_HEALTH = """
    SELECT account.project_id, account.webhook_status, account.webhook_error,
        (SELECT e.received_at FROM payments_webhookevent e
         WHERE e.project_id = account.project_id AND e.mode = account.mode ORDER BY e.received_at DESC LIMIT 1),
        (SELECT min(waiting.received_at) FROM (
            SELECT e.received_at FROM payments_webhookevent e
            WHERE e.project_id = account.project_id AND e.mode = account.mode AND e.status IN ('pending', 'processing')
            ORDER BY e.next_attempt_at LIMIT %(most)s) waiting),
        (SELECT count(*) FROM (
            SELECT 1 FROM payments_webhookevent e
            WHERE e.project_id = account.project_id AND e.mode = account.mode AND e.status = 'dead' LIMIT %(most)s) dead)
    FROM (
        SELECT project_id, mode, webhook_status, webhook_error FROM payments_stripecredentials
        WHERE project_id = ANY(%(projects)s) AND mode = %(mode)s AND secret_key <> ''
        ORDER BY configured_at DESC NULLS LAST LIMIT %(accounts)s
    ) account
"""


@dataclass(frozen=True)
class Day:
    """One day of one currency. Units: minor units."""

    day: dt.date
    gross_cents: int = 0
    refunded_cents: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def net_cents(self) -> int:
        """What was earned, less what went back that day."""
        return self.gross_cents - self.refunded_cents


@dataclass(frozen=True)
class CreditsOfDay:
    """Units: whole credits."""

    day: dt.date
    given: int = 0
    used: int = 0


@dataclass(frozen=True)
class AccountHealth:
    """How the events of one project fare in the mode that is looked at."""

    project_id: uuid.UUID
    status: str
    error: str
    last_event_at: dt.datetime | None
    oldest_pending_at: dt.datetime | None
    dead_events: int

    @property
    def is_in_trouble(self) -> bool:
        """Whether somebody should look."""
        waits = self.oldest_pending_at is not None and clock.now() - self.oldest_pending_at > dt.timedelta(minutes=10)
        return bool(self.error or self.dead_events or waits) or self.status not in GOOD_ENDPOINTS


@dataclass(frozen=True)
class Figures:
    """Everything that the dashboard draws. Days that are missing had nothing."""

    days: list[dt.date]
    revenue: dict[str, dict[dt.date, Day]] = field(default_factory=dict)
    subscriptions: dict[str, int] = field(default_factory=dict)
    monthly_cents: dict[str, int] = field(default_factory=dict)
    unpriced: int = 0
    ended: dict[dt.date, int] = field(default_factory=dict)
    credits: dict[dt.date, CreditsOfDay] = field(default_factory=dict)
    reviews: dict[str, int] = field(default_factory=dict)
    stuck_licenses: int = 0
    incidents: int = 0
    health: list[AccountHealth] = field(default_factory=list)


def read_figures(*, project_ids: Sequence[uuid.UUID], mode: str, days: int) -> Figures:
    """Read the figures of these projects in one mode over the last days. Three statements."""
    now = clock.now()
    today = now.astimezone(dt.UTC).date()
    shown = [today - dt.timedelta(days=back) for back in range(days - 1, -1, -1)]
    values: dict[str, Any] = {
        "projects": list(project_ids), "mode": mode, "since": shown[0], "now": now, "earning": list(EARNING_STATUSES),
        "most": COUNT_MAX, "accounts": ACCOUNTS_MAX, "pending_before": now - STUCK_PENDING_AFTER,
        "submitted_before": now - STUCK_SUBMITTED_AFTER, "invited_before": now - STUCK_INVITED_AFTER,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_MONEY, values)
        revenue, statuses, monthly, unpriced, ended, credits = cursor.fetchone()
        cursor.execute(_WORK, values)
        reviews, stuck, incidents = cursor.fetchone()
        cursor.execute(_HEALTH, values)
        health = [AccountHealth(*row) for row in cursor.fetchall()]
    return Figures(
        days=shown,
        revenue=_by_currency(_parsed(revenue) or []),
        subscriptions={name: number for name, number in (_parsed(statuses) or {}).items() if number},
        monthly_cents=dict(sorted((_parsed(monthly) or {}).items())),
        unpriced=unpriced or 0,
        ended={dt.date.fromisoformat(day): number for day, number in (_parsed(ended) or {}).items()},
        credits={one.day: one for one in (_credits(row) for row in _parsed(credits) or [])},
        reviews=dict(sorted((_parsed(reviews) or {}).items(), key=lambda item: -item[1])),
        stuck_licenses=stuck,
        incidents=incidents,
        health=sorted(health, key=lambda one: (not one.is_in_trouble, -one.dead_events)),
    )


def _parsed(value: Any) -> Any:
    # psycopg reads json itself; a driver that leaves it as text is met too.
    return json.loads(value) if isinstance(value, str) else value


def _by_currency(rows: list[dict[str, Any]]) -> dict[str, dict[dt.date, Day]]:
    found: dict[str, dict[dt.date, Day]] = {}
    for row in rows:
        sums = {name: row[name] for name in ("gross_cents", "refunded_cents", "succeeded", "failed")}
        day = Day(day=dt.date.fromisoformat(row["day"]), **sums)
        found.setdefault(row["currency"], {})[day.day] = day
    return found


def _credits(row: dict[str, Any]) -> CreditsOfDay:
    return CreditsOfDay(dt.date.fromisoformat(row["day"]), row["given"], row["used"])
