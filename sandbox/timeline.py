"""Whose time it is: objects on a test clock live at the clock's frozen time, all others at the sandbox's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from .errors import StripeError
from .store import Context, Tx

Object = dict[str, Any]

CLOCK = "test_helpers.test_clock"
# Fields that lead from an object to the customer it is about.
LEADS = ("customer", "subscription", "invoice", "charge", "payment_intent")
STEPS_MAX = 4


def clock_id_of(tx: Tx, ctx: Context, obj: Object | None, steps: int = STEPS_MAX) -> str | None:
    """Tell which test clock an object lives on, by itself or through its customer."""
    if obj is None or steps == 0:
        return None
    if obj.get("test_clock"):
        return str(obj["test_clock"])
    for name in LEADS:
        value = obj.get(name)
        if isinstance(value, str):
            # A customer on no clock settles it: nothing about it is on one.
            found = clock_id_of(tx, ctx, _by_id(tx, ctx, value), steps - 1)
            if found or name == "customer":
                return found
    return None


def _by_id(tx: Tx, ctx: Context, object_id: str) -> Object | None:
    row = tx.execute(
        "SELECT type FROM objects WHERE id = ? AND account = ? AND livemode = ?",
        (object_id, ctx.account_id, int(ctx.livemode)),
    ).fetchone()
    return tx.get(ctx, row["type"], object_id, deleted=True) if row else None


def on_clock(tx: Tx, ctx: Context, clock_id: str | None) -> Context:
    """Give the context at a clock's time; the same one without a clock."""
    clock = tx.get(ctx, CLOCK, clock_id) if clock_id else None
    return replace(ctx, now=int(clock["frozen_time"]), clock=clock["id"]) if clock else ctx


def at_time_of(tx: Tx, ctx: Context, obj: Object | None) -> Context:
    """Give the context at the time in which an object lives."""
    return on_clock(tx, ctx, clock_id_of(tx, ctx, obj))


def in_their_time(method: str, handler: Callable[..., Object]) -> Callable[..., Object]:
    """Make a handler run at the time of what its request names.

    Raises: StripeError 400 for a change to something whose clock is advancing.
    """

    @functools.wraps(handler)
    def timed(tx: Tx, ctx: Context, params: Object, **path_params: str) -> Object:
        clock_id = _named_clock(tx, ctx, [*path_params.values(), *(params.get(name) for name in LEADS)])
        clock_id = clock_id or (params.get("test_clock") if method == "POST" else None)
        clock = tx.get(ctx, CLOCK, clock_id) if clock_id else None
        if clock is None:
            return handler(tx, ctx, params, **path_params)
        if method != "GET" and clock["status"] == "advancing":
            raise StripeError("Test clock advancement underway - cannot perform modifications.")
        there = replace(ctx, now=int(clock["frozen_time"]), clock=clock["id"])
        return handler(tx, there, params, **path_params)

    return timed


def _named_clock(tx: Tx, ctx: Context, named: Iterable[Any]) -> str | None:
    for value in named:
        if isinstance(value, str) and value:
            found = clock_id_of(tx, ctx, _by_id(tx, ctx, value))
            if found:
                return found
    return None
