"""Carries out the outbox: rows are leased, handed to their executor with no transaction open, finished or tried again.

Invariants: a leased row is not due until its lease ends, so a dead worker's rows come back by themselves; only the holder of the
lease finishes a row; of one lane the oldest unfinished row alone can be leased. All times are the database's.
"""

import datetime as dt
import logging
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from common.failpoints import failpoint
from common.locks import LEASE_OUTBOX, pick_alone
from common.logs import redact
from common.metrics import EFFECT_SECONDS, timed
from notifications.models import OutboxRow
from notifications.services.outbox import (
    EffectSkipped,
    EffectWaits,
    dead_letter_notices,
    done_notices,
    executable_kinds,
    executor_of,
    peers_of_kinds,
)

logger = logging.getLogger(__name__)

Status = OutboxRow.Status
# How many rows of one project and mode are in hand at a time, over all workers.
ROWS_PER_ACCOUNT_MAX = 3
# How many rows that ask the same peer a worker has in hand: one that hangs leaves threads for mails and for everybody else.
ROWS_PER_PEER_MAX = 3
BACKOFF_SECONDS = 5.0
BACKOFF_SECONDS_MAX = 3600.0
ERROR_CHARS = 1000
# Asked again this often even when nobody says that it is mended. An attempt costs one call or none.
WAIT_SECONDS = 120.0

# Walks from lane to lane over the partial index: a lane offers its oldest row, and only when that is due; rows without a lane
# are offered as they become due. What is offered is then dealt out in turn: first over the kinds of an account, up to what
# it may hold, then over the accounts, so that one whose peer hangs cannot hold the workers; last, a peer that several accounts
# share gets as many as there is room for.
_LEASE = """
    WITH RECURSIVE lane AS (
        (SELECT project_id, mode, kind, lane FROM notifications_outboxrow WHERE status IN ('pending', 'processing')
         ORDER BY project_id, mode, kind, lane LIMIT 1)
        UNION ALL
        SELECT following.* FROM lane, LATERAL (
            SELECT e.project_id, e.mode, e.kind, e.lane FROM notifications_outboxrow e
            WHERE e.status IN ('pending', 'processing')
              AND (e.project_id, e.mode, e.kind, e.lane) > (lane.project_id, lane.mode, lane.kind, lane.lane)
            ORDER BY e.project_id, e.mode, e.kind, e.lane LIMIT 1
        ) following
    ),
    offered AS (
        SELECT lane.project_id, lane.mode, lane.kind, oldest.id, oldest.next_attempt_at AS since
        FROM lane CROSS JOIN LATERAL (
            SELECT e.id, e.next_attempt_at FROM notifications_outboxrow e
            WHERE lane.lane = '' AND e.lane = '' AND e.project_id = lane.project_id AND e.mode = lane.mode
              AND e.kind = lane.kind AND e.status IN ('pending', 'processing') AND e.next_attempt_at <= clock_timestamp()
            ORDER BY e.next_attempt_at LIMIT %(of_account)s
        ) oldest
        WHERE lane.kind = ANY(%(kinds)s)
        UNION ALL
        SELECT lane.project_id, lane.mode, lane.kind, head.id, head.next_attempt_at
        FROM lane CROSS JOIN LATERAL (
            SELECT e.id, e.next_attempt_at FROM notifications_outboxrow e
            WHERE lane.lane <> '' AND e.lane = lane.lane AND e.project_id = lane.project_id AND e.mode = lane.mode
              AND e.kind = lane.kind AND e.status IN ('pending', 'processing')
            ORDER BY e.created_at, e.id LIMIT 1
        ) head
        WHERE lane.kind = ANY(%(kinds)s) AND head.next_attempt_at <= clock_timestamp()
    ),
    dealt AS (
        SELECT offered.*, row_number() OVER (PARTITION BY project_id, mode, kind ORDER BY since, id) AS of_kind FROM offered
    ),
    ranked AS (
        SELECT dealt.*, row_number() OVER (PARTITION BY project_id, mode ORDER BY of_kind, since, id) AS place FROM dealt
    ),
    allowed AS (
        SELECT ranked.* FROM ranked CROSS JOIN LATERAL (
            SELECT count(*) AS number FROM notifications_outboxrow e
            WHERE e.project_id = ranked.project_id AND e.mode = ranked.mode AND e.status = 'processing'
              AND e.next_attempt_at > clock_timestamp()
        ) held
        WHERE ranked.place <= %(of_account)s - held.number
    ),
    shared AS (
        SELECT allowed.id, allowed.place, allowed.since, peer.room,
               row_number() OVER (PARTITION BY peer.name ORDER BY allowed.place, allowed.since, allowed.id) AS of_peer
        FROM allowed
        LEFT JOIN unnest(%(peer_kinds)s::text[], %(peers)s::text[], %(rooms)s::int[]) AS peer(kind, name, room)
            ON peer.kind = allowed.kind
    ),
    due AS MATERIALIZED (
        SELECT id FROM shared WHERE room IS NULL OR of_peer <= room ORDER BY place, since LIMIT %(limit)s
    )
    UPDATE notifications_outboxrow leased
    SET status = 'processing', lease_token = gen_random_uuid(), lease_until = wanted.until, next_attempt_at = wanted.until
    FROM (
        SELECT e.id, clock_timestamp() + make_interval(secs => %(lease)s) AS until
        FROM notifications_outboxrow e JOIN due ON due.id = e.id
        WHERE e.status IN ('pending', 'processing') AND e.next_attempt_at <= clock_timestamp()
        FOR UPDATE OF e SKIP LOCKED
    ) wanted
    WHERE leased.id = wanted.id
    RETURNING leased.*
"""


