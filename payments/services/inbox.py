"""The inbox: one row per event, leased in batches, finished or tried again, never lost.

Invariants: an event has one row, whatever is delivered twice; a leased row is simply not due until its lease ends, so a
dead worker's rows come back by themselves; only the holder of the lease finishes a row. All times are the database's.
"""

import datetime as dt
import random
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now

from common.errors import ApiError
from common.ids import uuid7
from common.locks import LEASE_EVENTS, pick_alone
from common.logs import redact
from common.metrics import EVENT_FAILURES, EVENT_LAG_SECONDS, EVENTS_FINISHED
from payments.models import SyncLease, WebhookEvent

Status = WebhookEvent.Status
EVENTS_PER_GROUP_MAX = 100
GROUPS_PER_ACCOUNT_MAX = 3
ERROR_CHARS = 1000
CONFIG_ERROR = "config_error"
CONFIG_WAIT_SECONDS = 60
PERMISSION_WAIT_SECONDS = 300
BUSY_WAIT_SECONDS = 0.5
TRANSIENT_WAIT_SECONDS_MAX = 30.0
OUTAGE_WAIT_SECONDS_MAX = 5.0
BACKOFF_SECONDS = 2.0
BACKOFF_SECONDS_MAX = 600.0
# How far back, and how many at a time, events are taken up again whose type was not followed when they came.
FOLLOWED_DAYS = 30
FOLLOWED_AT_A_TIME = 1000
# What a row says besides how it ended.
DONE: dict[str, Any] = {"handled_at": Now(), "lease_token": None, "lease_until": None, "wait_reason": ""}


class UnknownProject(ApiError):
    """404: the project was deleted while its event was on the way."""

    status_code = 404


@dataclass(frozen=True)
class IncomingEvent:
    """A verified event as it is stored: its columns, and its JSON text (payments/event_body.py reads it)."""

    event_id: str
    type: str
    livemode: bool | None
    api_version: str
    account_id: str
    created_at: dt.datetime | None
    object_id: str
    root: str
    text: str


@dataclass
class EventGroup:
    """The due events of one root, leased together so that one read from Stripe serves them all."""

    project_id: uuid.UUID
    mode: str
    root: str
    token: uuid.UUID
    events: list[WebhookEvent] = field(default_factory=list)
    # Events of a shared account that do not say whose their object is: it shows when the object is read.
    undecided: set[uuid.UUID] = field(default_factory=set)
    # Events of types that nothing here follows.
    not_followed: list[WebhookEvent] = field(default_factory=list)
    # Events whose object turned out to have no customer, by the root that they are written under instead.
    without_customer: dict[str, list[WebhookEvent]] = field(default_factory=dict)


_STORE = """
    INSERT INTO payments_webhookevent
        (id, project_id, mode, event_id, type, api_version, stripe_account_id, stripe_created_at, object_id, root, payload,
         source, without_effects, status, attempts, error, wait_reason)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, 'pending', 0, '', '')
    ON CONFLICT (project_id, mode, event_id) DO NOTHING
"""


def store_event(
    *,
    project_id: uuid.UUID,
    mode: str,
    event: IncomingEvent,
    source: str = "webhook",
    without_effects: bool = False,
) -> bool:
    """Commit one event's row in one statement; False when it was there already. Raises: UnknownProject (404)."""
    values: list[Any] = [
        uuid7(), project_id, mode, event.event_id, event.type, event.api_version, event.account_id, event.created_at,
        event.object_id, event.root, event.text, source, without_effects,
    ]  # fmt: skip
    try:
        with connection.cursor() as cursor:
            cursor.execute(_STORE, values)
            return cursor.rowcount == 1
    except IntegrityError:
        raise UnknownProject() from None


