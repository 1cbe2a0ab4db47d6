"""Saves cards for later: setup intents with their attempts, and the authentication that some cards ask for."""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..errors import CardError
from ..events import Journal
from ..fields import filled
from ..store import Context, Tx
from . import cards

Object = dict[str, Any]

# What every new setup intent of this sandbox has in common.
BLANK: Object = {
    "object": "setup_intent",
    "allowed_payment_method_types": None,
    "application": None,
    "automatic_payment_methods": None,
    "cancellation_reason": None,
    "customer_account": None,
    "description": None,
    "excluded_payment_method_types": None,
    "flow_directions": None,
    "last_setup_error": None,
    "latest_attempt": None,
    "mandate": None,
    "next_action": None,
    "on_behalf_of": None,
    "payment_method": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {
        "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}
    },
    "payment_method_types": ["card"],
    "single_use_mandate": None,
    "status": "requires_payment_method",
}


def new_intent(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    *,
    customer: str | None,
    usage: str = "off_session",
    payment_method: str | None = None,
    **fields: Any,
) -> Object:
    """Add a setup intent, with its event."""
    intent_id = ids.new_id("setup_intent")
    intent = filled(
        BLANK,
        id=intent_id,
        client_secret=ids.client_secret(intent_id),
        created=ctx.now,
        customer=customer,
        livemode=ctx.livemode,
        metadata=fields.pop("metadata", {}),
        payment_method=payment_method,
        status="requires_confirmation" if payment_method else "requires_payment_method",
        usage=usage,
        **fields,
    )
    tx.insert(ctx, intent)
    journal.add("setup_intent.created", intent)
    return intent


def would_succeed(tx: Tx, ctx: Context, payment_method: Object, *, authenticated: bool) -> bool:
    """Tell whether an attempt would save a card at once."""
    card = cards.card_of(tx, ctx, payment_method)
    return card.attaches and (authenticated or not card.behaviour.startswith("authenticate"))


def attempt(
    tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object, *, authenticated: bool = False
) -> CardError | None:
    """Try to save a card; gives the refusal, if there was one. The intent says whether authentication is needed."""
    card = cards.card_of(tx, ctx, payment_method)
    intent |= {"payment_method": payment_method["id"], "last_setup_error": None, "next_action": None}
    if not card.attaches:
        return _fail(tx, ctx, journal, intent, payment_method, cards.card_error(cards.DECLINES[card.behaviour]))
    if card.behaviour.startswith("authenticate") and not authenticated:
        intent |= {
            "next_action": {
                "type": "redirect_to_url",
                "redirect_to_url": {
                    "return_url": None,
                    "url": f"{tx.store.public_url}/authenticate/{intent['id']}",
                },
            },
            "status": "requires_action",
        }
        _note_attempt(tx, ctx, intent, payment_method, "requires_action", None)
        journal.add("setup_intent.requires_action", intent)
        return None
    if authenticated:
        cards.remember_authentication(tx, ctx, payment_method)
    if intent["customer"] and payment_method["customer"] != intent["customer"]:
        cards.attach_quietly(tx, ctx, journal, payment_method, intent["customer"])
    intent["status"] = "succeeded"
    _note_attempt(tx, ctx, intent, payment_method, "succeeded", None)
    journal.add("setup_intent.succeeded", intent)
    return None


def fail_authentication(tx: Tx, ctx: Context, journal: Journal, intent: Object) -> None:
    """Note that the cardholder did not pass authentication: the intent waits for another card."""
    payment_method = tx.get(ctx, "payment_method", intent["payment_method"] or "")
    assert payment_method is not None
    error = CardError(
        "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
        code="setup_intent_authentication_failure",
    )
    error.type = "invalid_request_error"
    _fail(tx, ctx, journal, intent, payment_method, error)


def _fail(
    tx: Tx, ctx: Context, journal: Journal, intent: Object, payment_method: Object, error: CardError
) -> CardError:
    shown = {**error.body()["error"], "payment_method": copy.deepcopy(payment_method)}
    intent |= {
        "last_setup_error": shown,
        "next_action": None,
        "payment_method": None,
        "status": "requires_payment_method",
    }
    _note_attempt(tx, ctx, intent, payment_method, "failed", shown)
    journal.add("setup_intent.setup_failed", intent)
    error.extra["setup_intent"] = copy.deepcopy(intent)
    error.extra["payment_method"] = copy.deepcopy(payment_method)
    return error


def _note_attempt(
    tx: Tx, ctx: Context, intent: Object, payment_method: Object, status: str, error: Object | None
) -> None:
    """Keep how an attempt came out; one that waited for authentication is the same one when it ends."""
    waiting = tx.get(ctx, "setup_attempt", intent["latest_attempt"] or "")
    if waiting is not None and waiting["status"] == "requires_action" and status != "requires_action":
        tx.save(ctx, {**waiting, "status": status, "setup_error": error})
        tx.save(ctx, intent)
        return
    made = tx.insert(
        ctx,
        {
            "id": ids.new_id("setup_attempt"),
            "object": "setup_attempt",
            "application": None,
            "created": ctx.now,
            "customer": intent["customer"],
            "customer_account": None,
            "flow_directions": None,
            "livemode": ctx.livemode,
            "on_behalf_of": None,
            "payment_method": payment_method["id"],
            "payment_method_details": _details(payment_method),
            "setup_error": error,
            "setup_intent": intent["id"],
            "status": status,
            "usage": intent["usage"],
        },
    )
    intent["latest_attempt"] = made["id"]
    tx.save(ctx, intent)


def _details(payment_method: Object) -> Object:
    if payment_method["type"] != "card":
        return {payment_method["type"]: {}, "type": payment_method["type"]}
    card = payment_method["card"]
    shared = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    return {
        "card": {
            **{name: card[name] for name in shared},
            "network": card["brand"],
            "three_d_secure": None,
            "wallet": None,
        },
        "type": "card",
    }
