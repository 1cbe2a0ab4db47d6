"""Rules that look for what nobody would tell of: odd use of credits, users whose payments fail again and again, dead events.

Invariant: about one subject at most one item of a rule waits, and one a day at most is opened (`open_unless_open`).
Disputes, fraud warnings, unknown prices, failed provisioning, stuck licences and dead effects open theirs where they happen.
"""

import datetime as dt
import uuid
from typing import Any

from django.db import connection, transaction

from common import clock
from moderation.models import ReviewItem
from moderation.services.review import open_review_item, open_unless_open
from payments.services.alert_measures import odd_credit_users

# So many failed payments of one payer within the window are no card that ran out: somebody tries cards, or is in trouble.
FAILED_PAYMENTS_MIN = 5
FAILED_PAYMENTS_WINDOW = dt.timedelta(hours=24)
CREDITS_WINDOW = dt.timedelta(hours=1)
CREDITS_TIMES_USUAL = 10
DEAD_WINDOW = dt.timedelta(hours=24)
ROWS_MAX = 500

_FAILED_PAYMENTS = """
    SELECT payment.project_id, payment.mode, payment.end_user_id, payment.stripe_customer_id, count(*),
           array_agg(payment.payment_intent_id ORDER BY payment.created_at DESC), max(end_user.external_id)
    FROM projects_project project CROSS JOIN (VALUES ('test'), ('live')) AS of_mode(mode)
    JOIN payments_transaction payment ON payment.project_id = project.id AND payment.mode = of_mode.mode
        AND payment.created_at >= %(since)s AND payment.status = 'failed'
    LEFT JOIN projects_enduser end_user ON end_user.id = payment.end_user_id
    WHERE project.deleted_at IS NULL AND (payment.end_user_id IS NOT NULL OR payment.stripe_customer_id <> '')
    GROUP BY payment.project_id, payment.mode, payment.end_user_id, payment.stripe_customer_id
    HAVING count(*) >= %(least)s LIMIT %(rows)s
"""
_DEAD_EVENTS = """
    SELECT event.project_id, event.mode, event.event_id, event.type, left(event.error, 500), event.failed_at
    FROM projects_project project CROSS JOIN (VALUES ('test'), ('live')) AS of_mode(mode)
    JOIN payments_webhookevent event ON event.project_id = project.id AND event.mode = of_mode.mode
        AND event.status = 'dead' AND event.failed_at >= %(since)s
    WHERE project.deleted_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM moderation_reviewitem item WHERE item.project_id = event.project_id AND item.mode = event.mode
          AND item.kind = 'dead_letter' AND item.subject = event.event_id
          AND (item.status = 'pending' OR item.created_at > event.failed_at)
    ) LIMIT %(rows)s
"""


def look_for_trouble() -> int:
    """Run every rule; returns how many items are new. Safe to run twice at once."""
    moment = clock.now()
    return failing_payers(moment) + odd_users_of_credits(moment) + dead_events(moment)


def failing_payers(moment: dt.datetime) -> int:
    """Put payers before the staff whose payments failed again and again within a day."""
    opened = 0
    found = _rows(_FAILED_PAYMENTS, since=moment - FAILED_PAYMENTS_WINDOW, least=FAILED_PAYMENTS_MIN, rows=ROWS_MAX)
    for project_id, mode, end_user_id, customer_id, count, intents, external_id in found:
        opened += _open(
            project_id, mode, ReviewItem.Kind.FAILED_PAYMENTS, str(end_user_id or customer_id),
            f"{count} payments of {external_id or customer_id} failed within a day",
            end_user_id, {"failed_payments": count, "stripe_customer_id": customer_id, "payment_intent_ids": intents[:20]},
        )  # fmt: skip
    return opened


def odd_users_of_credits(moment: dt.datetime) -> int:
    """Put users before the staff who spent many times their usual within an hour."""
    opened = 0
    for user in odd_credit_users(moment, CREDITS_WINDOW, at_least=CREDITS_TIMES_USUAL)[:ROWS_MAX]:
        opened += _open(
            user.project_id, user.mode, ReviewItem.Kind.ODD_CREDIT_USE, str(user.end_user_id),
            f"{user.external_id} used {user.credits} credits within an hour, {user.times} times the usual",
            user.end_user_id, {"credits": user.credits, "times_the_usual": user.times},
        )  # fmt: skip
    return opened


def dead_events(moment: dt.datetime) -> int:
    """Put events of Stripe before the staff that were given up; one that dies again after a replay once more."""
    opened = 0
    found = _rows(_DEAD_EVENTS, since=moment - DEAD_WINDOW, rows=ROWS_MAX)
    for project_id, mode, event_id, event_type, error, failed_at in found:
        with transaction.atomic():
            opened += open_review_item(
                project_id=project_id,
                mode=mode,
                kind=ReviewItem.Kind.DEAD_LETTER,
                cause_key=f"event:{event_id}:{int(failed_at.timestamp() * 1000)}",
                title=f"{event_type} could not be processed",
                subject=event_id,
                details={"event_id": event_id, "type": event_type, "error": error},
            )
    return opened


def _open(
    project_id: uuid.UUID,
    mode: str,
    kind: ReviewItem.Kind,
    subject: str,
    title: str,
    end_user_id: uuid.UUID | None,
    details: dict[str, Any],
) -> int:
    with transaction.atomic():
        return int(
            open_unless_open(
                project_id=project_id,
                mode=mode,
                kind=kind,
                subject=subject,
                title=title,
                end_user_id=end_user_id,
                details=details,
            )
        )


def _rows(query: str, **values: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())