# Events of refunds, disputes and invoices' payments name no customer: their root is the payment or the invoice.
_NAMELESS = "(starts_with({root}, 'pi_') OR starts_with({root}, 'in_'))"
# Walks from account to account over the partial index, so that a tenant with a million rows costs no more than one with
# ten, and takes each account's oldest roots up to what it may still hold: a slow tenant cannot occupy every worker. A root that
# names no customer is looked up in our own rows, then among the events about it, so that one read serves all that happened to a
# customer at once. What is found decides about the lease only: the read says whose the object is.
_LEASE = f"""
    WITH RECURSIVE account AS (
        (SELECT project_id, mode FROM payments_webhookevent WHERE status IN ('pending', 'processing')
         ORDER BY project_id, mode LIMIT 1)
        UNION ALL
        SELECT following.* FROM account, LATERAL (
            SELECT e.project_id, e.mode FROM payments_webhookevent e
            WHERE e.status IN ('pending', 'processing') AND (e.project_id, e.mode) > (account.project_id, account.mode)
            ORDER BY e.project_id, e.mode LIMIT 1
        ) following
    ),
    due AS MATERIALIZED (
        SELECT account.project_id, account.mode, oldest.root, oldest.names, gen_random_uuid() AS token
        FROM account
        CROSS JOIN LATERAL (
            SELECT count(DISTINCT root) AS roots FROM payments_webhookevent e
            WHERE e.project_id = account.project_id AND e.mode = account.mode AND e.status = 'processing'
              AND e.next_attempt_at > clock_timestamp()
        ) held
        CROSS JOIN LATERAL (
            SELECT coalesce(owner.root, named.root) AS root, array_agg(named.root) AS names, min(named.since) AS since
            FROM (
                SELECT root, min(next_attempt_at) AS since FROM (
                    SELECT root, next_attempt_at FROM payments_webhookevent e
                    WHERE e.project_id = account.project_id AND e.mode = account.mode
                      AND e.status IN ('pending', 'processing') AND e.next_attempt_at <= clock_timestamp()
                    ORDER BY e.next_attempt_at LIMIT 500
                ) window_of_account GROUP BY root
            ) named
            LEFT JOIN LATERAL (
                SELECT known.root FROM (
                    SELECT stripe_customer_id AS root FROM payments_transaction
                    WHERE project_id = account.project_id AND mode = account.mode AND payment_intent_id = named.root
                    UNION ALL
                    SELECT stripe_customer_id FROM payments_invoice
                    WHERE project_id = account.project_id AND mode = account.mode AND stripe_invoice_id = named.root
                    UNION ALL
                    SELECT about.root FROM payments_webhookevent about
                    WHERE about.project_id = account.project_id AND about.mode = account.mode
                      AND about.object_id = named.root AND NOT {_NAMELESS.format(root="about.root")}
                ) known
                WHERE known.root <> '' AND {_NAMELESS.format(root="named.root")} LIMIT 1
            ) owner ON true
            GROUP BY 1 ORDER BY since LIMIT greatest(%s - held.roots, 0)
        ) oldest
        ORDER BY row_number() OVER (PARTITION BY account.project_id, account.mode ORDER BY oldest.since), oldest.since
        LIMIT %s
    )
    UPDATE payments_webhookevent leased
    SET status = 'processing', root = wanted.root, lease_token = wanted.token, wait_reason = '',
        lease_until = wanted.until, next_attempt_at = wanted.until
    FROM (
        SELECT picked.id, due.root, due.token, clock_timestamp() + make_interval(secs => %s) AS until
        FROM due
        CROSS JOIN LATERAL (
            SELECT e.id FROM payments_webhookevent e
            WHERE e.project_id = due.project_id AND e.mode = due.mode AND e.root = ANY(array_append(due.names, due.root))
              AND e.status IN ('pending', 'processing') AND e.next_attempt_at <= clock_timestamp()
            ORDER BY e.received_at LIMIT %s FOR UPDATE SKIP LOCKED
        ) picked
    ) wanted
    WHERE leased.id = wanted.id
    RETURNING leased.*
"""  # noqa: S608 - only a condition of our own goes in


def lease_due_groups(*, limit: int) -> list[EventGroup]:
    """Lease the due events of at most `limit` roots, fairly over the accounts. Two statements.

    Units: an account holds at most GROUPS_PER_ACCOUNT_MAX roots at a time, over all workers.
    """
    with transaction.atomic():
        # One at a time picks, or two pickers would each see room for the same account. It takes a millisecond.
        pick_alone(LEASE_EVENTS)
        values = [GROUPS_PER_ACCOUNT_MAX, limit, settings.EVENT_LEASE_SECONDS, EVENTS_PER_GROUP_MAX]
        leased = sorted(WebhookEvent.objects.raw(_LEASE, values), key=lambda event: (event.received_at, event.id))
    groups: dict[uuid.UUID, EventGroup] = {}
    for event in leased:
        token = event.lease_token
        if token is not None:
            group = groups.setdefault(token, EventGroup(event.project_id, event.mode, event.root, token))
            group.events.append(event)
    return list(groups.values())


