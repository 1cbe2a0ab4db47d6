"""Small facts about checkout sessions that the API and the page share."""

from __future__ import annotations

import re
from typing import Any

from ..events import emit
from ..store import Context, Tx
from . import recovering

Object = dict[str, Any]

SESSION_ID_TEMPLATE = re.compile(r"(?:\{|%7B)CHECKOUT_SESSION_ID(?:\}|%7D)", re.IGNORECASE)


def with_id(url: str | None, session_id: str) -> str | None:
    """Fill in the template that success and cancel URLs may carry, also when the caller's library has encoded it."""
    return SESSION_ID_TEMPLATE.sub(session_id, url) if url else None


def known_email(tx: Tx, ctx: Context, session: Object) -> str | None:
    """Give the address that the page shows and does not let anyone change."""
    if session["customer"]:
        customer = tx.get(ctx, "customer", session["customer"])
        return customer["email"] if customer else None
    email: str | None = session["customer_email"]
    return email


def expire(tx: Tx, ctx: Context, session: Object) -> Object:
    """Expire an open session, with its event; its setup and a payment that waits for authentication are canceled."""
    private = tx.private(ctx, "checkout.session", session["id"])
    intent = tx.get(ctx, "payment_intent", private.get("intent") or "")
    session |= {"status": "expired", "url": None}
    recovering.offer(tx, ctx, session)
    tx.save(ctx, session)
    tx.schedule(ctx, "checkout.session", session["id"], None)
    emit(tx, ctx, "checkout.session.expired", session)
    setup = tx.get(ctx, "setup_intent", session["setup_intent"] or "")
    if setup and setup["status"] not in ("succeeded", "canceled"):
        setup |= {"status": "canceled", "next_action": None}
        tx.save(ctx, setup)
        emit(tx, ctx, "setup_intent.canceled", setup)
    if intent and intent["status"] not in ("succeeded", "canceled"):
        intent |= {
            "status": "canceled",
            "canceled_at": ctx.now,
            "cancellation_reason": "automatic",
            "next_action": None,
        }
        tx.save(ctx, intent)
        emit(tx, ctx, "payment_intent.canceled", intent)
    return session
