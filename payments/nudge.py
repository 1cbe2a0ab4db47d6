"""Tells a worker that events are waiting, without anybody waiting for the broker.

A request only sets a flag; one background thread of the process publishes, many flags at once, with short time-outs.
When the broker is away the message is lost and nothing else: the sweep finds the rows (payments/tasks.py).
"""

import os
import threading
import time
from typing import Any

import structlog

from payments.tasks import go_on_with_reconciliation, process_due_events

log = structlog.get_logger(__name__)

# A burst of deliveries becomes one message per interval; after a failure the broker is left alone for a moment.
INTERVAL_SECONDS = 0.05
FAILURE_PAUSE_SECONDS = 2.0

_wanted = threading.Event()
_lock = threading.Lock()
_thread: threading.Thread | None = None
_thread_pid: int | None = None


def nudge_worker() -> None:
    """Ask for a worker's attention; returns at once and never raises."""
    _wanted.set()
    if _thread_pid != os.getpid():
        _start()


def nudge_reconciliation() -> None:
    """Have a worker carry out the reconciliations that were asked for; returns at once and never raises."""
    threading.Thread(target=_publish, args=(go_on_with_reconciliation,), name="nudge-reconcile", daemon=True).start()


def _start() -> None:
    """Start the thread of this process; a forked child inherits the variables but not the thread."""
    global _thread, _thread_pid
    with _lock:
        if _thread_pid == os.getpid():
            return
        _thread = threading.Thread(target=_run, name="nudge", daemon=True)
        _thread_pid = os.getpid()
        _thread.start()


def _run() -> None:
    while True:
        _wanted.wait()
        _wanted.clear()
        time.sleep(FAILURE_PAUSE_SECONDS if not _publish(process_due_events) else INTERVAL_SECONDS)


def _publish(task: Any) -> bool:
    try:
        task.apply_async(retry=False, ignore_result=True)
    except Exception as error:
        log.warning("nudge_failed", error=type(error).__name__)
        return False
    return True
