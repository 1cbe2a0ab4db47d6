"""The setup intent that a subscription offers when nothing is charged and no usable payment method is known yet.

A guess in part: that it is there for trials and paused subscriptions is documented or recorded, when else is not.
Source: https://docs.stripe.com/api/subscriptions/object (pending_setup_intent).
"""

from __future__ import annotations

import copy
from typing import Any

from ..events import Journal
from ..store import Context, Tx
from . import cards, setups, subscribing

Object = dict[str, Any]


def offer(tx: Tx, ctx: Context, journal: Journal, subscription: Object, payment_method: Object | None) -> None:
    """Give a subscription a setup intent where its next charge would have nothing to go to; the caller saves it."""
    if payment_method is not None and not _asks(tx, ctx, payment_method):
        return
    intent = setups.new_intent(tx, ctx, journal, customer=subscription["customer"])
    tx.save_private(ctx, "setup_intent", intent["id"], {"subscription": subscription["id"]})
    if payment_method is not None:
        setups.attempt(tx, ctx, journal, intent, payment_method)
    subscription["pending_setup_intent"] = intent["id"]


def _asks(tx: Tx, ctx: Context, payment_method: Object) -> bool:
    known = cards.is_authenticated(tx, ctx, payment_method)
    return not known and cards.card_of(tx, ctx, payment_method).behaviour.startswith("authenticate")


def settle(tx: Tx, ctx: Context, journal: Journal, intent: Object) -> None:
    """Note on the subscription that offered it that a setup intent has succeeded."""
    owner = tx.private(ctx, "setup_intent", intent["id"]).get("subscription")
    subscription = tx.get(ctx, "subscription", owner or "")
    if intent["status"] != "succeeded" or subscription is None or subscription["pending_setup_intent"] != intent["id"]:
        return
    before = copy.deepcopy(subscription)
    subscription["pending_setup_intent"] = None
    if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        subscription["default_payment_method"] = intent["payment_method"]
    subscribing.save(tx, ctx, subscription)
    journal.add_updated("customer.subscription.updated", before, subscription)
