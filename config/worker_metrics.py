"""Times what a worker does: tasks that came as messages, by Celery's own hooks, and the rounds that it makes by itself."""

import threading
import time
from typing import Any

import structlog
from celery.signals import task_postrun, task_prerun

from common.metrics import TASK_SECONDS

_began = threading.local()


@task_prerun.connect(weak=False)
def note_beginning(task: Any = None, task_id: str = "", **_: Any) -> None:
    """Remember when this thread began a task, and let its log lines name it."""
    _began.at = time.perf_counter()
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)


@task_postrun.connect(weak=False)
def note_end(task: Any = None, state: str | None = None, **_: Any) -> None:
    """Time the task. A worker's threads live on: what was bound for this task is let go."""
    began = getattr(_began, "at", None)
    if began is not None:
        outcome = "ok" if state in (None, "SUCCESS") else "failed"
        TASK_SECONDS.labels(task=task.name, outcome=outcome).observe(time.perf_counter() - began)
    structlog.contextvars.unbind_contextvars("task", "task_id")
