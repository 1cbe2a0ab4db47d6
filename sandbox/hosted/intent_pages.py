"""The page behind next_action.redirect_to_url: the cardholder's bank, for payments that no checkout page started."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from .. import clock, timeline
from ..errors import missing
from ..resources import payment_intents, setup_intents
from ..store import Context, Object, Store, Tx


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the route of the bank's page."""

    @pages.get("/authenticate/<intent_id>")
    def show_intent(intent_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            _, intent = _find(tx, intent_id)
        if intent["status"] != "requires_action":
            return _message("Nothing to confirm", "No payment waits for your confirmation here.")
        return render_template("hosted/confirm_intent.html", intent=intent)

    @pages.post("/authenticate/<intent_id>")
    def answer_intent(intent_id: str) -> ResponseReturnValue:
        success = request.form.get("result") == "complete"
        with store.transaction() as tx:
            ctx, _ = _find(tx, intent_id)
            noun = setup_intents if intent_id.startswith("seti_") else payment_intents
            noun.authenticate(tx, ctx, intent_id, success=success)
        if success and intent_id.startswith("seti_"):
            return _message("Card saved", "Thank you. You can close this page.")
        if success:
            return _message("Payment confirmed", "Thank you. You can close this page.")
        return _message("Payment not confirmed", "The payment was not made. You can try again with another card.")


def _message(title: str, message: str) -> str:
    return render_template("hosted/message.html", title=title, message=message)


def _find(tx: Tx, intent_id: str) -> tuple[Context, Object]:
    noun = "setup_intent" if intent_id.startswith("seti_") else "payment_intent"
    owner = tx.owner_of(noun, intent_id)
    ctx = Context(owner[0], owner[1], clock.now(), key_kind="page") if owner else None
    intent = tx.get(ctx, noun, intent_id) if ctx else None
    if ctx is None or intent is None:
        raise missing(noun, intent_id)
    return timeline.at_time_of(tx, ctx, intent), intent
