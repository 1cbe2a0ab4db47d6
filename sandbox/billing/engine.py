"""Lets time pass: whatever is due happens, on the sandbox's own clock and on test clocks that were told to advance."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from .. import clock
from ..events import Journal, emit_updated
from ..resources import test_clocks
from ..store import Context, Object, Store, Tx
from ..timeline import CLOCK
from . import afterwards, agenda, cancellation, clocks, dunning, pending, renewals, sessions, subscribing

TICK_SECONDS = 1.0
BATCH = 100
# Several things may happen to one object in one second, but not endlessly many.
REPEATS_MAX = 20

logger = logging.getLogger("sandbox")
# One thread at a time moves a test clock: the engine's own, or the one that answers a switch.
_moving = threading.Lock()


def advance(store: Store, now: int) -> int:
    """Do what is due up to `now` outside of test clocks, each thing in its own transaction; gives how many."""
    with store.read() as tx:
        rows = tx.execute(
            "SELECT account, livemode, type, id, at FROM due WHERE clock = '' AND at <= ? ORDER BY at LIMIT ?",
            (now, BATCH),
        ).fetchall()
    for row in rows:
        ctx = Context(account_id=row["account"], livemode=bool(row["livemode"]), now=now, key_kind="engine")
        with store.transaction() as tx:
            _advance_one(tx, ctx, row["type"], row["id"])
    return len(rows)


def advance_clocks(store: Store) -> int:
    """Bring every test clock that is on its way to its target; gives how many there were."""
    with _moving:
        found = clocks.advancing(store)
        for ctx, clock_id in found:
            try:
                while _step(store, ctx, clock_id):
                    pass
            except Exception:
                logger.exception("advancing test clock %s failed", clock_id)
                with store.transaction() as tx:
                    stuck = tx.get(ctx, CLOCK, clock_id)
                    if stuck:
                        clocks.finish(tx, ctx, stuck, failed=True)
    return len(found)


def _step(store: Store, ctx: Context, clock_id: str) -> bool:
    """Do the next thing on a clock at its very moment, or let the clock come to rest; tells whether to go on."""
    with store.transaction() as tx:
        moved = tx.get(ctx, CLOCK, clock_id)
        if moved is None or moved["status"] != "advancing":
            return False
        row = clocks.next_due(tx, clock_id, moved["status_details"]["advancing"]["target_frozen_time"])
        if row is None:
            clocks.finish(tx, ctx, moved)
            return False
        there = replace(ctx, now=max(row["at"], moved["frozen_time"]), clock=clock_id)
        for _ in range(REPEATS_MAX):
            _advance_one(tx, there, row["type"], row["id"])
            if clocks.due_at(tx, there, row["type"], row["id"]) != row["at"]:
                return True
        raise RuntimeError(f"{row['type']} {row['id']} does not get past {row['at']}")


def _advance_one(tx: Tx, ctx: Context, object_type: str, object_id: str) -> None:
    obj = tx.get(ctx, object_type, object_id)
    at = clocks.due_at(tx, ctx, object_type, object_id)
    if obj is None:
        tx.schedule(ctx, object_type, object_id, None)
    elif at is None or at > ctx.now:
        # A request was quicker.
        return
    elif object_type == "checkout.session":
        sessions.expire(tx, ctx, obj)
    elif object_type == "invoice":
        dunning.advance(tx, ctx, obj)
    elif object_type in afterwards.HANDLERS:
        afterwards.HANDLERS[object_type](tx, ctx, obj)
    elif object_type == CLOCK:
        test_clocks.remove(tx, ctx, obj)
    else:
        _advance_subscription(tx, ctx, obj)


def _advance_subscription(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Do the first thing on a subscription's agenda, if its time has come."""
    ahead = agenda.moments(tx, ctx, subscription)
    what = ahead[0][1] if ahead and ahead[0][0] <= ctx.now else None
    overdue = any(later <= ctx.now and event in ("renewal", "trial_end") for later, event in ahead)
    if what == "expiry":
        cancellation.expire_incomplete(tx, ctx, subscription)
    elif what == "pending_update_expiry":
        pending.expire(tx, ctx, subscription)
    elif what == "collection_resumes":
        before = {**subscription}
        subscription["pause_collection"] = None
        subscribing.save(tx, ctx, subscription)
        emit_updated(tx, ctx, "customer.subscription.updated", before, subscription)
    elif what == "end":
        cancellation.end_now(tx, ctx, subscription)
    elif what == "trial_will_end":
        journal = Journal()
        subscribing.give_trial_notice(tx, ctx, journal, subscription)
        journal.release(tx, ctx)
    elif what == "upcoming" and not overdue:
        renewals.give_notice(tx, ctx, subscription)
    elif what is not None:
        renewals.turn(tx, ctx, subscription)
    else:
        subscribing.plan_ahead(tx, ctx, subscription)


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
        clocks.wanted.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            clocks.wanted.wait(TICK_SECONDS)
            clocks.wanted.clear()
            try:
                while not self._stopping.is_set() and (
                    advance_clocks(self._store) or advance(self._store, clock.now()) == BATCH
                ):
                    pass
            except Exception:
                # One broken object must not stop time for all others; the next tick tries again.
                logger.exception("letting time pass failed")
