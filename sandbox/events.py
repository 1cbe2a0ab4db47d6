"""Makes events: the payload is frozen when it happens, in the transaction that made it happen.

What this file needs of delivery.py: `enqueue(tx, ctx, event) -> int` (inserts one delivery row per endpoint that wants
the event, before the event's own row, and gives their number) and `notify()` (wakes the deliverer; cheap, never raises).
An endpoint's signing secrets are its private data: {"secrets": [{"secret": "whsec_…", "expires_at": None or time}]}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from . import API_VERSION, delivery, ids, violations
from .store import Context, Tx

Object = dict[str, Any]


# The events of an invoice that a call makes and charges at once, in their usual order. A guess where no recording exists.
BILLED_AT_ONCE = (
    "invoice.created",
    "invoice.finalized",
    "charge.succeeded",
    "charge.failed",
    "payment_intent.created",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "customer.updated",
    "invoice_payment.paid",
)


def emit(tx: Tx, ctx: Context, event_type: str, obj: Object, previous_attributes: Object | None = None) -> Object:
    """Record an event and the deliveries it owes, and wake the deliverer once the transaction has committed."""
    data: Object = {"object": _frozen(obj)}
    if previous_attributes is not None:
        data["previous_attributes"] = previous_attributes
    event: Object = {
        "id": ids.new_id("event"),
        "object": "event",
        "api_version": API_VERSION,
        "created": ctx.now,
        "data": data,
        "livemode": ctx.livemode,
        "pending_webhooks": 0,
        "request": {"id": ctx.request_id, "idempotency_key": ctx.idempotency_key},
        "type": event_type,
    }
    violations.check_event(event)
    event["pending_webhooks"] = delivery.enqueue(tx, ctx, event)
    tx.insert(ctx, event)
    if delivery.notify not in tx.after_commit:
        tx.after_commit.append(delivery.notify)
    return event


def changes(before: Object, after: Object) -> Object:
    """Give previous_attributes: the old values of what changed, with keys that are new in metadata as null."""
    previous: Object = {}
    for key in after:
        if key not in before:
            previous[key] = None
        elif before[key] != after[key]:
            both_maps = isinstance(before[key], dict) and isinstance(after[key], dict)
            # Embedded objects and lists are given whole, plain maps by their changed keys.
            plain = both_maps and "object" not in before[key]
            previous[key] = changes(before[key], after[key]) if plain else before[key]
    for key in before:
        if key not in after:
            previous[key] = before[key]
    return json.loads(json.dumps(previous))


def emit_updated(tx: Tx, ctx: Context, event_type: str, before: Object, after: Object) -> Object | None:
    """Record an *.updated event when anything changed at all."""
    previous = changes(before, after)
    return emit(tx, ctx, event_type, after, previous) if previous else None


def _frozen(obj: Object) -> Object:
    """Copy an object through JSON, which it is written as anyway: several times quicker than a deep copy."""
    copied: Object = json.loads(json.dumps(obj))
    return copied


class Journal:
    """Collects what happened in an operation, to be recorded in the order in which Stripe tells it.

    Snapshots are taken when something happens, so an invoice.created shows the draft even when the invoice was paid
    a moment later.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[str, Object, Object | None]] = []

    def add(self, event_type: str, obj: Object, previous_attributes: Object | None = None) -> None:
        """Note an event with the object as it is now."""
        self._entries.append((event_type, _frozen(obj), previous_attributes))

    def add_updated(self, event_type: str, before: Object, after: Object, ignore: Sequence[str] = ()) -> None:
        """Note an *.updated event when anything but the ignored fields changed."""
        previous = changes(before, after)
        if set(previous) - set(ignore):
            self.add(event_type, after, previous)

    def release(self, tx: Tx, ctx: Context, order: Sequence[str] = ()) -> None:
        """Record everything: types in `order` first and in that order, the rest as it happened."""
        places = {event_type: place for place, event_type in enumerate(order)}
        entries = sorted(self._entries, key=lambda entry: places.get(entry[0], len(places)))
        self._entries = []
        for event_type, obj, previous in entries:
            emit(tx, ctx, event_type, obj, previous)

    def split_first(self, event_type: str) -> tuple[Journal, Journal]:
        """Give the first entry of a type by itself, and the rest."""
        first, rest = Journal(), Journal()
        for entry in self._entries:
            target = first if entry[0] == event_type and not first._entries else rest
            target._entries.append(entry)
        return first, rest
