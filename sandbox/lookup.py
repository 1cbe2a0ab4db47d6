"""Finds objects by id for one account and mode, and refuses other ids the way Stripe does."""

from __future__ import annotations

from typing import Any

from .errors import StripeError, missing
from .store import Context, Tx

Object = dict[str, Any]

# How Stripe's "No such ...: 'id'" names a type, and the parameter it blames, where that is not the type's own name.
NOUNS = {
    "payment_method": "PaymentMethod",
    "billing_portal.configuration": "configuration",
    "billing_portal.session": "session",
    "webhook_endpoint": "webhook endpoint",
    "test_helpers.test_clock": "test_clock",
    "balance_transaction": "balance transaction",
}
BLAMED = {"payment_intent": "intent"}


def no_such(tx: Tx, ctx: Context, object_type: str, object_id: str, param: str, http_status: int) -> StripeError:
    """Make resource_missing, with Stripe's hint when the other mode has an object of that id."""
    hint = ""
    row = tx.execute(
        "SELECT 1 FROM objects WHERE account = ? AND livemode = ? AND type = ? AND id = ?",
        (ctx.account_id, int(not ctx.livemode), object_type, object_id),
    ).fetchone()
    if row:
        other, used = ("test", "live") if ctx.livemode else ("live", "test")
        hint = f"; a similar object exists in {other} mode, but a {used} mode key was used to make this request."
    return missing(NOUNS.get(object_type, object_type), object_id, param, http_status=http_status, hint=hint)


def retrieve(tx: Tx, ctx: Context, object_type: str, object_id: str) -> Object:
    """Read the object that a URL names. Raises: StripeError 404 resource_missing."""
    obj = tx.get(ctx, object_type, object_id)
    if obj is None:
        raise no_such(tx, ctx, object_type, object_id, BLAMED.get(object_type, "id"), 404)
    return obj


def referred(tx: Tx, ctx: Context, object_type: str, object_id: str, param: str) -> Object:
    """Read the object that a parameter names. Raises: StripeError 400 resource_missing."""
    obj = tx.get(ctx, object_type, object_id)
    if obj is None:
        raise no_such(tx, ctx, object_type, object_id, param, 400)
    return obj
