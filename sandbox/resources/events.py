"""Events: newest first; what is still owed to endpoints is counted at the time of reading."""

from __future__ import annotations

from typing import Any

from .. import delivery
from ..errors import invalid
from ..fields import supported
from ..lookup import no_such
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]
MAX_TYPES = 20


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/events/{id}."""
    return _counted(tx, find_one(tx, ctx, "event", id))


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/events: by type (a trailing * is a wildcard), types, created, delivery_success."""
    supported(params, {"created", "delivery_success", "limit", "starting_after", "ending_before", "type", "types"})
    for name in ("starting_after", "ending_before"):
        if params.get(name) and tx.get(ctx, "event", params[name]) is None:
            raise no_such(tx, ctx, "event", params[name], name, 400)
    if params.get("type") and params.get("types"):
        raise invalid("You may only specify one of these parameters: type, types.")
    types = list(params.get("types") or ([params["type"]] if params.get("type") else []))
    if len(types) > MAX_TYPES:
        raise invalid(f"You may pass at most {MAX_TYPES} types.", "types")
    where, values = "", []
    if types:
        where = " AND (" + " OR ".join("json_extract(json, '$.type') GLOB ?" for _ in types) + ")"
        values = types
    if params.get("delivery_success") is not None:
        owed = (
            "EXISTS (SELECT 1 FROM deliveries d WHERE d.event = objects.id AND d.manual = 0 AND d.state != 'succeeded')"
        )
        where += f" AND {'NOT ' if params['delivery_success'] else ''}{owed}"
    found = page(tx, ctx, "event", params, "/v1/events", None, where, values)
    found["data"] = [_counted(tx, event) for event in found["data"]]
    return found


def forget(tx: Tx, account_id: str, before: int) -> int:
    """Make an account's events from before a time unreadable, as Stripe does after 30 days; gives how many."""
    return tx.execute(
        "UPDATE objects SET deleted = 1 WHERE account = ? AND type = 'event' AND deleted = 0 AND created < ?",
        (account_id, before),
    ).rowcount


def _counted(tx: Tx, event: Object) -> Object:
    event["pending_webhooks"] = delivery.pending_count(tx, event["id"])
    return event


ROUTES = [
    ("GET", "/v1/events", list_all),
    ("GET", "/v1/events/{id}", retrieve),
]
