"""Lets time pass: expires sessions and first payments, ends and renews subscriptions when they are due."""

from __future__ import annotations

import logging
import threading

from .. import clock
from ..events import Journal
from ..store import Context, Object, Store, Tx
from . import cancellation, renewals, sessions, subscribing

TICK_SECONDS = 1.0
BATCH = 100

logger = logging.getLogger("sandbox")


def advance(store: Store, now: int) -> int:
    """Do everything that is due up to `now`, each thing in its own transaction; gives how many were done."""
    with store.read() as tx:
        rows = tx.execute(
            "SELECT account, livemode, type, id, at FROM due WHERE at <= ? ORDER BY at LIMIT ?", (now, BATCH)
        ).fetchall()
    for row in rows:
        ctx = Context(account_id=row["account"], livemode=bool(row["livemode"]), now=now, key_kind="engine")
        with store.transaction() as tx:
            _advance_one(tx, ctx, row["type"], row["id"])
    return len(rows)


def _advance_one(tx: Tx, ctx: Context, object_type: str, object_id: str) -> None:
    obj = tx.get(ctx, object_type, object_id)
    due = tx.execute(
        "SELECT at FROM due WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
        (ctx.account_id, int(ctx.livemode), object_type, object_id),
    ).fetchone()
    if obj is None or due is None or due["at"] > ctx.now:
        # A request was quicker.
        if obj is None:
            tx.schedule(ctx, object_type, object_id, None)
        return
    if object_type == "checkout.session":
        sessions.expire(tx, ctx, obj)
    elif obj["status"] == "incomplete":
        cancellation.expire_incomplete(tx, ctx, obj)
    elif obj["cancel_at"] and obj["cancel_at"] <= ctx.now:
        cancellation.end_now(tx, ctx, obj)
    elif not _gave_trial_notice(tx, ctx, obj):
        renewals.renew(tx, ctx, object_id)


def _gave_trial_notice(tx: Tx, ctx: Context, subscription: Object) -> bool:
    journal = Journal()
    given = subscribing.give_trial_notice(tx, ctx, journal, subscription)
    journal.release(tx, ctx)
    return given


class Engine:
    """The thread in which time passes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for what it is doing."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                while advance(self._store, clock.now()) == BATCH and not self._stopping.is_set():
                    pass
            except Exception:
                # One broken object must not stop time for all others; the next tick tries again.
                logger.exception("letting time pass failed")
