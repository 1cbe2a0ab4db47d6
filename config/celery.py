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
from celery.schedules import crontab
from celery.signals import setup_logging, worker_init

from config import heartbeat

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

log = structlog.get_logger(__name__)

app = Celery("payments")
app.set_default()  # shared_task finds this application also inside a worker that a test embeds.
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Run by every worker itself, without a message: the sweep must go on while Redis is gone or beat is dead.
SWEEP_TASK = "payments.tasks.sweep_events"
OUTBOX_TASK = "notifications.tasks.run_outbox"
WEBHOOKS_TASK = "notifications.tasks.run_webhooks"
HEARTBEAT_SECONDS = 5


def _every(seconds: int, task: str) -> dict[str, Any]:
    """Describe a round. A tick that waited longer than its interval is dropped: the next one does the same."""
    return {"task": task, "schedule": float(seconds), "options": {"expires": float(seconds), "ignore_result": True}}


def _daily(hour: int, minute: int, task: str) -> dict[str, Any]:
    """Describe a round at a time of day (UTC), when there is little to do."""
    return {
        "task": task,
        "schedule": crontab(hour=hour, minute=minute),
        "options": {"expires": 3600.0, "ignore_result": True},
    }


# Static on purpose: what runs when is read here, not in a table. Every task may run twice at once and may be left out.
app.conf.beat_schedule = {
    "sweep-events": _every(15, SWEEP_TASK),
    "run-outbox": _every(15, OUTBOX_TASK),
    "run-webhooks": _every(15, WEBHOOKS_TASK),
    "tidy-webhooks": _every(900, "notifications.tasks.tidy_webhooks"),
    "watch-for-trouble": _every(60, "notifications.tasks.watch_for_trouble"),
    "reconcile-intents": _every(60, "payments.tasks.reconcile_intents"),
    "look-after-webhook-endpoints": _every(60, "payments.tasks.look_after_webhook_endpoints"),
    "empty-old-bodies": _every(3600, "payments.tasks.empty_old_bodies"),
    "fold-old-usage": _every(3600, "entitlements.tasks.fold_old_usage"),
    "reconcile-events": _every(3600, "payments.tasks.reconcile_events"),
    "reconcile-objects": _daily(2, 10, "payments.tasks.reconcile_objects"),
    "fold-rollups": _every(30, "payments.tasks.fold_rollups"),
    # Within the hour in which the invoice of a renewal is a draft and takes lines.
    "close-usage-periods": _every(300, "entitlements.tasks.close_usage_periods"),
    "follow-usage-lines": _every(900, "payments.tasks.follow_usage_lines"),
    "end-credit-reservations": _every(60, "entitlements.tasks.end_credit_reservations"),
    "give-credit-months": _every(300, "entitlements.tasks.give_credit_months"),
    "sum-credits": _every(300, "entitlements.tasks.sum_credits"),
    "check-invariants": _daily(3, 20, "payments.tasks.check_invariants"),
    # After the invariants: what differs is put before the staff, and mended then.
    "check-rollups": _daily(3, 50, "payments.tasks.check_rollups"),
    "tell-of-expiring-cards": _daily(8, 0, "payments.tasks.tell_of_expiring_cards"),
    "heal-entitlements": _every(1800, "payments.tasks.heal_entitlements"),
    "poll-invitations": _every(30, "licenses.tasks.poll_invitations"),
    "look-after-licenses": _every(900, "licenses.tasks.look_after_licenses"),
    "examine-github": _daily(4, 20, "licenses.tasks.examine_connections"),
    "sweep-provisioning": _every(300, "entitlements.tasks.sweep_provisioning"),
    "look-for-trouble": _every(300, "backoffice.tasks.look_for_trouble"),
    "make-exports": _every(15, "backoffice.tasks.make_exports"),
    "keep-people-anonymised": _daily(4, 40, "backoffice.tasks.keep_people_anonymised"),
    "forget-old-audit-entries": _daily(5, 0, "backoffice.tasks.forget_old_audit_entries"),
    "prune-tokens": _every(3600, "accounts.tasks.prune_expired_tokens"),
    "prune-token-marks": _every(3600, "entitlements.tasks.prune_token_marks"),
    "prune-idempotency": _every(3600, "projects.tasks.prune_idempotency"),
}


