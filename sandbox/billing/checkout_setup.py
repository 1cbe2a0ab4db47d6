"""Checkout in `setup` mode: a card is saved for later, nothing is bought."""

from __future__ import annotations

from typing import Any

from ..errors import CardError
from ..events import Journal
from ..store import Context, Tx
from . import checkout_completion, setups

Object = dict[str, Any]

# A guess: no recording shows it.
ORDER = (
    "setup_intent.requires_action",
    "setup_intent.setup_failed",
    "setup_intent.succeeded",
    "payment_method.attached",
    "customer.created",
    "customer.tax_id.created",
    "customer.updated",
    "checkout.session.completed",
)


def new_intent(tx: Tx, ctx: Context, session: Object, data: Object) -> Object:
    """Add the setup intent that a session has from its beginning, with its event."""
    journal = Journal()
    intent = setups.new_intent(
        tx,
        ctx,
        journal,
        customer=session["customer"],
        description=data.get("description"),
        metadata=data.get("metadata") or {},
    )
    tx.save_private(ctx, "setup_intent", intent["id"], {"checkout_session": session["id"]})
    journal.release(tx, ctx)
    return intent


def attempt(
    tx: Tx, ctx: Context, session: Object, private: Object, payment_method: Object, *, authenticated: bool
) -> Object | CardError:
    """Save a card for a session and complete it. Gives the intent, which may ask for authentication, or the refusal."""
    journal = Journal()
    intent = tx.get(ctx, "setup_intent", session["setup_intent"])
    assert intent is not None
    probe = dict(intent)
    customer = None
    if setups.would_succeed(tx, ctx, payment_method, authenticated=authenticated):
        customer = checkout_completion.customer_for(tx, ctx, session, private)
        probe["customer"] = customer["id"] if customer else None
    error = setups.attempt(tx, ctx, journal, probe, payment_method, authenticated=authenticated)
    if error is None and probe["status"] == "succeeded":
        checkout_completion.close(
            tx, ctx, journal, session, private, customer, payment_status="no_payment_required", order=ORDER
        )
        return probe
    journal.release(tx, ctx, ORDER)
    return error or probe


def fail_authentication(tx: Tx, ctx: Context, session: Object) -> None:
    """Note that the cardholder did not pass authentication; the session stays open for another card."""
    journal = Journal()
    intent = tx.get(ctx, "setup_intent", session["setup_intent"])
    assert intent is not None
    setups.fail_authentication(tx, ctx, journal, intent)
    journal.release(tx, ctx)
