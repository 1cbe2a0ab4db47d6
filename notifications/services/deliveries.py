"""Deliveries of events to the app's endpoints: who gets one, which are due, and what an attempt leads to.

Invariants: an event goes to an endpoint once (unique key); a leased delivery is not due until its lease ends, so a dead worker's
come back by themselves; only the holder of the lease notes an outcome; an endpoint that fails is asked by one at a time and after
growing pauses, however much waits for it. All times are the database's.
"""

import datetime as dt
import logging
import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce, Now

from common.locks import LEASE_DELIVERIES, pick_alone
from notifications.event_types import patterns_of
from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services.endpoints import DisabledReason, disable_in_trouble
from notifications.services.outbox import NO_LISTENER, EffectSkipped

logger = logging.getLogger(__name__)

Status = WebhookDelivery.Status
# How many deliveries are in hand at a time, over all workers.
OF_ACCOUNT_MAX = 4
OF_ENDPOINT_MAX = 2
# The pauses between the attempts: twelve attempts within 71 hours. Each is shortened at random by up to a seventh.
PAUSES_SECONDS = (5, 30, 120, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600)
ATTEMPTS_MAX = len(PAUSES_SECONDS) + 1
KEPT_TRYING_FOR = dt.timedelta(days=3)
RETRY_AFTER_SECONDS_MAX = 3600.0
# After so many failures in a row the whole endpoint is left alone for a while: twice as long each time, up to the bound.
FAILURES_BEFORE_HOLD = 3
HOLD_SECONDS = 5.0
HOLD_SECONDS_MAX = 300.0
# Failing for so long, and at least so often, disables an endpoint.
DISABLED_AFTER = dt.timedelta(days=5)
DISABLED_AFTER_FAILURES = 10
LOG_ENTRIES_MAX = 20
# The app says that it listens there no more.
GONE = 410
GAVE_UP = "It could not be delivered within three days."
BATCH = 1000

# Walks from endpoint to endpoint over the partial index: each offers what is due, as far as there is room at it. What is offered
# is dealt out in turn, first over the endpoints of an account, then over the accounts.
_LEASE = """
    WITH RECURSIVE walk AS (
        (SELECT endpoint_id FROM notifications_webhookdelivery WHERE status IN ('pending', 'processing')
         ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT following.endpoint_id FROM walk, LATERAL (
            SELECT e.endpoint_id FROM notifications_webhookdelivery e
            WHERE e.status IN ('pending', 'processing') AND e.endpoint_id > walk.endpoint_id
            ORDER BY e.endpoint_id LIMIT 1
        ) following
    ),
    lane AS (
        SELECT endpoint.id, endpoint.project_id, endpoint.mode,
               CASE WHEN endpoint.failures_in_row > 0 THEN 1 ELSE %(of_endpoint)s END - held.number AS room
        FROM walk JOIN notifications_webhookendpoint endpoint ON endpoint.id = walk.endpoint_id
        JOIN projects_project project ON project.id = endpoint.project_id AND project.deleted_at IS NULL
        CROSS JOIN LATERAL (
            SELECT count(*) AS number FROM notifications_webhookdelivery e
            WHERE e.project_id = endpoint.project_id AND e.mode = endpoint.mode AND e.endpoint_id = endpoint.id
              AND e.status = 'processing' AND e.next_attempt_at > clock_timestamp()
        ) held
        WHERE endpoint.disabled_at IS NULL
          AND (endpoint.held_until IS NULL OR endpoint.held_until <= clock_timestamp())
    ),
    offered AS (
        SELECT lane.project_id, lane.mode, due.id, due.since,
               row_number() OVER (PARTITION BY lane.id ORDER BY due.since, due.id) AS of_endpoint
        FROM lane CROSS JOIN LATERAL (
            SELECT e.id, e.next_attempt_at AS since FROM notifications_webhookdelivery e
            WHERE e.endpoint_id = lane.id AND e.status IN ('pending', 'processing')
              AND e.next_attempt_at <= clock_timestamp()
            ORDER BY e.next_attempt_at, e.id LIMIT GREATEST(lane.room, 0)
        ) due
    ),
    ranked AS (
        SELECT offered.*, row_number() OVER (PARTITION BY project_id, mode ORDER BY of_endpoint, since, id) AS place
        FROM offered
    ),
    due AS MATERIALIZED (
        SELECT ranked.id FROM ranked CROSS JOIN LATERAL (
            SELECT count(*) AS number FROM notifications_webhookdelivery e
            WHERE e.project_id = ranked.project_id AND e.mode = ranked.mode AND e.status = 'processing'
              AND e.next_attempt_at > clock_timestamp()
        ) held
        WHERE ranked.place <= %(of_account)s - held.number
        ORDER BY ranked.place, ranked.since LIMIT %(limit)s
    )
    UPDATE notifications_webhookdelivery leased
    SET status = 'processing', lease_token = gen_random_uuid(), lease_until = wanted.until, next_attempt_at = wanted.until
    FROM (
        SELECT e.id, clock_timestamp() + make_interval(secs => %(lease)s) AS until
        FROM notifications_webhookdelivery e JOIN due ON due.id = e.id
        WHERE e.status IN ('pending', 'processing') AND e.next_attempt_at <= clock_timestamp()
        FOR UPDATE OF e SKIP LOCKED
    ) wanted
    WHERE leased.id = wanted.id
    RETURNING leased.*
"""


