"""The sandbox's own switches under /_sandbox: JSON, no key, for tests and demos on loopback."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from . import accounts, clock, control_time, delivery, redelivery, timeline
from .billing import cards, renewals
from .dispatch import Dispatcher
from .errors import StripeError
from .faults import FaultRefused
from .resources import payment_intents
from .store import Context

NAME_LENGTH_MAX = 200
RESEND_TIMES_MAX = 50


class ControlRefused(Exception):
    """A control request that makes no sense: answered as {"error": message}."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def _body() -> dict[str, Any]:
    body = request.get_json(silent=True) if request.data else {}
    if not isinstance(body, dict):
        raise ControlRefused("the body must be a JSON object")
    return body


def _times(body: dict[str, Any]) -> int:
    times = body.get("times", 1)
    if isinstance(times, bool) or not isinstance(times, int) or not 1 <= times <= RESEND_TIMES_MAX:
        raise ControlRefused(f"times must be 1 to {RESEND_TIMES_MAX}")
    return times


def blueprint(dispatcher: Dispatcher) -> Blueprint:
    """Make the routes under /_sandbox."""
    pages = Blueprint("control", __name__, url_prefix="/_sandbox")
    _add_errors(pages)
    _add_accounts(pages, dispatcher)
    _add_objects(pages, dispatcher)
    _add_deliveries(pages, dispatcher)
    _add_faults(pages, dispatcher)
    control_time.add_routes(pages, dispatcher.store)
    return pages


def _add_errors(pages: Blueprint) -> None:
    @pages.errorhandler(ControlRefused)
    def refused(error: ControlRefused) -> ResponseReturnValue:
        return jsonify(error=error.message), error.status

    @pages.errorhandler(StripeError)
    def stripe_refused(error: StripeError) -> ResponseReturnValue:
        return jsonify(error.body()), error.http_status

    @pages.errorhandler(FaultRefused)
    def fault_refused(error: FaultRefused) -> ResponseReturnValue:
        return jsonify(error=str(error)), 400


def _add_accounts(pages: Blueprint, dispatcher: Dispatcher) -> None:
    @pages.get("/health")
    def health() -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            tx.execute("SELECT 1 FROM accounts LIMIT 1")
        return jsonify(status="ok")

    @pages.post("/api/accounts")
    def create_account() -> ResponseReturnValue:
        name = _body().get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_LENGTH_MAX:
            raise ControlRefused(f"name must be a text of 1 to {NAME_LENGTH_MAX} characters")
        return jsonify(accounts.create_account(dispatcher.store, name.strip(), clock.now())), 201

    @pages.get("/api/accounts")
    def list_accounts() -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            return jsonify(data=accounts.list_accounts(tx))


def _add_objects(pages: Blueprint, dispatcher: Dispatcher) -> None:
    def context_of(object_type: str, object_id: str) -> Context:
        with dispatcher.store.read() as tx:
            owner = tx.owner_of(object_type, object_id)
            if owner is None:
                raise ControlRefused(f"no {object_type} {object_id}", 404)
            ctx = Context(account_id=owner[0], livemode=owner[1], now=clock.now(), key_kind="sandbox")
            return timeline.at_time_of(tx, ctx, tx.get(ctx, object_type, object_id))

    @pages.post("/api/subscriptions/<subscription_id>/<action>")
    def act_on_subscription(subscription_id: str, action: str) -> ResponseReturnValue:
        body = _body()
        ctx = context_of("subscription", subscription_id)
        with dispatcher.store.transaction() as tx:
            if action == "renew":
                outcome = body.get("outcome", "paid")
                if outcome not in ("paid", "declined", "card", *cards.DECLINES):
                    raise ControlRefused("outcome must be paid, declined, card (what the card does) or a decline code")
                return jsonify(renewals.renew(tx, ctx, subscription_id, outcome=outcome))
            if action == "pause":
                return jsonify(renewals.pause(tx, ctx, subscription_id))
            if action == "resume":
                return jsonify(renewals.resume(tx, ctx, subscription_id))
            if action == "expire":
                return jsonify(renewals.expire(tx, ctx, subscription_id))
        raise ControlRefused(f"unknown action {action}", 404)

    @pages.post("/api/payment_intents/<intent_id>/authenticate")
    def authenticate(intent_id: str) -> ResponseReturnValue:
        success = _body().get("success")
        if not isinstance(success, bool):
            raise ControlRefused("success must be true or false")
        ctx = context_of("payment_intent", intent_id)
        with dispatcher.store.transaction() as tx:
            return jsonify(payment_intents.authenticate(tx, ctx, intent_id, success=success))

    @pages.post("/api/webhook_endpoints/<endpoint_id>/roll")
    def roll_secret(endpoint_id: str) -> ResponseReturnValue:
        seconds = _body().get("keep_old_seconds", delivery.ROLL_SECONDS_MAX)
        if not isinstance(seconds, int | float) or seconds < 0:
            raise ControlRefused("keep_old_seconds must be a number, 0 or more")
        ctx = context_of("webhook_endpoint", endpoint_id)
        with dispatcher.store.transaction() as tx:
            return jsonify(id=endpoint_id, secret=delivery.roll_secret(tx, ctx, endpoint_id, seconds))


