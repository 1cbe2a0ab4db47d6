"""Celery tasks: they carry no data, since the rows of the outbox are the work.

Workers are threads (docs/adr/0007-worker-threads.md); every executor bounds its own waiting, and leases bound the rest.
"""

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import structlog
from celery import shared_task
from django.conf import settings
from django.db import connection

from notifications.models import OutboxRow
from notifications.services.running import carry_out_row, lease_due_rows, renew_leases

log = structlog.get_logger(__name__)

# Rows in work at once per process. Most of a row's time is waiting for its peer.
THREADS = 8
LOOK_AGAIN_SECONDS = 0.25
RUN_SECONDS_MAX = 300

_running = threading.Lock()
_asked_again = threading.Event()


@shared_task(name="notifications.tasks.run_outbox", acks_late=False, ignore_result=True)
def run_outbox() -> None:
    """Carry out what is due, also what dead workers left. One run per process: a second call makes the first look again."""
    _asked_again.set()
    while _asked_again.is_set() and _running.acquire(blocking=False):
        try:
            _asked_again.clear()
            _run_until_idle()
        finally:
            _running.release()


def _run_until_idle() -> None:
    """Lease and carry out until nothing is due; new rows are taken up for a bounded time, leases of those in work renewed."""
    give_up_at = time.monotonic() + RUN_SECONDS_MAX
    renew_at = time.monotonic() + settings.EVENT_LEASE_SECONDS / 3
    busy: dict[Future[None], OutboxRow] = {}
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="outbox") as pool:
        while True:
            free = THREADS - len(busy) if time.monotonic() < give_up_at else 0
            for row in lease_due_rows(limit=free) if free else []:
                busy[pool.submit(_carry_out, row)] = row
            if not busy:
                return
            done, _ = wait(busy, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                del busy[future]
            if busy and time.monotonic() >= renew_at:
                renew_leases(tokens=[row.lease_token for row in busy.values() if row.lease_token])
                renew_at = time.monotonic() + settings.EVENT_LEASE_SECONDS / 3


def _carry_out(row: OutboxRow) -> None:
    """Carry out one row on a thread of its own; what it could not commit comes back when its lease ends."""
    try:
        carry_out_row(row)
    except Exception:
        log.exception("outbox_row_lost", row=str(row.pk), kind=row.kind)
    finally:
        connection.close()
