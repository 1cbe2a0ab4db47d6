"""Tells a worker that there is something to do for a licence, without anybody waiting for the broker.

When the broker is away the message is lost and nothing else: workers look by themselves every few seconds.
"""

import threading

import structlog

from licenses.tasks import poll_invitations
from notifications.tasks import run_outbox

log = structlog.get_logger(__name__)


def nudge_outbox() -> None:
    """Ask for the outbox to be carried out now; returns at once and never raises."""
    _in_background(run_outbox)


def nudge_poller() -> None:
    """Ask for invitations to be asked about now; returns at once and never raises."""
    _in_background(poll_invitations)


def _in_background(task: object) -> None:
    # Username submissions are rate limited per address and licence, so that these threads are few.
    threading.Thread(target=_publish, args=(task,), name="license-nudge", daemon=True).start()


def _publish(task: object) -> None:
    try:
        task.apply_async(retry=False, ignore_result=True)  # type: ignore[attr-defined]
    except Exception as error:
        log.warning("license_nudge_failed", error=type(error).__name__)