def _add_deliveries(pages: Blueprint, dispatcher: Dispatcher) -> None:
    @pages.post("/api/events/<event_id>/resend")
    def resend(event_id: str) -> ResponseReturnValue:
        with dispatcher.store.transaction() as tx:
            owner = tx.owner_of("event", event_id)
            if owner is None:
                raise ControlRefused(f"no event {event_id}", 404)
            ctx = Context(account_id=owner[0], livemode=owner[1], now=clock.now(), key_kind="sandbox")
            endpoints = [endpoint["id"] for endpoint in tx.find(ctx, "webhook_endpoint")]
            wanted, times = _body().get("webhook_endpoint"), _times(_body())
            takers = [each for each in endpoints if wanted in (None, each)] * times
            sent = [delivery.resend(tx, ctx, event_id, each) for each in takers]
        return jsonify(event=event_id, deliveries=sent)

    @pages.post("/api/deliveries")
    def pause_deliveries() -> ResponseReturnValue:
        paused = _body().get("paused")
        if not isinstance(paused, bool):
            raise ControlRefused("paused must be true or false")
        delivery.set_paused(dispatcher.store, paused)
        return jsonify(paused=paused)

    @pages.get("/api/deliveries")
    def list_deliveries() -> ResponseReturnValue:
        with dispatcher.store.read() as tx:
            found = redelivery.list_deliveries(
                tx,
                request.args.get("account_id"),
                event_id=request.args.get("event_id"),
                endpoint_id=request.args.get("webhook_endpoint"),
                state=request.args.get("state"),
                limit=request.args.get("limit", default=100, type=int),
            )
        return jsonify(data=found)


def _add_faults(pages: Blueprint, dispatcher: Dispatcher) -> None:
    @pages.post("/api/faults")
    def add_fault() -> ResponseReturnValue:
        return jsonify(dispatcher.faults.add(_body())), 201

    @pages.get("/api/faults")
    def list_faults() -> ResponseReturnValue:
        return jsonify(data=dispatcher.faults.list(request.args.get("account_id")))

    @pages.delete("/api/faults/<int:rule_id>")
    def remove_fault(rule_id: int) -> ResponseReturnValue:
        if not dispatcher.faults.remove(rule_id):
            raise ControlRefused(f"no fault {rule_id}", 404)
        return jsonify(removed=rule_id)

    @pages.delete("/api/faults")
    def clear_faults() -> ResponseReturnValue:
        dispatcher.faults.clear(request.args.get("account_id"))
        return jsonify(cleared=True)

    @pages.get("/api/requests")
    def list_requests() -> ResponseReturnValue:
        return jsonify(data=dispatcher.log.list(request.args.get("account_id")))

    @pages.delete("/api/requests")
    def clear_requests() -> ResponseReturnValue:
        dispatcher.log.clear()
        return jsonify(cleared=True)