def lease_due_rows(*, limit: int, in_hand: Sequence[OutboxRow] = ()) -> list[OutboxRow]:
    """Lease at most `limit` due rows of kinds that this process can carry out, fairly over the accounts. Two statements.

    Units: a project holds at most ROWS_PER_ACCOUNT_MAX rows of a mode at a time, over all workers; this worker, which has
    `in_hand`, at most ROWS_PER_PEER_MAX of the kinds that share a peer.
    """
    peers = peers_of_kinds()
    asked = Counter(peers.get(row.kind) for row in in_hand)
    values = {
        "of_account": ROWS_PER_ACCOUNT_MAX,
        "limit": limit,
        "lease": settings.EVENT_LEASE_SECONDS,
        "kinds": executable_kinds(),
        "peer_kinds": list(peers),
        "peers": list(peers.values()),
        "rooms": [ROWS_PER_PEER_MAX - asked[peer] for peer in peers.values()],
    }
    with transaction.atomic():
        # One at a time picks, or two pickers would each see room for the same account and take two rows of a lane.
        pick_alone(LEASE_OUTBOX)
        return list(OutboxRow.objects.raw(_LEASE, values))


def renew_leases(*, tokens: Sequence[uuid.UUID]) -> None:
    """Prolong the leases of rows that are still in work."""
    until = Now() + dt.timedelta(seconds=settings.EVENT_LEASE_SECONDS)
    OutboxRow.objects.filter(lease_token__in=tokens, status=Status.PROCESSING).update(
        lease_until=until, next_attempt_at=until
    )


def carry_out_row(row: OutboxRow) -> None:
    """Hand one leased row to its executor and commit the outcome; nothing but a lost database is raised."""
    if connection.in_atomic_block:
        raise RuntimeError("an effect reaches out of the service, so no transaction may be open")
    executor = executor_of(row.kind)
    if executor is None:
        raise RuntimeError(f"nothing carries out outbox rows of kind {row.kind}")
    with timed(EFFECT_SECONDS, kind=row.kind) as seen:
        try:
            result = executor(row)
        except EffectSkipped as reason:
            seen["outcome"] = "skipped"
            _finish(row, status=Status.SKIPPED, error=str(reason))
        except EffectWaits as cause:
            seen["outcome"] = "waits"
            _put_back(row, cause)
        except Exception as error:
            seen["outcome"] = "failed"
            _note_failure(row, error)
        else:
            failpoint("outbox.before_stamp")
            _mark_done(row, result)


def pause_seconds(attempts: int) -> float:
    """Say how long to wait after so many attempts: doubled each time, between half and all of it at random, bounded."""
    full = min(BACKOFF_SECONDS * 2 ** min(attempts - 1, 20), BACKOFF_SECONDS_MAX)
    return full * random.uniform(0.5, 1.0)


