"""The control page's abilities as JSON, for tests: objects with their buttons, and deliveries in any order."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from .. import clock, redelivery
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..store import Context, Tx
from .actions import carry_out, offered
from .views import masked

REPLAY_MAX = 500
GAP_SECONDS_MAX = 5.0
# Long enough for an answer in between, so that the order of sending is the order of arriving.
GAP_SECONDS = 0.1


def wanted_order(fields: Any) -> tuple[str, float]:
    """Read in which order and how far apart to deliver. Raises: StripeError 400."""
    order, gap = fields.get("order", "recorded"), fields.get("gap_seconds", GAP_SECONDS)
    if order not in redelivery.ORDERS:
        raise StripeError(f"order must be one of {', '.join(redelivery.ORDERS)}", param="order")
    if isinstance(gap, bool) or not isinstance(gap, int | float) or not 0 <= gap <= GAP_SECONDS_MAX:
        raise StripeError(f"gap_seconds must be 0 to {GAP_SECONDS_MAX:g}", param="gap_seconds")
    return order, float(gap)


def wanted_number(fields: Any, name: str, default: int, most: int) -> int:
    """Read a whole number of at least 1. Raises: StripeError 400."""
    value = fields.get(name, default)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise StripeError(f"{name} must be 1 to {most}", param=name)
    return value


def owner_of(tx: Tx, object_id: str) -> tuple[Context, str]:
    """Tell whose object an id names, and its type. Raises: StripeError 404."""
    row = tx.execute(
        "SELECT account, livemode, type FROM objects WHERE id = ? AND deleted = 0", (object_id,)
    ).fetchone()
    if row is None:
        raise StripeError(f"No such object: {object_id}", http_status=404)
    return Context(row["account"], bool(row["livemode"]), clock.now(), key_kind="sandbox"), row["type"]


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the routes under /_sandbox/api."""

    def body() -> dict[str, Any]:
        found = request.get_json(silent=True) if request.data else {}
        if not isinstance(found, dict):
            raise StripeError("the body must be a JSON object")
        return found

    @pages.get("/api/objects/<object_id>")
    def read_object(object_id: str) -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            ctx, object_type = owner_of(tx, object_id)
            obj = tx.get(ctx, object_type, object_id) or {}
        return jsonify(
            account_id=ctx.account_id,
            mode="live" if ctx.livemode else "test",
            object=masked(obj),
            actions=[action.name for action in offered(obj)],
        )

    @pages.post("/api/objects/<object_id>/<action>")
    def act_by_json(object_id: str, action: str) -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            ctx, object_type = owner_of(tx, object_id)
        fields = {name: str(value) for name, value in body().items()}
        return jsonify(carry_out(dispatcher.store, dispatcher.router, ctx, object_type, object_id, action, fields))

    @pages.get("/api/deliveries/<int:delivery_id>")
    def read_delivery(delivery_id: int) -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            found = redelivery.delivery_of(tx, delivery_id)
        if found is None:
            raise StripeError(f"No such delivery: {delivery_id}", http_status=404)
        return jsonify(found)

    @pages.post("/api/deliveries/release")
    def release_by_json() -> ResponseReturnValue:
        order, gap = wanted_order(body())
        with dispatcher.store.transaction() as tx:
            return jsonify(events=redelivery.release(tx, order=order, gap_seconds=gap))

    @pages.post("/api/deliveries/replay")
    def replay_by_json() -> ResponseReturnValue:
        fields = body()
        order, gap = wanted_order(fields)
        last = wanted_number(fields, "last", 20, REPLAY_MAX)
        with dispatcher.store.transaction() as tx:
            account = tx.execute("SELECT 1 FROM accounts WHERE id = ?", (fields.get("account_id"),)).fetchone()
            if account is None or fields.get("mode", "test") not in ("test", "live"):
                raise StripeError("account_id must name an account, and mode be test or live")
            ctx = Context(fields["account_id"], fields.get("mode") == "live", clock.now(), key_kind="sandbox")
            return jsonify(events=redelivery.replay(tx, ctx, last=last, order=order, gap_seconds=gap))
