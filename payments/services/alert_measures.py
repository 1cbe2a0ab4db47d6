"""What alerts are measured by: events of Stripe, payments, credits and review items (docs/alerts.md).

Every query reads what an index holds of the window, so that measuring each minute costs an old instance no more than a new one.
"""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.utils import timezone

from common.ids import first_uuid7_of
from notifications.models import AlertKind
from notifications.services.alert_measures import Reading, register_measure

# A rate of fewer payments than this says nothing.
PAYMENTS_MIN = 10
# Nobody's usual use counts as less than this in a window, and it is made of so many days before.
USUAL_CREDITS_MIN = 50
USUAL_DAYS = 7
# Nobody who used less than this in a window is looked at: ten times what counts as usual at least.
CREDITS_MIN = 10 * USUAL_CREDITS_MIN

_ACCOUNTS = "projects_project project CROSS JOIN (VALUES ('test'), ('live')) AS of_mode(mode)"

_INBOUND_FAILURES = f"""
    SELECT project.id, of_mode.mode, found.number FROM {_ACCOUNTS} CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM payments_webhookevent event
        WHERE event.project_id = project.id AND event.mode = of_mode.mode AND event.failed_at >= %(since)s
          AND event.status <> 'processed'
    ) found WHERE project.deleted_at IS NULL AND found.number > 0
"""  # noqa: S608 - only the name above goes in
_OLDEST_EVENT = """
    SELECT event.project_id, event.mode, floor(extract(epoch FROM %(moment)s - min(event.received_at)) / 60)
    FROM payments_webhookevent event JOIN projects_project project ON project.id = event.project_id
    WHERE event.status IN ('pending', 'processing') AND project.deleted_at IS NULL
    GROUP BY event.project_id, event.mode
"""
_FAILED_PAYMENTS = f"""
    SELECT project.id, of_mode.mode, found.failed * 100 / found.number, found.failed, found.number
    FROM {_ACCOUNTS} CROSS JOIN LATERAL (
        SELECT count(*) AS number, count(*) FILTER (WHERE payment.status = 'failed') AS failed
        FROM payments_transaction payment
        WHERE payment.project_id = project.id AND payment.mode = of_mode.mode AND payment.created_at >= %(since)s
          AND payment.status NOT IN ('pending', 'canceled')
    ) found WHERE project.deleted_at IS NULL AND found.number >= %(payments_min)s
"""  # noqa: S608 - only the name above goes in
# Ids are made in the order of real time, so that the range of the newest is what was written lately.
_EACH_ODD_USER = """
    WITH used AS (
        SELECT entry.project_id, entry.mode, entry.wallet_id, -sum(entry.amount) AS credits
        FROM entitlements_credittransaction entry
        WHERE entry.id >= %(first_id)s AND entry.created_at >= %(since)s AND entry.kind = ANY(%(kinds)s)
        GROUP BY entry.project_id, entry.mode, entry.wallet_id HAVING -sum(entry.amount) >= %(credits_min)s
    ),
    compared AS (
        SELECT used.*, GREATEST(%(usual_min)s, before.credits / %(windows)s) AS usual FROM used CROSS JOIN LATERAL (
            SELECT coalesce(-sum(entry.amount), 0) AS credits FROM entitlements_credittransaction entry
            WHERE entry.wallet_id = used.wallet_id AND entry.created_at < %(since)s AND entry.created_at >= %(usual_from)s
              AND entry.kind = ANY(%(kinds)s)
        ) before
    )
    SELECT {distinct} compared.project_id, compared.mode,
           floor(compared.credits / compared.usual), compared.credits, end_user.external_id, end_user.id
    FROM compared
    JOIN projects_project project ON project.id = compared.project_id AND project.deleted_at IS NULL
    JOIN entitlements_creditwallet wallet ON wallet.id = compared.wallet_id
    JOIN projects_enduser end_user ON end_user.id = wallet.end_user_id
    ORDER BY compared.project_id, compared.mode, compared.credits / compared.usual DESC
"""
_ODD_CREDIT_USERS = _EACH_ODD_USER.format(distinct="")
_ODD_CREDIT_USE = _EACH_ODD_USER.format(distinct="DISTINCT ON (compared.project_id, compared.mode)")
_REVIEW_BACKLOG = """
    SELECT item.project_id, item.mode, count(*) FROM moderation_reviewitem item
    JOIN projects_project project ON project.id = item.project_id AND project.deleted_at IS NULL
    WHERE item.status = 'pending' GROUP BY item.project_id, item.mode
"""
_REPORTS = f"""
    SELECT project.id, of_mode.mode, found.number FROM {_ACCOUNTS} CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM moderation_reviewitem item
        WHERE item.project_id = project.id AND item.mode = of_mode.mode AND item.created_at >= %(since)s
          AND item.kind = 'report'
    ) found WHERE project.deleted_at IS NULL AND found.number > 0
"""  # noqa: S608 - only the name above goes in
# What takes credits and what gives them back to the same use.
_USE_KINDS = ["spend", "reserve", "commit", "release", "reservation_expired"]


