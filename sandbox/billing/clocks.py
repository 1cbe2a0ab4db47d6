"""Test clocks: customers whose time stands still until it is moved, with everything that is due on the way.

Limits are Stripe's; the wording of refusals is a guess. Source: https://docs.stripe.com/billing/testing/test-clocks
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

from .. import clock as wall
from .. import ids
from ..errors import StripeError, invalid
from ..events import emit
from ..store import Context, Store, Tx
from ..timeline import CLOCK
from . import agenda, dunning
from .periods import DAY_SECONDS, add_interval

Object = dict[str, Any]

DELETED_AFTER_SECONDS = 30 * DAY_SECONDS
CUSTOMERS_MAX = 3
SUBSCRIPTIONS_MAX = 3
INTERVALS_MAX = 2
YEARS_MAX = 2
NAME_LENGTH_MAX = 300
# Objects that carry the name of their clock.
CARRIERS = ("customer", "invoice", "invoiceitem", "subscription")

# Set when a clock was told to advance, for the thread in which time passes.
wanted = threading.Event()
logger = logging.getLogger("sandbox")


def create(
    tx: Tx, ctx: Context, frozen_time: int, *, name: str | None = None, customer: Object | None = None
) -> Object:
    """Make a clock, if wanted around a customer that has none. Raises: StripeError 400."""
    if ctx.livemode:
        raise StripeError("Test clocks are only available in test mode.")
    if name and len(name) > NAME_LENGTH_MAX:
        raise invalid(f"Invalid name: must be at most {NAME_LENGTH_MAX} characters", "name")
    if customer and customer["test_clock"]:
        raise invalid("This customer is already attached to a test clock.", "customer")
    now = wall.now()
    clock = tx.insert(
        ctx,
        {
            "id": ids.new_id(CLOCK),
            "object": CLOCK,
            "created": now,
            "deletes_after": now + DELETED_AFTER_SECONDS,
            "frozen_time": frozen_time,
            "livemode": ctx.livemode,
            "name": name,
            "status": "ready",
            "status_details": {},
        },
    )
    tx.schedule(replace(ctx, clock=None), CLOCK, clock["id"], clock["deletes_after"])
    if customer:
        _take_in(tx, ctx, clock, customer)
    emit(tx, replace(ctx, now=now), "test_helpers.test_clock.created", clock)
    return clock


def at(ctx: Context, clock: Object) -> Context:
    """Give the context at a clock's time."""
    return replace(ctx, now=int(clock["frozen_time"]), clock=clock["id"])


def _take_in(tx: Tx, ctx: Context, clock: Object, customer: Object) -> None:
    moved = [customer, *(found for kind in CARRIERS[1:] for found in tx.find_by(ctx, kind, "customer", customer["id"]))]
    for obj in moved:
        tx.save(ctx, {**obj, "test_clock": clock["id"]})
    for kind in (*CARRIERS, "checkout.session"):
        for obj in moved if kind != "checkout.session" else tx.find_by(ctx, kind, "customer", customer["id"]):
            tx.execute(
                "UPDATE due SET clock = ? WHERE id = ? AND account = ?", (clock["id"], obj["id"], ctx.account_id)
            )


def check_room(tx: Tx, ctx: Context) -> None:
    """Refuse a customer too many on the context's clock. Raises: StripeError 400."""
    if ctx.clock and len(tx.find_by(ctx, "customer", "test_clock", ctx.clock)) >= CUSTOMERS_MAX:
        raise invalid(f"You can only have {CUSTOMERS_MAX} customers per test clock.", "test_clock")


def check_subscriptions(tx: Tx, ctx: Context, customer_id: str) -> None:
    """Refuse a subscription too many for a customer on a clock. Raises: StripeError 400."""
    if not ctx.clock:
        return
    running = [
        s for s in tx.find_by(ctx, "subscription", "customer", customer_id) if s["status"] not in agenda.TERMINAL
    ]
    if len(running) >= SUBSCRIPTIONS_MAX:
        raise invalid(f"You can only have {SUBSCRIPTIONS_MAX} subscriptions per customer on a test clock.", "customer")


def subscriptions_on(tx: Tx, ctx: Context, clock_id: str) -> list[Object]:
    """Find the subscriptions on a clock that have not ended."""
    found = tx.find_by(ctx, "subscription", "test_clock", clock_id)
    return [subscription for subscription in found if subscription["status"] not in agenda.TERMINAL]


