"""Billing meters and their events: usage that is added up and billed when a period turns."""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..billing import usage
from ..errors import StripeError, invalid, not_simulated
from ..events import changes, emit
from ..fields import supported
from ..lookup import no_such
from ..paging import page, page_of
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

METER, EVENT = usage.METER, usage.EVENT
OLDEST_SECONDS, NEWEST_SECONDS = 35 * 24 * 3600, 5 * 60


def _find(tx: Tx, ctx: Context, meter_id: str) -> Object:
    meter = tx.get(ctx, METER, meter_id)
    if meter is None:
        raise no_such(tx, ctx, METER, meter_id, "id", 404)
    return meter


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/billing/meters. Raises: StripeError 400 when an active meter has that event name."""
    supported(
        params,
        {"customer_mapping", "default_aggregation", "display_name", "event_name", "event_time_window",
         "value_settings"},
    )  # fmt: skip
    if usage.meter_of(tx, ctx, params["event_name"]) is not None:
        raise invalid(f"There is already an active meter with the event name {params['event_name']}.", "event_name")
    mapping = params.get("customer_mapping") or {"event_payload_key": "stripe_customer_id", "type": "by_id"}
    meter: Object = {
        "id": ids.new_id(METER),
        "object": METER,
        "created": ctx.now,
        "customer_mapping": mapping,
        "default_aggregation": params["default_aggregation"],
        "display_name": params["display_name"],
        "event_name": params["event_name"],
        "event_time_window": params.get("event_time_window"),
        "livemode": ctx.livemode,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": ctx.now,
        "value_settings": params.get("value_settings") or {"event_payload_key": "value"},
    }
    tx.insert(ctx, meter)
    emit(tx, ctx, "billing.meter.created", meter)
    return meter


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/billing/meters/{id}: its name for people."""
    supported(params, {"display_name"})
    meter = _find(tx, ctx, id)
    before = copy.deepcopy(meter)
    if params.get("display_name"):
        meter |= {"display_name": params["display_name"], "updated": ctx.now}
    tx.save(ctx, meter)
    previous = changes(before, meter)
    if previous:
        emit(tx, ctx, "billing.meter.updated", meter, previous)
    return meter


def _switch(tx: Tx, ctx: Context, meter_id: str, status: str, event_type: str) -> Object:
    meter = _find(tx, ctx, meter_id)
    if meter["status"] == status:
        raise StripeError(f"This meter is already {status}.")
    if status == "active" and usage.meter_of(tx, ctx, meter["event_name"]) is not None:
        raise StripeError(f"There is already an active meter with the event name {meter['event_name']}.")
    meter |= {"status": status, "updated": ctx.now}
    meter["status_transitions"]["deactivated_at"] = ctx.now if status == "inactive" else None
    tx.save(ctx, meter)
    emit(tx, ctx, event_type, meter)
    return meter


def deactivate(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/billing/meters/{id}/deactivate: it takes no more events."""
    return _switch(tx, ctx, id, "inactive", "billing.meter.deactivated")


def reactivate(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/billing/meters/{id}/reactivate."""
    return _switch(tx, ctx, id, "active", "billing.meter.reactivated")


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/billing/meters/{id}."""
    return _find(tx, ctx, id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/billing/meters."""
    supported(params, {"limit", "starting_after", "ending_before", "status"})
    return page(tx, ctx, METER, params, "/v1/billing/meters", {"status": params.get("status")})


def record(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/billing/meter_events: usage of one customer; there is no event for it.

    Raises: StripeError 400 (no such meter, customer or value; too old, too new; identifier used already).
    """
    supported(params, {"event_name", "identifier", "payload", "timestamp"})
    meter = usage.meter_of(tx, ctx, params["event_name"])
    if meter is None:
        raise invalid(f"No active meter found for event name {params['event_name']}.", "event_name")
    payload = params["payload"]
    key = meter["customer_mapping"]["event_payload_key"]
    if not payload.get(key):
        raise invalid(f"Missing payload key: {key}.", f"payload[{key}]")
    customer = existing(tx, ctx, payload[key], f"payload[{key}]")
    value_key = meter["value_settings"]["event_payload_key"]
    value = usage.value_of(payload.get(value_key), f"payload[{value_key}]", meter)
    there = usage.in_time_of(tx, ctx, customer)
    at = params.get("timestamp", there.now)
    if not there.now - OLDEST_SECONDS <= at <= there.now + NEWEST_SECONDS:
        raise invalid(
            "The timestamp must be within the past 35 calendar days or up to 5 minutes in the future.", "timestamp"
        )
    identifier = params.get("identifier") or ids.random_text(32)
    if tx.find(ctx, EVENT, " AND id = ?", (identifier,)):
        raise invalid(f"An event already exists with identifier {identifier}.", "identifier")
    event: Object = {
        "object": EVENT,
        "created": there.now,
        "event_name": meter["event_name"],
        "identifier": identifier,
        "livemode": ctx.livemode,
        "payload": payload,
        "timestamp": at,
    }
    stored = {**event, "id": identifier, "meter": meter["id"], "customer": customer["id"], "value": str(value)}
    tx.insert(there, stored)
    return event


def adjust(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/billing/meter_event_adjustments: cancels an event of the last 24 hours."""
    supported(params, {"cancel", "event_name", "type"})
    identifier = (params.get("cancel") or {}).get("identifier") or ""
    event = tx.get(ctx, EVENT, identifier)
    if event is None or event["event_name"] != params["event_name"]:
        raise invalid(f"No event found with identifier {identifier}.", "cancel[identifier]", "resource_missing")
    if event["created"] < ctx.now - 24 * 3600:
        raise invalid("Only events of the last 24 hours can be canceled.", "cancel[identifier]")
    tx.mark_deleted(ctx, EVENT, identifier)
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": params["event_name"],
        "livemode": ctx.livemode,
        "status": "pending",
        "type": "cancel",
    }


def summarize(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/billing/meters/{id}/event_summaries: the usage of one customer in a span of whole minutes."""
    supported(params, {"customer", "end_time", "limit", "start_time", "starting_after", "ending_before"})
    if params.get("value_grouping_window"):
        raise not_simulated("value_grouping_window")
    meter = _find(tx, ctx, id)
    customer = existing(tx, ctx, params["customer"])
    start, end = params["start_time"], params["end_time"]
    for name, moment in (("start_time", start), ("end_time", end)):
        if moment % 60:
            raise invalid(f"{name} must be aligned with minute boundaries.", name)
    if end <= start:
        raise invalid("end_time must be after start_time.", "end_time")
    total = usage.total(tx, ctx, meter, customer["id"], start, end)
    summary: Object = {
        "id": f"mtrusg_{meter['id'].removeprefix('mtr_')[:20]}{start}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(total) if total != total.to_integral_value() else int(total),
        "end_time": end,
        "livemode": ctx.livemode,
        "meter": meter["id"],
        "start_time": start,
    }
    return page_of([summary], params, f"/v1/billing/meters/{id}/event_summaries")


ROUTES = [
    ("POST", "/v1/billing/meters", create),
    ("GET", "/v1/billing/meters", list_all),
    ("GET", "/v1/billing/meters/{id}", retrieve),
    ("POST", "/v1/billing/meters/{id}", update),
    ("POST", "/v1/billing/meters/{id}/deactivate", deactivate),
    ("POST", "/v1/billing/meters/{id}/reactivate", reactivate),
    ("GET", "/v1/billing/meters/{id}/event_summaries", summarize),
    ("POST", "/v1/billing/meter_events", record),
    ("POST", "/v1/billing/meter_event_adjustments", adjust),
]
