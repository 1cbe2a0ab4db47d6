"""The page behind next_action.redirect_to_url: the cardholder's bank, for payments that were started through the API."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from markupsafe import escape

from . import clock
from .errors import StripeError, missing
from .fields import money
from .resources import payment_intents
from .store import Context, Object, Store, Tx

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Authentication</title></head><body><main>
<h1>Confirm this payment</h1><p>{text}</p>{form}</main></body></html>"""
FORM = """<form method="post"><button name="result" value="complete">Complete authentication</button>
<button name="result" value="fail">Fail authentication</button></form>"""


def blueprint(store: Store) -> Blueprint:
    """Make the page's routes."""
    pages = Blueprint("intent_page", __name__)

    @pages.errorhandler(StripeError)
    def refused(error: StripeError) -> ResponseReturnValue:
        return PAGE.format(text=escape(error.message), form=""), error.http_status

    @pages.get("/authenticate/<intent_id>")
    def show(intent_id: str) -> ResponseReturnValue:
        with store.read() as tx:
            _, intent = _find(tx, intent_id)
        if intent["status"] != "requires_action":
            return PAGE.format(text="Nothing waits for your confirmation.", form="")
        amount = money(intent["amount"], intent["currency"])
        return PAGE.format(text=f"Your bank asks you to confirm a payment of {escape(amount)}.", form=FORM)

    @pages.post("/authenticate/<intent_id>")
    def answer(intent_id: str) -> ResponseReturnValue:
        with store.transaction() as tx:
            ctx, _ = _find(tx, intent_id)
            payment_intents.authenticate(tx, ctx, intent_id, success=request.form.get("result") == "complete")
        return PAGE.format(text="Thank you. You can close this page.", form="")

    return pages


def _find(tx: Tx, intent_id: str) -> tuple[Context, Object]:
    owner = tx.owner_of("payment_intent", intent_id)
    ctx = Context(owner[0], owner[1], clock.now(), key_kind="page") if owner else None
    intent = tx.get(ctx, "payment_intent", intent_id) if ctx else None
    if ctx is None or intent is None:
        raise missing("payment_intent", intent_id)
    return ctx, intent