def furthest(tx: Tx, ctx: Context, clock: Object) -> int:
    """Tell how far a clock may be advanced at once: two intervals of its shortest subscription, else two years."""
    ends = [add_interval(clock["frozen_time"], "year", YEARS_MAX)]
    for subscription in subscriptions_on(tx, ctx, clock["id"]):
        for item in subscription["items"]["data"]:
            recurring = item["price"]["recurring"]
            steps = INTERVALS_MAX * recurring["interval_count"]
            ends.append(add_interval(clock["frozen_time"], recurring["interval"], steps))
    return min(ends)


def start_advancing(tx: Tx, ctx: Context, clock: Object, target: int) -> Object:
    """Tell a clock to advance; the engine does it. Raises: StripeError 400."""
    if clock["status"] != "ready":
        raise StripeError(f"Test clock {clock['id']} cannot be advanced: its status is {clock['status']}.")
    if target <= clock["frozen_time"]:
        raise invalid("The `frozen_time` must be after the test clock's current frozen time.", "frozen_time")
    if target > furthest(tx, ctx, clock):
        raise invalid(
            "Cannot advance a test clock more than two intervals from the shortest subscription on it, "
            "or two years without one.",
            "frozen_time",
        )
    clock |= {"status": "advancing", "status_details": {"advancing": {"target_frozen_time": target}}}
    tx.save(ctx, clock)
    emit(tx, replace(ctx, now=wall.now()), "test_helpers.test_clock.advancing", clock)
    tx.after_commit.append(wanted.set)
    return clock


def finish(tx: Tx, ctx: Context, clock: Object, *, failed: bool = False) -> None:
    """Bring a clock to rest: at its target, or where it was when something went wrong."""
    if failed:
        clock |= {"status": "internal_failure", "status_details": {}}
    else:
        target = clock["status_details"]["advancing"]["target_frozen_time"]
        clock |= {"status": "ready", "status_details": {}, "frozen_time": target}
    tx.save(ctx, clock)
    kind = "internal_failure" if failed else "ready"
    emit(tx, replace(ctx, now=wall.now(), clock=None), f"test_helpers.test_clock.{kind}", clock)


def advancing(store: Store) -> list[tuple[Context, str]]:
    """Find the clocks that are on their way, oldest first."""
    with store.read() as tx:
        rows = tx.execute(
            "SELECT account, livemode, id FROM objects WHERE type = ? AND deleted = 0"
            " AND json_extract(json, '$.status') = 'advancing' ORDER BY seq",
            (CLOCK,),
        ).fetchall()
    return [(Context(row["account"], bool(row["livemode"]), wall.now(), key_kind="engine"), row["id"]) for row in rows]


def next_due(tx: Tx, clock_id: str, until: int) -> Any:
    """Read the first thing that is due on a clock up to a time; None when nothing is."""
    return tx.execute(
        "SELECT account, livemode, type, id, at FROM due WHERE clock = ? AND at <= ? ORDER BY at, rowid LIMIT 1",
        (clock_id, until),
    ).fetchone()


def due_at(tx: Tx, ctx: Context, object_type: str, object_id: str) -> int | None:
    """Read when time will next change an object."""
    row = tx.execute(
        "SELECT at FROM due WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
        (ctx.account_id, int(ctx.livemode), object_type, object_id),
    ).fetchone()
    return int(row["at"]) if row else None


def agenda_of(tx: Tx, ctx: Context, clock: Object) -> list[tuple[int, str, str]]:
    """List what a clock will come to: (when, what, whose id), soonest first."""
    found = [
        (at, what, subscription["id"])
        for subscription in subscriptions_on(tx, ctx, clock["id"])
        for at, what in agenda.moments(tx, replace(ctx, clock=clock["id"]), subscription)
    ]
    for row in tx.execute("SELECT type, id, at FROM due WHERE clock = ? AND type != 'subscription'", (clock["id"],)):
        invoice = tx.get(ctx, "invoice", row["id"]) if row["type"] == "invoice" else None
        at = dunning.next_moment(invoice) if invoice else None
        if invoice and at is not None:
            found.append((at, "finalization" if invoice["status"] == "draft" else "retry", row["id"]))
        elif row["type"] == "checkout.session":
            found.append((row["at"], "session_expiry", row["id"]))
    return sorted(found)