def renew_leases(*, tokens: Sequence[uuid.UUID]) -> None:
    """Prolong leases of groups that are still in work, those on their events and those on their roots."""
    until = Now() + dt.timedelta(seconds=settings.EVENT_LEASE_SECONDS)
    WebhookEvent.objects.filter(lease_token__in=tokens, status=Status.PROCESSING).update(
        lease_until=until, next_attempt_at=until
    )
    # One that ran out may be somebody else's by now, or wanted by somebody who waits.
    SyncLease.objects.filter(token__in=tokens, until__gt=Now()).update(until=until)


def finish_events(group: EventGroup, events: Sequence[WebhookEvent], *, status: str, reason: str = "") -> int:
    """Mark leased events as done; rows that somebody else leased meanwhile are left to them."""
    if not events:
        return 0
    _observe(events, status)
    return _held(group, events).update(**DONE, status=status, error=reason)


def finish_with_ignored(group: EventGroup, processed: Sequence[WebhookEvent]) -> None:
    """Mark what was processed as done and with it, in the same statement, what nothing follows."""
    _observe(processed, Status.PROCESSED)
    _observe(group.not_followed, Status.IGNORED)
    nothing_follows = When(pk__in=[event.pk for event in group.not_followed], then=Value(Status.IGNORED.value))
    why = When(pk__in=[event.pk for event in group.not_followed], then=Value(WebhookEvent.NOT_FOLLOWED))
    _held(group, [*processed, *group.not_followed]).update(
        **DONE,
        status=Case(nothing_follows, default=Value(Status.PROCESSED.value)),
        error=Case(why, default=Value("")),
    )


def _observe(events: Sequence[WebhookEvent], status: str) -> None:
    """Count what is being finished, and how long it took. What the transaction then does not keep is counted again."""
    now = time.time()
    for event in events:
        EVENTS_FINISHED.labels(mode=event.mode, status=str(status)).inc()
        if status == Status.PROCESSED:
            EVENT_LAG_SECONDS.labels(mode=event.mode).observe(max(0.0, now - event.received_at.timestamp()))


def put_back(
    group: EventGroup, events: Sequence[WebhookEvent], *, seconds: float, wait_reason: str = "", error: str = ""
) -> None:
    """Let leased events wait without using up an attempt."""
    # To wait for a mended key is a failure; to wait for somebody who writes the same customer is none.
    failed = {"failed_at": Now()} if error else {}
    _held(group, events).update(
        **failed,
        status=Status.PENDING,
        next_attempt_at=Now() + dt.timedelta(seconds=seconds),
        lease_token=None,
        lease_until=None,
        wait_reason=wait_reason,
        error=_safe(error),
    )


def move_to_root(group: EventGroup, events: Sequence[WebhookEvent], *, root: str) -> None:
    """Give events to the root that their object turned out to belong to; they are due at once."""
    _held(group, events).update(
        status=Status.PENDING, root=root, next_attempt_at=Now(), lease_token=None, lease_until=None
    )


def fail_events(group: EventGroup, events: Sequence[WebhookEvent], error: Exception) -> None:
    """Note a failed attempt: tried again after a growing, jittered pause, or laid aside as dead with the error's text.

    Trouble that passes by itself (Stripe away, too many calls, a busy row) never makes a dead letter.
    """
    transient = bool(getattr(error, "retryable", False)) or _is_database_trouble(error)
    text = _safe(f"{type(error).__name__}: {error}")
    EVENT_FAILURES.labels(mode=group.mode).inc(len(events))
    for event in events:
        attempts = event.attempts + 1
        if not transient and attempts >= settings.EVENT_MAX_ATTEMPTS:
            _observe([event], Status.DEAD)
            _held(group, [event]).update(
                status=Status.DEAD,
                attempts=attempts,
                handled_at=Now(),
                failed_at=Now(),
                lease_token=None,
                lease_until=None,
                error=text,
            )
            continue
        pause = dt.timedelta(seconds=pause_seconds(attempts, transient=transient))
        _held(group, [event]).update(
            status=Status.PENDING,
            attempts=F("attempts") + 1,
            next_attempt_at=Now() + pause,
            failed_at=Now(),
            lease_token=None,
            lease_until=None,
            error=text,
        )


def pause_seconds(attempts: int, *, transient: bool) -> float:
    """Say how long to wait after so many attempts: doubled each time, between half and all of it at random, bounded."""
    longest = TRANSIENT_WAIT_SECONDS_MAX if transient else BACKOFF_SECONDS_MAX
    full = min(BACKOFF_SECONDS * 2 ** min(attempts - 1, 20), longest)
    return full * random.uniform(0.5, 1.0)


