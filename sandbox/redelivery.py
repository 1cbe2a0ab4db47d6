"""What people and tests do with deliveries: look at them, send events again, hold all back, and change their order."""

from __future__ import annotations

import random
import time
from typing import Any

from . import disorder
from .delivery import PAUSED, notify, resend
from .store import Context, Tx

ORDERS = ("recorded", "reverse", "shuffle")


def list_deliveries(
    tx: Tx,
    account_id: str | None = None,
    *,
    event_id: str | None = None,
    endpoint_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """List deliveries newest first, without their bodies."""
    conditions, parameters = ["1 = 1"], []
    for column, value in (("account", account_id), ("event", event_id), ("endpoint", endpoint_id), ("state", state)):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    rows = tx.execute(
        "SELECT id, account, livemode, event, event_type, endpoint, state, attempts, next_attempt_at, created,"  # noqa: S608
        " last_attempt_at, response_status, response_excerpt, failure, manual FROM deliveries"
        f" WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",
        (*parameters, limit),
    )
    return [{**dict(row), "livemode": bool(row["livemode"]), "manual": bool(row["manual"])} for row in rows]


def delivery_of(tx: Tx, delivery_id: int) -> dict[str, Any] | None:
    """Give one delivery with the bytes that are sent and all its attempts, oldest first; None when there is none."""
    row = tx.execute("SELECT * FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
    if row is None:
        return None
    attempts = tx.execute(
        "SELECT at, seconds, response_status, response_excerpt, failure FROM delivery_attempts WHERE delivery = ?"
        " ORDER BY at",
        (delivery_id,),
    )
    return {
        **dict(row),
        "livemode": bool(row["livemode"]),
        "manual": bool(row["manual"]),
        "body": bytes(row["body"]).decode(),
        "history": [dict(attempt) for attempt in attempts],
    }


def in_order(numbers: list[Any], order: str, seed: int | None = None) -> list[Any]:
    """Put what came in order into another one: recorded, reverse or shuffle (with a seed, always the same)."""
    if order == "shuffle":
        return random.Random(seed).sample(numbers, len(numbers))
    return list(reversed(numbers)) if order == "reverse" else list(numbers)


def replay(tx: Tx, ctx: Context, *, last: int, order: str, gap_seconds: float, seed: int | None = None) -> list[str]:
    """Send the last events again in another order, each after the one before; returns their ids in that order."""
    rows = tx.execute(
        "SELECT id FROM objects WHERE account = ? AND livemode = ? AND type = 'event' ORDER BY seq DESC LIMIT ?",
        (ctx.account_id, int(ctx.livemode), last),
    ).fetchall()
    event_ids = in_order([row["id"] for row in reversed(rows)], order, seed)
    for place, event_id in enumerate(event_ids):
        resend(tx, ctx, event_id, after_seconds=place * gap_seconds)
    return event_ids


def release(
    tx: Tx,
    *,
    order: str,
    gap_seconds: float,
    seed: int | None = None,
    account_id: str | None = None,
    modes: tuple[bool, ...] = (False, True),
) -> list[str]:
    """End the holding back of deliveries and send what waits for its first attempt in an order; returns the events.

    With an account it ends that account's own hold, without one the hold of all.
    """
    condition, values = "", list[Any]()
    if account_id is not None:
        condition, values = " AND account = ? AND livemode BETWEEN ? AND ?", [account_id, int(modes[0]), int(modes[-1])]
    rows = tx.execute(
        f"SELECT id, event FROM deliveries WHERE state = 'pending' AND attempts = 0{condition} ORDER BY id",  # noqa: S608
        values,
    ).fetchall()
    held = in_order([(row["id"], row["event"]) for row in rows], order, seed)
    now = time.time()
    for place, (delivery_id, _) in enumerate(held):
        tx.execute("UPDATE deliveries SET next_attempt_at = ? WHERE id = ?", (now + place * gap_seconds, delivery_id))
    if account_id is None:
        tx.execute("INSERT OR REPLACE INTO delivery_switches (name, value) VALUES (?, 0)", (PAUSED,))
    else:
        disorder.let_go(tx, account_id, modes)
    tx.after_commit.append(notify)
    return [event_id for _, event_id in held]
