"""What the database and Redis know about the service now: depths, ages and backlogs, read when Prometheus asks.

Invariants: a fixed number of statements over partial indexes and roll-ups, none of which counts further than COUNT_MAX; read at
most every few seconds by a process, however often it is asked; what cannot be read is left out and said to be
(`payments_state_readable`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.metrics import OTHER
from config import heartbeat
from notifications.services.outbox import executable_kinds

log = structlog.get_logger(__name__)

FRESH_SECONDS = 5.0
STATEMENT_SECONDS = 2
# A backlog this deep is told as this deep: counting on would cost what the backlog costs already.
COUNT_MAX = 100_000

# Every event that is not done, under its partial index.
_INBOX = """
    SELECT mode, status, count(*), max(extract(epoch FROM clock_timestamp() - received_at)),
           max(extract(epoch FROM clock_timestamp() - next_attempt_at))
    FROM (SELECT mode, status, received_at, next_attempt_at FROM payments_webhookevent
          WHERE status IN ('pending', 'processing') ORDER BY next_attempt_at LIMIT %(most)s) unfinished
    GROUP BY mode, status
"""
_DEAD_EVENTS = """
    SELECT mode, count(*) FROM (SELECT mode FROM payments_webhookevent WHERE status = 'dead' LIMIT %(most)s) dead
    GROUP BY mode
"""
_OUTBOX = """
    SELECT kind, status, count(*), max(extract(epoch FROM clock_timestamp() - next_attempt_at))
    FROM (SELECT kind, status, next_attempt_at FROM notifications_outboxrow
          WHERE status IN ('pending', 'processing') ORDER BY next_attempt_at LIMIT %(most)s) unfinished
    GROUP BY kind, status
"""
_DEAD_EFFECTS = """
    SELECT kind, count(*) FROM (SELECT kind FROM notifications_outboxrow WHERE status = 'dead' LIMIT %(most)s) dead
    GROUP BY kind
"""
_APP_DELIVERIES = """
    SELECT count(*) FROM (SELECT 1 FROM notifications_webhookdelivery
                          WHERE status IN ('pending', 'processing') LIMIT %(most)s) unfinished
"""
_REVIEW = """
    SELECT kind, count(*) FROM (SELECT kind FROM moderation_reviewitem WHERE status = 'pending' LIMIT %(most)s) pending
    GROUP BY kind
"""
# Folded every half minute: a gauge does not wait for the rest.
_SUBSCRIPTIONS = "SELECT mode, status, sum(subscriptions) FROM payments_subscriptiongauge GROUP BY mode, status"


@dataclass(frozen=True)
class Found:
    """What one look at the database found, as families."""

    families: list[Metric]
    at: float


class ServiceState(Collector):
    """Everything below; asked like a registry that holds one collector."""

    _lock = threading.Lock()
    _found: Found | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the families, the latest ones when somebody asked a moment ago. Raises nothing."""
        with self._lock:
            found = type(self)._found
            if found is None or time.monotonic() - found.at > FRESH_SECONDS:
                found = type(self)._found = Found(_look(), time.monotonic())
        yield from found.families

    @classmethod
    def forget(cls) -> None:
        """Look anew the next time."""
        with cls._lock:
            cls._found = None


def _look() -> list[Metric]:
    readable = GaugeMetricFamily("payments_state_readable", "1 where this could be read just now.", labels=["source"])
    families: list[Metric] = [readable]
    sources: dict[str, Callable[[], list[Metric]]] = {"database": _database, "redis": _redis}
    for source, read in sources.items():
        try:
            families += read()
            readable.add_metric([source], 1)
        except Exception as error:
            log.warning("metrics_not_read", source=source, error=type(error).__name__)
            readable.add_metric([source], 0)
    return families


def _database() -> list[Metric]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000}")

        def rows(statement: str) -> Sequence[Sequence[Any]]:
            cursor.execute(statement, {"most": COUNT_MAX})
            return cursor.fetchall()

        return [
            *_inbox(rows(_INBOX)),
            _gauge("payments_webhook_dead_letters", "Events that were given up.", ["mode"], rows(_DEAD_EVENTS)),
            *_outbox(rows(_OUTBOX), rows(_DEAD_EFFECTS)),
            _gauge("payments_app_deliveries_pending", "Deliveries to apps that wait.", [], rows(_APP_DELIVERIES)),
            _gauge("payments_review_items_pending", "Review items that nobody decided.", ["kind"], rows(_REVIEW)),
            _gauge("payments_subscriptions", "Subscriptions by status.", ["mode", "status"], rows(_SUBSCRIPTIONS)),
        ]


def _inbox(rows: Sequence[Sequence[Any]]) -> list[Metric]:
    depth = _gauge("payments_webhook_events_pending", "Events not done.", ["mode", "status"], [row[:3] for row in rows])
    oldest = GaugeMetricFamily("payments_webhook_oldest_pending_seconds", "Age of the oldest event that is not done.")
    oldest.add_metric([], max([0.0, *(float(row[3]) for row in rows)]))
    overdue = GaugeMetricFamily(
        "payments_webhook_oldest_due_seconds", "How long the longest due event has waited for a worker."
    )
    overdue.add_metric([], max([0.0, *(float(row[4]) for row in rows)]))
    return [depth, oldest, overdue]


def _outbox(rows: Sequence[Sequence[Any]], dead: Sequence[Sequence[Any]]) -> list[Metric]:
    # Kinds of a newer release's rows, which this process cannot carry out, are one kind here.
    known = set(executable_kinds())

    def kind(name: str) -> str:
        return name if name in known else OTHER

    depth: dict[tuple[str, str], int] = {}
    overdue: dict[str, float] = dict.fromkeys(sorted(known), 0.0)
    for name, status, count, late in rows:
        depth[kind(name), status] = depth.get((kind(name), status), 0) + count
        overdue[kind(name)] = max(overdue.get(kind(name), 0.0), float(late))
    laid_aside: dict[str, int] = {}
    for name, count in dead:
        laid_aside[kind(name)] = laid_aside.get(kind(name), 0) + count
    return [
        _gauge(
            "payments_outbox_pending", "Effects not carried out.", ["kind", "status"],
            [[*labels, count] for labels, count in depth.items()],
        ),
        _gauge(
            "payments_outbox_oldest_due_seconds", "How long the longest due effect has waited for a worker.", ["kind"],
            [[name, seconds] for name, seconds in overdue.items()],
        ),
        _gauge("payments_outbox_dead_letters", "Effects that were given up.", ["kind"], list(laid_aside.items())),
    ]  # fmt: skip


def _redis() -> list[Metric]:
    age = heartbeat.newest_heartbeat_age_seconds(settings.REDIS_URL)
    family = GaugeMetricFamily("payments_worker_heartbeat_age_seconds", "Since any worker said that it is alive.")
    if age is not None:
        family.add_metric([], age)
    return [family]


def _gauge(name: str, about: str, labels: list[str], rows: Sequence[Sequence[Any]]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=labels)
    for *values, number in rows:
        family.add_metric([str(value) for value in values], float(number))
    return family
