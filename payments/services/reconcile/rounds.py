"""The rounds that nobody asks for: every account's events each hour, its objects each night.

Invariant: one account's trouble stops no other.
"""

import logging
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from common.errors import ApiError
from payments.services.reconcile.accounts import usable_accounts
from payments.services.reconcile.reconciling import Wish, reconcile
from payments.services.reconcile.runs import EVENTS, FAILED, IMPORT, OBJECTS, forget_old_runs, interrupted_runs

logger = logging.getLogger(__name__)

# Accounts in work at once per round. Most of the time is waiting for Stripe.
THREADS = 4
# What is not done by then is gone on with an hour later.
SECONDS_MAX = 3000.0

Task = tuple[uuid.UUID, str, Wish]


def reconcile_all_events(*, types: Collection[str]) -> None:
    """Find the events that never arrived, of every account, and go on with walks over objects that were interrupted."""
    tasks: list[Task] = [
        (project_id, mode, Wish(EVENTS, types, seconds_max=SECONDS_MAX)) for project_id, mode in usable_accounts()
    ]
    usable = {(project_id, mode) for project_id, mode, _ in tasks}
    for project_id, mode, kind in interrupted_runs():
        if kind in (OBJECTS, IMPORT) and (project_id, mode) in usable:
            tasks.append((project_id, mode, Wish(kind, heals=True, seconds_max=SECONDS_MAX, only_goes_on=True)))
    _run_all(tasks)
    forget_old_runs()


def reconcile_all_objects() -> None:
    """Compare every object of every account with its row, and heal what differs."""
    wish = Wish(OBJECTS, heals=True, seconds_max=SECONDS_MAX)
    _run_all([(project_id, mode, wish) for project_id, mode in usable_accounts()])


def go_on_with_runs(*, types: Collection[str]) -> None:
    """Carry out what was planned and go on with what was interrupted, of every account."""
    usable = set(usable_accounts())
    _run_all(
        [
            (project_id, mode, Wish(kind, types, heals=True, seconds_max=SECONDS_MAX, only_goes_on=True))
            for project_id, mode, kind in interrupted_runs()
            if kind in (EVENTS, OBJECTS, IMPORT) and (project_id, mode) in usable
        ]
    )


def _run_all(tasks: list[Task]) -> None:
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="reconcile") as pool:
        list(pool.map(_run_one, tasks))


def _run_one(task: Task) -> None:
    project_id, mode, wish = task
    try:
        for run in reconcile(project_id=project_id, mode=mode, wish=wish):
            if run.differences or run.cursors.get(FAILED):
                logger.warning(
                    "reconciled project=%s mode=%s kind=%s seen=%s differences=%s healed=%s failed=%s",
                    project_id, mode, wish.kind, run.seen, run.differences, run.healed, run.cursors.get(FAILED, 0),
                )  # fmt: skip
    except ApiError as error:
        logger.warning("reconcile_failed project=%s mode=%s kind=%s error=%s", project_id, mode, wish.kind, error.code)
    except Exception:
        logger.exception("reconcile_failed project=%s mode=%s kind=%s", project_id, mode, wish.kind)
    finally:
        connection.close()
