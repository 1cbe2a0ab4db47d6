"""The control page's abilities as JSON, for tests: objects with their buttons, and deliveries in any order."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from .. import clock, delivery, disorder, redelivery
from ..dispatch import Dispatcher
from ..errors import StripeError
from ..resources import events
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


def wanted_seed(fields: Any) -> int | None:
    """Read the seed of a shuffle, if there is one. Raises: StripeError 400."""
    seed = fields.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int | None):
        raise StripeError("seed must be a whole number", param="seed")
    return seed


def wanted_modes(fields: Any) -> tuple[bool, ...]:
    """Read which modes are meant (True is live): both unless one is named. Raises: StripeError 400."""
    mode = fields.get("mode")
    if mode not in (None, "test", "live"):
        raise StripeError("mode must be test or live", param="mode")
    return (False, True) if mode is None else (mode == "live",)


def check_account(tx: Tx, account_id: Any) -> None:
    """Insist on an account that exists. Raises: StripeError 404."""
    known = isinstance(account_id, str) and tx.execute("SELECT 1 FROM accounts WHERE id = ?", (account_id,)).fetchone()
    if not known:
        raise StripeError(f"No such account: '{account_id}'", http_status=404, code="resource_missing")


def owner_of(tx: Tx, object_id: str) -> tuple[Context, str]:
    """Tell whose object an id names, and its type. Raises: StripeError 404."""
    row = tx.execute(
        "SELECT account, livemode, type FROM objects WHERE id = ? AND deleted = 0", (object_id,)
    ).fetchone()
    if row is None:
        raise StripeError(f"No such object: {object_id}", http_status=404)
    return Context(row["account"], bool(row["livemode"]), clock.now(), key_kind="sandbox"), row["type"]


def body() -> dict[str, Any]:
    """Read the JSON of a request; no body is an empty one. Raises: StripeError 400."""
    found = request.get_json(silent=True) if request.data else {}
    if not isinstance(found, dict):
        raise StripeError("the body must be a JSON object")
    return found


def add_routes(pages: Blueprint, dispatcher: Dispatcher) -> None:
    """Add the routes under /_sandbox/api."""
    _add_objects(pages, dispatcher)
    _add_deliveries(pages, dispatcher)
    _add_disorder(pages, dispatcher)
    _add_rates(pages, dispatcher)


def _add_objects(pages: Blueprint, dispatcher: Dispatcher) -> None:
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


def _add_deliveries(pages: Blueprint, dispatcher: Dispatcher) -> None:
    @pages.get("/api/deliveries/<int:delivery_id>")
    def read_delivery(delivery_id: int) -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            found = redelivery.delivery_of(tx, delivery_id)
        if found is None:
            raise StripeError(f"No such delivery: {delivery_id}", http_status=404)
        return jsonify(found)

    @pages.post("/api/deliveries/release")
    def release_by_json() -> ResponseReturnValue:
        fields = body()
        order, gap = wanted_order(fields)
        seed, modes, account_id = wanted_seed(fields), wanted_modes(fields), fields.get("account_id")
        with dispatcher.store.transaction() as tx:
            if account_id is not None:
                check_account(tx, account_id)
            sent = redelivery.release(tx, order=order, gap_seconds=gap, seed=seed, account_id=account_id, modes=modes)
            return jsonify(events=sent)

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
            return jsonify(
                events=redelivery.replay(tx, ctx, last=last, order=order, gap_seconds=gap, seed=wanted_seed(fields))
            )


def _add_disorder(pages: Blueprint, dispatcher: Dispatcher) -> None:
    @pages.get("/api/accounts/<account_id>/disorder")
    def show_disorder(account_id: str) -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            check_account(tx, account_id)
            return jsonify(disorder.shown(tx, account_id))

    @pages.post("/api/accounts/<account_id>/disorder")
    def cause_disorder_by_json(account_id: str) -> ResponseReturnValue:
        wanted = disorder.checked(body())
        with dispatcher.store.transaction() as tx:
            check_account(tx, account_id)
            disorder.cause(tx, account_id, wanted)
            return jsonify(disorder.shown(tx, account_id))

    @pages.delete("/api/accounts/<account_id>/disorder")
    def end_disorder_by_json(account_id: str) -> ResponseReturnValue:
        with dispatcher.store.transaction() as tx:
            check_account(tx, account_id)
            disorder.end(tx, account_id)
            return jsonify(disorder.shown(tx, account_id))

    @pages.post("/api/accounts/<account_id>/events/forget")
    def forget_events(account_id: str) -> ResponseReturnValue:
        before = body().get("before")
        if isinstance(before, bool) or not isinstance(before, int):
            raise StripeError("before must be a time in seconds", param="before")
        with dispatcher.store.transaction() as tx:
            check_account(tx, account_id)
            return jsonify(forgotten=events.forget(tx, account_id, before))

    @pages.post("/api/accounts/<account_id>/deliveries")
    def hold_account(account_id: str) -> ResponseReturnValue:
        fields = body()
        paused, modes = fields.get("paused"), wanted_modes(fields)
        if not isinstance(paused, bool):
            raise StripeError("paused must be true or false", param="paused")
        with dispatcher.store.transaction() as tx:
            check_account(tx, account_id)
            (disorder.hold if paused else disorder.let_go)(tx, account_id, modes)
            tx.after_commit.append(delivery.notify)
            return jsonify(held=disorder.shown(tx, account_id)["held"])


def _add_rates(pages: Blueprint, dispatcher: Dispatcher) -> None:
    def known(account_id: str) -> str:
        with dispatcher.store.read() as tx:
            check_account(tx, account_id)
        return account_id

    @pages.get("/api/accounts/<account_id>/rate")
    def show_rate(account_id: str) -> ResponseReturnValue:
        return jsonify(dispatcher.rates.shown(known(account_id)))

    @pages.post("/api/accounts/<account_id>/rate")
    def limit_rate_by_json(account_id: str) -> ResponseReturnValue:
        dispatcher.rates.limit(known(account_id), body())
        return jsonify(dispatcher.rates.shown(account_id))

    @pages.delete("/api/accounts/<account_id>/rate")
    def measure_anew_by_json(account_id: str) -> ResponseReturnValue:
        dispatcher.rates.reset(known(account_id))
        return jsonify(dispatcher.rates.shown(account_id))