@worker_init.connect
def measure_tasks(**_: Any) -> None:
    """Begin to time tasks once the settings are there: they say where processes write what they count."""
    import config.worker_metrics  # noqa: F401


@setup_logging.connect
def use_our_logging(**_: Any) -> None:
    """Keep Django's LOGGING: Celery would replace the root handler and its redaction."""


class Recovery(bootsteps.StartStopStep):
    """Threads of the worker that sweep due rows and report the worker alive, whatever the broker does.

    They belong to the worker and not to the consumer: the consumer is torn down and blocks in reconnecting for as long
    as Redis is away, which is exactly when this has to run. The pool is threads, so no child is forked while one of
    these holds a database connection. Each has its own, since a sweep over a backlog takes minutes.
    """

    def __init__(self, worker: Any, **options: Any) -> None:
        """Prepare the threads; they start with the worker."""
        super().__init__(worker, **options)
        self.stopping = threading.Event()
        self.threads: list[threading.Thread] = []
        self.worker_name = f"{worker.hostname}:{os.getpid()}"

    def start(self, worker: Any) -> None:
        """Start sweeping. Raises RuntimeError for a pool of processes, whose children would share our connections."""
        from django.conf import settings

        from config.metrics import serve_worker_metrics
        from entitlements.token_writer import keep_journal_once

        if "prefork" in worker.pool_cls.__module__:
            raise RuntimeError("Run the worker with --pool threads (see docs/adr/0007-worker-threads.md).")
        url = settings.REDIS_URL
        serve_worker_metrics()
        self._repeat("sweep", settings.EVENT_SWEEP_SECONDS, app.tasks[SWEEP_TASK])
        self._repeat("outbox", settings.EVENT_SWEEP_SECONDS, app.tasks[OUTBOX_TASK])
        self._repeat("webhooks", settings.EVENT_SWEEP_SECONDS, app.tasks[WEBHOOKS_TASK])
        self._repeat("tokens", settings.TOKEN_JOURNAL_SECONDS, keep_journal_once)
        self._repeat("heartbeat", HEARTBEAT_SECONDS, lambda: heartbeat.beat_heart(url, self.worker_name))

    def stop(self, worker: Any) -> None:
        """Stop after the round in hand; work that is cut off is taken over when its lease ends."""
        from django.conf import settings

        self.stopping.set()
        for thread in self.threads:
            thread.join(timeout=3)
        self._guarded("farewell", lambda: heartbeat.end_heart(settings.REDIS_URL, self.worker_name))

    def terminate(self, worker: Any) -> None:
        """Stop in a cold shutdown as in a warm one."""
        self.stop(worker)

    def _repeat(self, what: str, interval_seconds: float, action: Callable[[], None]) -> None:
        def run() -> None:
            while not self.stopping.is_set():
                self._guarded(what, action)
                self.stopping.wait(interval_seconds)

        self.threads.append(threading.Thread(target=run, name=what, daemon=True))
        self.threads[-1].start()

    def _guarded(self, what: str, action: Callable[[], None]) -> None:
        """Run one step; a failure is logged and tried again after the interval, since these threads must never end."""
        from django.db import close_old_connections

        from common.metrics import TASK_SECONDS, timed

        try:
            with timed(TASK_SECONDS, task=f"own:{what}"):
                action()
        except Exception as error:
            log.warning("worker_step_failed", step=what, error=f"{type(error).__name__}: {error}")
        finally:
            close_old_connections()


app.steps["worker"].add(Recovery)