def replay_rows(rows: QuerySet[OutboxRow]) -> int:
    """Make dead letters among these rows due again, each once however often this is called; returns how many."""
    return rows.filter(status=Status.DEAD).update(
        status=Status.PENDING, attempts=0, next_attempt_at=Now(), done_at=None, error="", wait_reason=""
    )


def resume_waiting_rows(*, project_id: uuid.UUID, reason: str) -> int:
    """Make a project's effects that waited for something due at once, now that it is mended; returns how many."""
    waiting = OutboxRow.objects.for_project(project_id).filter(status=Status.PENDING, wait_reason=reason)
    return waiting.update(next_attempt_at=Now(), wait_reason="")


def _put_back(row: OutboxRow, cause: EffectWaits) -> None:
    """Let a row wait without using up an attempt, and with it what would only ask the same again."""
    until = Now() + dt.timedelta(seconds=WAIT_SECONDS)
    _held(row).update(
        status=Status.PENDING,
        next_attempt_at=until,
        lease_token=None,
        lease_until=None,
        wait_reason=cause.reason,
        error=_safe(str(cause)),
    )
    if cause.holds_its_kind:
        rows = OutboxRow.objects.for_project(row.project_id).filter(mode=row.mode, kind=row.kind, status=Status.PENDING)
        rows.filter(next_attempt_at__lte=Now()).update(next_attempt_at=until, wait_reason=cause.reason)


def _mark_done(row: OutboxRow, result: Mapping[str, Any] | None) -> None:
    """Note what the peer took, and tell those who keep a stamp of their own, in one transaction.

    A notice that fails costs its stamp and not a second effect: the peer has taken this one.
    """
    try:
        with transaction.atomic():
            if _finish(row, status=Status.DONE, result=result):
                for notice in done_notices(row.kind):
                    notice(row)
    except Exception as error:
        logger.exception("outbox_notice_failed row=%s kind=%s", row.pk, row.kind)
        _finish(row, status=Status.DONE, result=result, error=f"It was taken, but noting that failed: {error}")


def _finish(row: OutboxRow, *, status: str, result: Mapping[str, Any] | None = None, error: str = "") -> bool:
    values = {"result": dict(result) if result is not None else None, "error": _safe(error)}
    finished = _held(row).update(
        status=status,
        attempts=row.attempts + 1,
        done_at=Now(),
        lease_token=None,
        lease_until=None,
        wait_reason="",
        **values,
    )
    if not finished:
        logger.warning("outbox_lease_lost row=%s kind=%s", row.pk, row.kind)
    return bool(finished)


def _note_failure(row: OutboxRow, error: Exception) -> None:
    """Try again after a growing, jittered pause; lay aside what cannot succeed or has failed too often."""
    attempts = row.attempts + 1
    text = f"{type(error).__name__}: {error}"
    logger.warning("outbox_row_failed row=%s kind=%s error=%s", row.pk, row.kind, type(error).__name__)
    # An error that does not say is taken for one that passes.
    if getattr(error, "retryable", True) is False or attempts >= settings.OUTBOX_MAX_ATTEMPTS:
        _lay_aside(row, text)
        return
    wait = max(pause_seconds(attempts), float(getattr(error, "retry_after_seconds", None) or 0))
    _held(row).update(
        status=Status.PENDING,
        attempts=attempts,
        next_attempt_at=Now() + dt.timedelta(seconds=wait),
        lease_token=None,
        lease_until=None,
        wait_reason="",
        error=_safe(text),
    )


def _lay_aside(row: OutboxRow, text: str) -> None:
    with transaction.atomic():
        if not _finish(row, status=Status.DEAD, error=text):
            return
        row.error = _safe(text)
        for notice in dead_letter_notices():
            notice(row)


def _held(row: OutboxRow) -> QuerySet[OutboxRow]:
    return OutboxRow.objects.for_project(row.project_id).filter(pk=row.pk, lease_token=row.lease_token)


def _safe(text: str) -> str:
    return redact(text).replace("\x00", "\ufffd")[:ERROR_CHARS]
