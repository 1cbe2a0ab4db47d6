"""The Celery application: a worker that carries out what the database says is due, and beat that nudges it.

A task message is only a hint. The record of work is a row in PostgreSQL, since a Redis broker loses messages when it
dies and hands those of a killed worker out again after an hour. So nothing here retries or stores results, a lost
message costs at most one sweep interval, and a worker sweeps on its own when neither beat nor Redis is there.
"""

import os
import threading
from collections.abc import Callable
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.signals import setup_logging

from config import heartbeat

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

log = structlog.get_logger(__name__)

app = Celery("payments")
app.set_default()  # shared_task finds this application also inside a worker that a test embeds.
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Static on purpose: what runs when is read here, not in a table.
app.conf.beat_schedule = {}

# Run by every worker itself, without a message: the sweep must go on while Redis is gone or beat is dead.
SWEEP_TASK = "payments.tasks.sweep_events"


@setup_logging.connect
def use_our_logging(**_: Any) -> None:
    """Keep Django's LOGGING: Celery would replace the root handler and its redaction."""


class Recovery(bootsteps.StartStopStep):
    """A thread of the worker that sweeps due rows and reports the worker alive, whatever the broker does.

    It belongs to the worker and not to the consumer: the consumer is torn down and blocks in reconnecting for as long
    as Redis is away, which is exactly when this has to run. The pool is threads, so no child is forked while this
    thread holds a database connection.
    """

    def __init__(self, worker: Any, **options: Any) -> None:
        """Prepare the thread; it starts with the worker."""
        super().__init__(worker, **options)
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        self.worker_name = f"{worker.hostname}:{os.getpid()}"

    def start(self, worker: Any) -> None:
        """Start sweeping. Raises RuntimeError for a pool of processes, whose children would share our connections."""
        from django.conf import settings

        if "prefork" in worker.pool_cls.__module__:
            raise RuntimeError("Run the worker with --pool threads (see docs/adr/0007-worker-threads.md).")

        self.thread = threading.Thread(
            target=self._run, args=(settings.REDIS_URL, settings.EVENT_SWEEP_SECONDS), name="recovery", daemon=True
        )
        self.thread.start()

    def stop(self, worker: Any) -> None:
        """Stop after the sweep in hand; a lease that is cut off is taken over by the next sweep."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(timeout=5)

    def terminate(self, worker: Any) -> None:
        """Stop in a cold shutdown as in a warm one."""
        self.stop(worker)

    def _run(self, redis_url: str, interval_seconds: int) -> None:
        while True:
            self._guarded("sweep", self._sweep)
            self._guarded("heartbeat", lambda: heartbeat.beat_heart(redis_url, self.worker_name))
            if self.stopping.wait(interval_seconds):
                self._guarded("farewell", lambda: heartbeat.end_heart(redis_url, self.worker_name))
                return

    def _guarded(self, what: str, action: Callable[[], None]) -> None:
        """Run one step; a failure is logged and tried again after the interval, since this thread must never end."""
        from django.db import close_old_connections

        try:
            close_old_connections()
            action()
        except Exception as error:
            log.warning("worker_step_failed", step=what, error=f"{type(error).__name__}: {error}")
        finally:
            close_old_connections()

    @staticmethod
    def _sweep() -> None:
        task = app.tasks.get(SWEEP_TASK)
        if task is not None:
            task()


app.steps["worker"].add(Recovery)
