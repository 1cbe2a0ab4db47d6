"""The switches that move time: test clocks around customers, and what an account's owner sets about retries."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from . import clock as wall
from . import timeline
from .billing import clocks, engine, invoicing, preferences
from .errors import StripeError
from .store import Context, Object, Store, Tx

# What a clock can be sent to, besides a time; "next" is whatever comes first, "payment" a renewal and its charge.
EVENTS = (
    "next", "payment", "renewal", "trial_end", "trial_will_end", "upcoming", "finalization", "retry", "end", "expiry",
    "pending_update_expiry", "collection_resumes", "session_expiry",
)  # fmt: skip


class TimeRefused(ValueError):
    """A wish about time that makes no sense: answered as {"error": message}."""


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the routes under /_sandbox/api to the control blueprint."""

    @pages.errorhandler(TimeRefused)
    @pages.errorhandler(preferences.PreferenceRefused)
    def refused(error: ValueError) -> ResponseReturnValue:
        return jsonify(error=str(error)), 400

    @pages.get("/api/test_clocks")
    def list_clocks() -> ResponseReturnValue:
        with store.read() as tx:
            return jsonify(data=clocks_of(tx, request.args.get("account_id")))

    @pages.post("/api/test_clocks/<clock_id>/advance")
    def advance_clock(clock_id: str) -> ResponseReturnValue:
        return jsonify(advance(store, clock_id, request.get_json(silent=True) or {}))

    @pages.post("/api/customers/<customer_id>/test_clock")
    def clock_for_customer(customer_id: str) -> ResponseReturnValue:
        return jsonify(put_on_clock(store, customer_id)), 201

    @pages.post("/api/subscriptions/<subscription_id>/advance")
    def advance_subscription(subscription_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            owner = _context(tx, "subscription", subscription_id)
            subscription = tx.get(owner, "subscription", subscription_id) or {}
        clock_id = subscription["test_clock"] or put_on_clock(store, subscription["customer"])["id"]
        return jsonify(advance(store, clock_id, request.get_json(silent=True) or {}, about=subscription_id))

    @pages.get("/api/accounts/<account_id>/billing")
    def show_preferences(account_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            return jsonify(preferences.as_json(preferences.preferences_of(tx, _account(tx, account_id))))

    @pages.post("/api/accounts/<account_id>/billing")
    def change_preferences(account_id: str) -> ResponseReturnValue:
        wanted = request.get_json(silent=True)
        if not isinstance(wanted, dict):
            raise TimeRefused("the body must be a JSON object")
        with store.transaction() as tx:
            return jsonify(preferences.as_json(preferences.set_preferences(tx, _account(tx, account_id), wanted)))


def _account(tx: Tx, account_id: str) -> str:
    if tx.execute("SELECT 1 FROM accounts WHERE id = ?", (account_id,)).fetchone() is None:
        raise StripeError(f"no account {account_id}", http_status=404)
    return account_id


def _context(tx: Tx, object_type: str, object_id: str) -> Context:
    owner = tx.owner_of(object_type, object_id)
    if owner is None:
        raise StripeError(f"no {object_type} {object_id}", http_status=404)
    return Context(account_id=owner[0], livemode=owner[1], now=wall.now(), key_kind="sandbox")


def clocks_of(tx: Tx, account_id: str | None = None) -> list[Object]:
    """List test clocks, newest first, each with its account, how far it may go at once, and what it will come to."""
    rows = tx.execute(
        "SELECT account, livemode, id FROM objects WHERE type = ? AND deleted = 0 AND account = ifnull(?, account)"
        " ORDER BY seq DESC",
        (timeline.CLOCK, account_id),
    ).fetchall()
    found = []
    for row in rows:
        ctx = Context(row["account"], bool(row["livemode"]), wall.now(), key_kind="sandbox")
        clock = tx.get(ctx, timeline.CLOCK, row["id"]) or {}
        ahead = [
            {"at": at, "event": event, "object": object_id}
            for at, event, object_id in clocks.agenda_of(tx, clocks.at(ctx, clock), clock)
        ]
        customers = [customer["id"] for customer in tx.find_by(ctx, "customer", "test_clock", clock["id"])]
        extra = {"account_id": row["account"], "customers": customers, "furthest": clocks.furthest(tx, ctx, clock)}
        found.append({**clock, **extra, "agenda": ahead})
    return found


def put_on_clock(store: Store, customer_id: str) -> Object:
    """Make a test clock, standing at the present, around a customer. Raises: StripeError."""
    with store.transaction() as tx:
        ctx = _context(tx, "customer", customer_id)
        customer = tx.get(ctx, "customer", customer_id)
        if customer is None:
            raise StripeError(f"no customer {customer_id}", http_status=404)
        return clocks.create(tx, ctx, ctx.now, name=customer["name"] or customer["email"], customer=customer)


def advance(store: Store, clock_id: str, wish: dict[str, Any], about: str | None = None) -> Object:
    """Advance a clock and wait until it is ready.

    `wish` has one of `frozen_time` (a time), `seconds` (a step) or `to` (one of EVENTS); `about` looks only at what
    will happen to one object. Raises: TimeRefused, StripeError.
    """
    with store.transaction() as tx:
        ctx = _context(tx, timeline.CLOCK, clock_id)
        clock = tx.get(ctx, timeline.CLOCK, clock_id)
        if clock is None:
            raise StripeError(f"no test clock {clock_id}", http_status=404)
        clocks.start_advancing(tx, ctx, clock, _target(tx, clocks.at(ctx, clock), clock, wish, about))
    engine.advance_clocks(store)
    with store.read() as tx:
        return tx.get(ctx, timeline.CLOCK, clock_id) or {}


def _target(tx: Tx, ctx: Context, clock: Object, wish: dict[str, Any], about: str | None) -> int:
    if len(wish.keys() & {"frozen_time", "seconds", "to"}) != 1:
        raise TimeRefused("say one of frozen_time (a time), seconds (a step) or to (an event)")
    number = wish.get("frozen_time", wish.get("seconds"))
    if "to" not in wish:
        if isinstance(number, bool) or not isinstance(number, int):
            raise TimeRefused("frozen_time and seconds must be whole numbers")
        return number if "frozen_time" in wish else clock["frozen_time"] + number
    if wish["to"] not in EVENTS:
        raise TimeRefused(f"to must be one of {', '.join(EVENTS)}")
    ahead = [entry for entry in clocks.agenda_of(tx, ctx, clock) if _concerns(tx, ctx, entry[2], about)]
    # A renewal is paid when the hour of its draft is over, whether that draft is there already or not.
    paid = [(at + (0 if event == "finalization" else invoicing.DRAFT_SECONDS + 1)) for at, event, _ in ahead
            if event in ("finalization", "renewal", "trial_end")]  # fmt: skip
    if wish["to"] == "payment" and paid:
        return min(paid)
    for at, event, _ in ahead:
        if wish["to"] in ("next", event):
            return max(at, clock["frozen_time"] + 1)
    raise TimeRefused(f"nothing of that kind lies ahead: {wish['to']}")


def _concerns(tx: Tx, ctx: Context, object_id: str, about: str | None) -> bool:
    if about is None or object_id == about:
        return True
    invoice = tx.get(ctx, "invoice", object_id)
    details = ((invoice or {}).get("parent") or {}).get("subscription_details") or {}
    return bool(details.get("subscription") == about)
