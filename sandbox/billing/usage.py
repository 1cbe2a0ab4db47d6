"""What meters counted: the usage of a customer in a span of time, and what it costs."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from .. import timeline
from ..errors import invalid
from ..store import Context, Tx
from . import tiers

Object = dict[str, Any]

METER, EVENT = "billing.meter", "billing.meter_event"


def meter_of(tx: Tx, ctx: Context, event_name: str) -> Object | None:
    """Find the active meter for an event name."""
    found = tx.find_by(ctx, METER, "event_name", event_name)
    return next((meter for meter in found if meter["status"] == "active"), None)


def in_time_of(tx: Tx, ctx: Context, customer: Object) -> Context:
    """Give the context in the customer's time: that of a test clock for those who live on one."""
    return timeline.at_time_of(tx, ctx, customer)


def value_of(text: Any, param: str, meter: Object) -> Decimal:
    """Read a usage value. Raises: StripeError 400; a count needs none."""
    if meter["default_aggregation"]["formula"] == "count":
        return Decimal(1)
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise invalid(f"Invalid value for {param}: it must be a number.", param)
    return value


def total(tx: Tx, ctx: Context, meter: Object, customer: str, start: int, end: int) -> Decimal:
    """Add up a customer's events from `start` to before `end`, as the meter's formula has it."""
    events = [
        event
        for event in tx.find_by(ctx, EVENT, "customer", customer)
        if event["meter"] == meter["id"] and start <= event["timestamp"] < end
    ]
    if meter["default_aggregation"]["formula"] == "last":
        latest = max(events, key=lambda event: event["timestamp"], default=None)
        return Decimal(latest["value"]) if latest else Decimal(0)
    return sum((Decimal(event["value"]) for event in events), Decimal(0))


def billed(tx: Tx, ctx: Context, price: Object, customer: str, start: int, end: int) -> tuple[int, int]:
    """Give quantity and amount of a metered price for a period that is over: below zero counts as nothing."""
    meter = tx.get(ctx, METER, price["recurring"]["meter"], deleted=True)
    quantity = max(total(tx, ctx, meter, customer, start, end), Decimal(0)) if meter else Decimal(0)
    return int(quantity), tiers.amount_of(tx, ctx, price, int(quantity))