@dataclass(frozen=True)
class Outcome:
    """What an attempt led to: the answer's status (None when there was none) and the beginning of its body."""

    at: dt.datetime
    duration_ms: int
    status_code: int | None = None
    error: str = ""
    answer: str = ""
    retry_after_seconds: float = 0.0
    # What went wrong is the service's own doing, and says nothing about the endpoint.
    is_ours: bool = False

    @property
    def succeeded(self) -> bool:
        """Say whether the app has taken the event."""
        return self.status_code is not None and 200 <= self.status_code < 300

    def entry(self) -> dict[str, Any]:
        """Return what the log keeps of it."""
        return {
            "at": utc_text(self.at),
            "duration_ms": self.duration_ms,
            "status_code": self.status_code,
            "error": self.error,
            "answer": self.answer,
        }


def utc_text(at: dt.datetime) -> str:
    """Write a time as the contract does: ISO-8601 in UTC, ending in Z."""
    return at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def listening_to(*, project_id: uuid.UUID, mode: str, event_type: str) -> QuerySet[WebhookEndpoint]:
    """Return the endpoints in use that asked for a type."""
    rows = WebhookEndpoint.objects.for_project(project_id).in_mode(mode).filter(disabled_at=None)
    return rows.filter(event_types__overlap=patterns_of(event_type))


def fan_out(row: OutboxRow) -> dict[str, Any]:
    """Carry out an `app_event`: make one delivery for each endpoint that listened when it happened.

    Raises: EffectSkipped when none does any more.
    """
    event_type = str(row.payload["type"])
    endpoints = listening_to(project_id=row.project_id, mode=row.mode, event_type=event_type)
    found = list(endpoints.filter(created_at__lte=row.created_at).values_list("pk", flat=True))
    if not found:
        raise EffectSkipped(NO_LISTENER)
    create_deliveries(new_delivery(row, endpoint_id, event_type) for endpoint_id in found)
    return {"deliveries": len(found)}


def new_delivery(event: OutboxRow, endpoint_id: uuid.UUID, event_type: str, **fields: Any) -> WebhookDelivery:
    """Return a delivery unsaved."""
    return WebhookDelivery(
        project_id=event.project_id,
        mode=event.mode,
        endpoint_id=endpoint_id,
        event_id=event.pk,
        event_type=event_type,
        give_up_at=Now() + KEPT_TRYING_FOR,
        **fields,
    )


def create_deliveries(rows: Iterable[WebhookDelivery]) -> int:
    """Insert deliveries; one that is there already stays as it is. Returns how many were asked for."""
    return len(WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True))


def lease_due_deliveries(*, limit: int) -> list[WebhookDelivery]:
    """Lease at most `limit` due deliveries, fairly over accounts and endpoints. Two statements."""
    values = {
        "of_account": OF_ACCOUNT_MAX,
        "of_endpoint": OF_ENDPOINT_MAX,
        "limit": limit,
        "lease": settings.EVENT_LEASE_SECONDS,
    }
    with transaction.atomic():
        # One at a time picks, or two pickers would each see room at the same endpoint.
        pick_alone(LEASE_DELIVERIES)
        return list(WebhookDelivery.objects.raw(_LEASE, values))


def renew_leases(*, tokens: Sequence[uuid.UUID]) -> None:
    """Prolong the leases of deliveries that are still in hand."""
    until = Now() + dt.timedelta(seconds=settings.EVENT_LEASE_SECONDS)
    held = WebhookDelivery.objects.filter(lease_token__in=tokens, status=Status.PROCESSING)
    held.update(lease_until=until, next_attempt_at=until)


