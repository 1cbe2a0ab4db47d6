"""Writes the journal of token budgets to PostgreSQL, in every process that spends tokens and in every worker, one at a time.

What a process that dies has counted is in Redis, where the next one finds it.
"""

import os
import threading
import time
import uuid

import structlog
from django.conf import settings
from django.db import close_old_connections

from entitlements.services.token_journal import write_journal_in_turn

log = structlog.get_logger(__name__)

_name = uuid.uuid4().hex
_lock = threading.Lock()
_thread_pid: int | None = None


def keep_journal() -> None:
    """See to it that this process writes the journal; returns at once."""
    if _thread_pid != os.getpid():
        _start()


def keep_journal_once() -> None:
    """Write what is there, unless somebody else is at it."""
    write_journal_in_turn(writer=_name, interval_seconds=settings.TOKEN_JOURNAL_SECONDS)


def _start() -> None:
    """Start the thread of this process; a forked child inherits the variables but not the thread."""
    global _thread_pid
    with _lock:
        if _thread_pid == os.getpid() or not settings.TOKEN_JOURNAL_THREAD:
            return
        _thread_pid = os.getpid()
        threading.Thread(target=_run, name="token-journal", daemon=True).start()


def _run() -> None:
    while True:
        began = time.monotonic()
        try:
            keep_journal_once()
        except Exception as error:
            log.warning("token_journal_not_written", error=type(error).__name__)
        finally:
            close_old_connections()
        time.sleep(max(0.05, settings.TOKEN_JOURNAL_SECONDS - (time.monotonic() - began)))