def register_measures() -> None:
    """Register what this app and those below it can measure."""
    register_measure(AlertKind.INBOUND_FAILURES, inbound_failures)
    register_measure(AlertKind.OLDEST_EVENT, oldest_event)
    register_measure(AlertKind.FAILED_PAYMENTS, failed_payments, has_gaps=True)
    register_measure(AlertKind.ODD_CREDIT_USE, odd_credit_use)
    register_measure(AlertKind.REVIEW_BACKLOG, review_backlog)
    register_measure(AlertKind.REPORTS_SPIKE, reports)


def inbound_failures(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Count events of Stripe whose last attempt failed within the window and that are not processed since."""
    return [Reading(*row) for row in _rows(_INBOUND_FAILURES, since=moment - window)]


def oldest_event(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Say for how many minutes the oldest unfinished event has waited, whatever it waits for."""
    return [Reading(project, mode, int(age)) for project, mode, age in _rows(_OLDEST_EVENT, moment=moment) if age > 0]


def failed_payments(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Say how many percent of the payments begun within the window have failed, where there are enough to tell."""
    found = _rows(_FAILED_PAYMENTS, since=moment - window, payments_min=PAYMENTS_MIN)
    return [
        Reading(project, mode, rate, f"{failed} of {number} payments failed")
        for project, mode, rate, failed, number in found
    ]


@dataclass(frozen=True)
class OddUser:
    """A user who spent many `times` what they usually do in such a window."""

    project_id: uuid.UUID
    mode: str
    times: int
    credits: int
    external_id: str
    end_user_id: uuid.UUID


def odd_credit_use(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Say how many times the usual the oddest user spent within the window."""
    return [
        Reading(user.project_id, user.mode, user.times, f"user {user.external_id} used {user.credits} credits")
        for user in _odd_users(_ODD_CREDIT_USE, moment, window)
    ]


def odd_credit_users(moment: dt.datetime, window: dt.timedelta, *, at_least: int) -> list[OddUser]:
    """List the users who spent at least so many times their usual within the window."""
    return [user for user in _odd_users(_ODD_CREDIT_USERS, moment, window) if user.times >= at_least]


def _odd_users(query: str, moment: dt.datetime, window: dt.timedelta) -> list[OddUser]:
    since = moment - window
    found = _rows(
        query,
        since=since,
        first_id=first_uuid7_of(min(since, timezone.now() - window)),
        kinds=_USE_KINDS,
        credits_min=CREDITS_MIN,
        usual_min=USUAL_CREDITS_MIN,
        windows=max(1.0, dt.timedelta(days=USUAL_DAYS) / window),
        usual_from=since - dt.timedelta(days=USUAL_DAYS),
    )
    return [
        OddUser(project, mode, int(times), int(credits), external_id, end_user_id)
        for project, mode, times, credits, external_id, end_user_id in found
    ]


def review_backlog(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Count review items that nobody has decided."""
    return [Reading(*row) for row in _rows(_REVIEW_BACKLOG)]


def reports(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Count reports by users within the window."""
    return [Reading(*row) for row in _rows(_REPORTS, since=moment - window)]


def _rows(query: str, **values: Any) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