def note_outcome(delivery: WebhookDelivery, outcome: Outcome) -> bool:
    """Commit what an attempt led to, for the delivery and for its endpoint; False when the lease was lost."""
    delivery.attempts += 1
    fields: dict[str, Any] = {
        "attempts": delivery.attempts,
        "lease_token": None,
        "lease_until": None,
        "status_code": outcome.status_code,
        "error": outcome.error,
        "log": [*delivery.log, outcome.entry()][-LOG_ENTRIES_MAX:],
    }
    pause = pause_seconds(delivery.attempts, outcome)
    if outcome.succeeded:
        fields |= {"status": Status.DELIVERED, "done_at": Now()}
    elif pause is None or delivery.is_test or outcome.status_code == GONE:
        fields |= {"status": Status.FAILED, "done_at": Now()}
    else:
        fields |= {"status": Status.PENDING, "next_attempt_at": Now() + dt.timedelta(seconds=pause)}
    with transaction.atomic():
        held = WebhookDelivery.objects.for_project(delivery.project_id).filter(pk=delivery.pk)
        if not held.filter(lease_token=delivery.lease_token).update(**fields):
            logger.warning("webhook_lease_lost delivery=%s", delivery.pk)
            return False
        # Nor does what the test button sends say anything about what the endpoint does with events.
        if not delivery.is_test and not outcome.is_ours:
            _note_health(delivery, outcome)
    return True


def pause_seconds(attempts: int, outcome: Outcome) -> float | None:
    """Say how long to wait after so many attempts, as the endpoint asked or as planned; None = it was the last."""
    if attempts >= ATTEMPTS_MAX:
        return None
    planned = PAUSES_SECONDS[attempts - 1] * random.uniform(6 / 7, 1.0)
    return max(planned, min(outcome.retry_after_seconds, RETRY_AFTER_SECONDS_MAX))


def _note_health(delivery: WebhookDelivery, outcome: Outcome) -> None:
    endpoints = WebhookEndpoint.objects.for_project(delivery.project_id).filter(pk=delivery.endpoint_id)
    if outcome.succeeded:
        # A busy endpoint's row is not written by each delivery.
        worth_noting = (
            Q(failures_in_row__gt=0) | Q(answered_at=None) | Q(answered_at__lt=Now() - dt.timedelta(minutes=1))
        )
        endpoints.filter(worth_noting).update(failures_in_row=0, failing_since=None, held_until=None, answered_at=Now())
        return
    # A row that is rotated or changed meanwhile is waited for.
    since = Now() - Coalesce("failing_since", Now())
    endpoint = endpoints.filter(disabled_at=None).annotate(failing_for=since).select_for_update(no_key=True).first()
    if endpoint is None:
        return
    failures = endpoint.failures_in_row + 1
    held = Now() + dt.timedelta(seconds=hold_seconds(failures)) if failures >= FAILURES_BEFORE_HOLD else None
    endpoints.update(failures_in_row=failures, failing_since=Coalesce("failing_since", Now()), held_until=held)
    if outcome.status_code == GONE:
        disable_in_trouble(endpoint, DisabledReason.GONE)
    elif endpoint.failing_for >= DISABLED_AFTER and failures >= DISABLED_AFTER_FAILURES:
        disable_in_trouble(endpoint, DisabledReason.FAILING)


def hold_seconds(failures: int) -> float:
    """Say how long an endpoint is left alone after so many failures in a row: doubled, between half and all of it at random."""
    full = min(HOLD_SECONDS * 2 ** min(failures - FAILURES_BEFORE_HOLD, 20), HOLD_SECONDS_MAX)
    return full * random.uniform(0.5, 1.0)


def give_up_late_deliveries() -> int:
    """Fail what could not be delivered in time, such as what waits at a disabled endpoint. Returns how many."""
    late = (
        WebhookDelivery.objects.unfinished()
        .filter(give_up_at__lt=Now())
        .exclude(status=Status.PROCESSING, next_attempt_at__gt=Now())
    )
    return _in_batches(
        late,
        lambda rows: rows.update(
            status=Status.FAILED, done_at=Now(), error=GAVE_UP, lease_token=None, lease_until=None
        ),
    )


def prune_deliveries() -> int:
    """Delete what was finished before the bodies of events are emptied. Returns how many."""
    until = Now() - dt.timedelta(days=settings.EVENT_BODY_RETENTION_DAYS)
    old = WebhookDelivery.objects.filter(created_at__lt=until).exclude(status__in=WebhookDelivery.UNFINISHED_STATUSES)
    return _in_batches(old, lambda rows: rows.delete()[0])


def _in_batches(rows: QuerySet[WebhookDelivery], change: Any) -> int:
    """Change rows a bounded number at a time, a transaction each."""
    total = 0
    while True:
        keys = list(rows.values_list("pk", flat=True)[:BATCH])
        if keys:
            total += change(rows.filter(pk__in=keys))
        if len(keys) < BATCH:
            return total