def hold_for_config(group: EventGroup, error: Exception) -> None:
    """Let every due event of the account wait for a mended key, so that a thousand of them do not each ask Stripe."""
    put_back(group, group.events, seconds=CONFIG_WAIT_SECONDS, wait_reason=CONFIG_ERROR, error=str(error))
    due = WebhookEvent.objects.for_project(group.project_id).filter(mode=group.mode, status=Status.PENDING)
    due.filter(next_attempt_at__lte=Now()).update(
        next_attempt_at=Now() + dt.timedelta(seconds=CONFIG_WAIT_SECONDS), wait_reason=CONFIG_ERROR
    )


def hold_for_permission(group: EventGroup, events: Sequence[WebhookEvent], error: Exception) -> None:
    """Let events wait for a permission that the key lacks. Only these: others of the account may need no such permission."""
    put_back(group, events, seconds=PERMISSION_WAIT_SECONDS, wait_reason=CONFIG_ERROR, error=str(error))


def hold_for_outage(group: EventGroup, *, attempts: int) -> None:
    """Let the account's other due events wait a little while Stripe is away, so that each does not ask by itself.

    What arrives meanwhile is still tried at once and tells when Stripe is back; the pause is short, since the trouble may be
    one object's alone.
    """
    seconds = min(pause_seconds(attempts, transient=True), OUTAGE_WAIT_SECONDS_MAX)
    due = WebhookEvent.objects.for_project(group.project_id).filter(mode=group.mode, status=Status.PENDING)
    due.filter(next_attempt_at__lte=Now()).update(next_attempt_at=Now() + dt.timedelta(seconds=seconds))


def resume_waiting_events(*, project_id: uuid.UUID) -> int:
    """Make a project's events that waited for a mended key due at once; called when its configuration is saved."""
    waiting = WebhookEvent.objects.for_project(project_id).filter(status=Status.PENDING, wait_reason=CONFIG_ERROR)
    return waiting.update(next_attempt_at=Now(), wait_reason="")


def replay_event(*, event: WebhookEvent) -> bool:
    """Make a dead or ignored event due again; False when somebody else has just done so."""
    rows = WebhookEvent.objects.for_project(event.project_id).filter(pk=event.pk)
    return replay_events(rows) == 1


def replay_events(rows: Any) -> int:
    """Make dead and ignored events among these rows due again, each once however often this is called; returns how many."""
    count: int = rows.filter(status__in=[Status.DEAD, Status.IGNORED]).update(
        status=Status.PENDING, attempts=0, next_attempt_at=Now(), handled_at=None, error="", wait_reason=""
    )
    return count


_FOLLOW = """
    WITH followed AS MATERIALIZED (
        SELECT id FROM payments_webhookevent
        WHERE status = 'ignored' AND error = '{not_followed}' AND type = ANY(%s)
          AND received_at > clock_timestamp() - make_interval(days => %s)
        ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE payments_webhookevent event
    SET status = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), handled_at = NULL, error = '', wait_reason = ''
    FROM followed WHERE event.id = followed.id
"""


def follow_ignored_events(*, types: Iterable[str], limit: int = FOLLOWED_AT_A_TIME) -> int:
    """Make events due again that were ignored because nothing followed their type, and something does now; returns how many.

    Workers of the release before ignore such events for as long as they run beside ours. One statement over an index of its own.
    """
    # A thin event of a v1 object is named after it. The text stands in the statement: the planner must see that the partial
    # index webhook_event_not_followed fits.
    named = [name for known in types for name in (known, f"v1.{known}")]
    sql = _FOLLOW.format(not_followed=WebhookEvent.NOT_FOLLOWED)
    with connection.cursor() as cursor:
        cursor.execute(sql, [named, FOLLOWED_DAYS, limit])
        return cursor.rowcount


def _held(group: EventGroup, events: Sequence[WebhookEvent]) -> Any:
    rows = WebhookEvent.objects.for_project(group.project_id)
    return rows.filter(pk__in=[event.pk for event in events], lease_token=group.token)


def _is_database_trouble(error: Exception) -> bool:
    return isinstance(error, OperationalError | InterfaceError)


def _safe(text: str) -> str:
    return redact(text).replace("\x00", "\ufffd")[:ERROR_CHARS]
