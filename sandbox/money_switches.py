"""Switches for what banks and cardholders do to payments: disputes, warnings, refunds that settle. JSON, no key."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from . import accounts, clock, permissions, timeline
from .billing import delayed, disputes, refunding, tax_ids
from .errors import StripeError
from .events import Journal
from .resources import invoices, payment_methods, setup_intents
from .store import Context, Object, Store, Tx

REASONS = (
    "credit_not_processed", "duplicate", "fraudulent", "general", "product_not_received", "product_unacceptable",
    "subscription_canceled", "unrecognized",
)  # fmt: skip


def blueprint(store: Store) -> Blueprint:
    """Make the routes under /_sandbox/api."""
    switches = Blueprint("money_switches", __name__, url_prefix="/_sandbox/api")
    _add_charges(switches, store)
    _add_cards(switches, store)
    _add_delayed(switches, store)
    _add_invoices(switches, store)
    _add_keys(switches, store)

    @switches.errorhandler(StripeError)
    def refused(error: StripeError) -> ResponseReturnValue:
        return jsonify(error.body()), error.http_status

    return switches


def found(tx: Tx, object_type: str, object_id: str) -> tuple[Context, Object]:
    """Find an object of any account, with the context in whose time it lives. Raises: StripeError 404."""
    owner = tx.owner_of(object_type, object_id)
    ctx = Context(owner[0], owner[1], clock.now(), key_kind="sandbox") if owner else None
    obj = tx.get(ctx, object_type, object_id) if ctx else None
    if ctx is None or obj is None:
        raise StripeError(f"No such {object_type}: '{object_id}'", http_status=404, code="resource_missing")
    return timeline.at_time_of(tx, ctx, obj), obj


def choice(name: str, options: tuple[Any, ...], default: Any = None) -> Any:
    """Read one field of the JSON body. Raises: StripeError 400 when it is none of the options."""
    body = request.get_json(silent=True) if request.data else {}
    value = body.get(name, default) if isinstance(body, dict) else None
    if value not in options:
        raise StripeError(f"{name} must be one of {', '.join(map(str, options))}", param=name)
    return value


def _add_charges(switches: Blueprint, store: Store) -> None:
    @switches.post("/charges/<charge_id>/dispute")
    def dispute_charge(charge_id: str) -> ResponseReturnValue:
        reason = choice("reason", REASONS, "fraudulent")
        inquiry = choice("inquiry", (True, False), False)
        with store.transaction() as tx:
            ctx, charge = found(tx, "charge", charge_id)
            journal = Journal()
            made = disputes.open_dispute(tx, ctx, journal, charge, reason=reason, inquiry=inquiry)
            journal.release(tx, ctx)
            return jsonify(made)

    @switches.post("/disputes/<dispute_id>/close")
    def close_dispute(dispute_id: str) -> ResponseReturnValue:
        won = choice("outcome", ("won", "lost")) == "won"
        with store.transaction() as tx:
            ctx, dispute = found(tx, "dispute", dispute_id)
            journal = Journal()
            disputes.close(tx, ctx, journal, dispute, won=won)
            journal.release(tx, ctx)
            return jsonify(dispute)

    @switches.post("/charges/<charge_id>/fraud_warning")
    def warn_of_fraud(charge_id: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            ctx, charge = found(tx, "charge", charge_id)
            journal = Journal()
            warning = disputes.warn(tx, ctx, journal, charge)
            journal.release(tx, ctx)
            return jsonify(warning)

    @switches.post("/refunds/<refund_id>/settle")
    def settle_refund(refund_id: str) -> ResponseReturnValue:
        failed = choice("outcome", ("succeeded", "failed")) == "failed"
        with store.transaction() as tx:
            ctx, _ = found(tx, "refund", refund_id)
            return jsonify(refunding.settle(tx, ctx, refund_id, failed=failed))


def _add_delayed(switches: Blueprint, store: Store) -> None:
    @switches.post("/payment_intents/<intent_id>/settle")
    def settle_debit(intent_id: str) -> ResponseReturnValue:
        failed = choice("outcome", ("succeeded", "failed")) == "failed"
        with store.transaction() as tx:
            ctx, intent = found(tx, "payment_intent", intent_id)
            return jsonify(delayed.settle(tx, ctx, intent, failed=failed))


def _add_cards(switches: Blueprint, store: Store) -> None:
    @switches.post("/payment_methods/<payment_method_id>/<action>")
    def act_on_card(payment_method_id: str, action: str) -> ResponseReturnValue:
        actions = {
            "expire": payment_methods.expire,
            "expiring": payment_methods.expire_soon,
            "renew": payment_methods.renew,
        }
        if action not in actions:
            raise StripeError(f"unknown action {action}", http_status=404)
        with store.transaction() as tx:
            ctx, payment_method = found(tx, "payment_method", payment_method_id)
            return jsonify(actions[action](tx, ctx, payment_method))

    @switches.post("/setup_intents/<intent_id>/authenticate")
    def authenticate_setup(intent_id: str) -> ResponseReturnValue:
        success = choice("success", (True, False))
        with store.transaction() as tx:
            ctx, _ = found(tx, "setup_intent", intent_id)
            return jsonify(setup_intents.authenticate(tx, ctx, intent_id, success=success))


def _add_invoices(switches: Blueprint, store: Store) -> None:
    @switches.post("/invoices/<invoice_id>/fail_finalization")
    def fail_finalization(invoice_id: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            ctx, invoice = found(tx, "invoice", invoice_id)
            return jsonify(invoices.fail_finalization(tx, ctx, invoice))

    @switches.post("/tax_ids/<tax_id>/verify")
    def verify_tax_id(tax_id: str) -> ResponseReturnValue:
        outcome = choice("outcome", ("verified", "unverified", "pending"))
        with store.transaction() as tx:
            ctx, obj = found(tx, "tax_id", tax_id)
            return jsonify(tax_ids.settle(tx, ctx, obj, outcome))


def _add_keys(switches: Blueprint, store: Store) -> None:
    @switches.post("/accounts/<account_id>/keys")
    def create_key(account_id: str) -> ResponseReturnValue:
        body = request.get_json(silent=True)
        granted = body.get("permissions") if isinstance(body, dict) else None
        if not isinstance(granted, dict):
            raise StripeError("permissions must be an object", param="permissions")
        for name, level in granted.items():
            if name not in permissions.NAMES or level not in permissions.LEVELS:
                raise StripeError(
                    f"permissions[{name}] must be one of {', '.join(permissions.LEVELS)}, for one of "
                    f"{', '.join(permissions.NAMES)}",
                    param=f"permissions[{name}]",
                )
        livemode = choice("livemode", (True, False), False)
        with store.transaction() as tx:
            if not tx.execute("SELECT 1 FROM accounts WHERE id = ?", (account_id,)).fetchone():
                raise StripeError(f"No such account: '{account_id}'", http_status=404, code="resource_missing")
            key = accounts.create_restricted_key(tx, account_id, granted, livemode=livemode)
        return jsonify(key=key, permissions=granted, livemode=livemode), 201

    @switches.post("/keys/expire")
    def expire_key() -> ResponseReturnValue:
        body = request.get_json(silent=True)
        key = body.get("key") if isinstance(body, dict) else None
        with store.transaction() as tx:
            if not isinstance(key, str) or not accounts.expire_key(tx, key):
                raise StripeError("there is no such key", http_status=404)
        return jsonify(expired=True)
