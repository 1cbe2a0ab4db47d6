"""The rounds that nobody asks for: every account's events each hour, its objects each night; and what somebody asked for.

Invariant: one account's trouble stops no other; a process carries out what is asked for in one place, however often that is.
"""

import logging
import threading
import uuid
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

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
# How soon what is asked for while other accounts are in work is taken up.
LOOK_AGAIN_SECONDS = 1.0

_asked = threading.Event()
_going_on = threading.Lock()

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
    """Carry out what was planned and go on with what was interrupted, of every account.

    One run per process at a time: a second call only makes the first one look again.
    """
    _asked.set()
    while _asked.is_set() and _going_on.acquire(blocking=False):
        try:
            _run_what_is_asked(types)
        finally:
            _going_on.release()


def _run_what_is_asked(types: Collection[str]) -> None:
    busy: dict[Future[None], Task] = {}
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="reconcile") as pool:
        while busy or _asked.is_set():
            if _asked.is_set():
                _asked.clear()
                in_hand = list(busy.values())
                for task in _interrupted_tasks(types):
                    if task not in in_hand:
                        busy[pool.submit(_run_one, task)] = task
            done, _ = wait(busy, timeout=LOOK_AGAIN_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                del busy[future]


def _interrupted_tasks(types: Collection[str]) -> list[Task]:
    try:
        usable = set(usable_accounts())
        return [
            (project_id, mode, Wish(kind, types, heals=True, seconds_max=SECONDS_MAX, only_goes_on=True))
            for project_id, mode, kind in interrupted_runs()
            if kind in (EVENTS, OBJECTS, IMPORT) and (project_id, mode) in usable
        ]
    finally:
        # Who waits for others' work keeps no connection from them.
        connection.close()


def _run_all(tasks: list[Task]) -> None:
    # Who waits for others' work keeps no connection from them.
    connection.close()
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
