"""Updates that wait for their payment (pending_if_incomplete): kept aside, applied when paid, dropped after 23 hours."""

from __future__ import annotations

import copy
from typing import Any

from ..events import Journal
from ..store import Context, Tx
from . import invoicing, subscribing

Object = dict[str, Any]

PENDING_SECONDS = 23 * 3600
# What an update of items, of the cycle or of a trial changes, and what waits until it is paid.
WAITING = ("items", "billing_cycle_anchor", "trial_end", "trial_start", "status")


def hold_back(tx: Tx, ctx: Context, before: Object, subscription: Object, debited: Object, invoice_id: str) -> None:
    """Take an unpaid change back and keep it as the subscription's pending update."""
    private = tx.private(ctx, "subscription", subscription["id"])
    wanted = {name: copy.deepcopy(subscription[name]) for name in WAITING}
    private["pending"] = {"invoice": invoice_id, "wanted": wanted, "debited": private.get("debited", {})}
    private["debited"] = debited
    tx.save_private(ctx, "subscription", subscription["id"], private)
    moved = wanted["billing_cycle_anchor"] != before["billing_cycle_anchor"]
    ended = wanted["trial_end"] != before["trial_end"]
    subscription |= {name: copy.deepcopy(before[name]) for name in WAITING}
    subscription["pending_update"] = {
        "billing_cycle_anchor": wanted["billing_cycle_anchor"] if moved else None,
        "discount": None,
        "discounts": None,
        "expires_at": ctx.now + PENDING_SECONDS,
        "metadata": None,
        "subscription_items": wanted["items"]["data"],
        "trial_end": wanted["trial_end"] if ended else None,
        "trial_from_plan": None,
    }


def waits_for(tx: Tx, ctx: Context, subscription: Object, invoice: Object) -> bool:
    """Tell whether an invoice is the one that a pending update waits for."""
    kept = tx.private(ctx, "subscription", subscription["id"]).get("pending") or {}
    return bool(subscription["pending_update"] and kept.get("invoice") == invoice["id"])


def apply(tx: Tx, ctx: Context, journal: Journal, subscription: Object) -> None:
    """Make a pending update real: its invoice has been paid."""
    before = copy.deepcopy(subscription)
    private = tx.private(ctx, "subscription", subscription["id"])
    kept = private.pop("pending")
    private["debited"] = kept["debited"]
    tx.save_private(ctx, "subscription", subscription["id"], private)
    subscription |= kept["wanted"]
    subscription["pending_update"] = None
    subscribing.save(tx, ctx, subscription)
    journal.add("customer.subscription.pending_update_applied", subscription)
    if before["status"] == "paused":
        journal.add("customer.subscription.resumed", subscription, {"status": "paused"})
    journal.add_updated("customer.subscription.updated", before, subscription)


def drop(tx: Tx, ctx: Context, journal: Journal, subscription: Object) -> None:
    """Forget a pending update and void its invoice; a paused subscription stays paused."""
    private = tx.private(ctx, "subscription", subscription["id"])
    kept = private.pop("pending", None) or {}
    tx.save_private(ctx, "subscription", subscription["id"], private)
    subscription["pending_update"] = None
    invoice = tx.get(ctx, "invoice", kept.get("invoice") or "")
    if invoice and invoice["status"] == "open":
        invoicing.void(tx, ctx, journal, invoice)


def expire(tx: Tx, ctx: Context, subscription: Object) -> None:
    """Give up on an update whose payment never came, with its events."""
    before = copy.deepcopy(subscription)
    journal = Journal()
    drop(tx, ctx, journal, subscription)
    subscribing.save(tx, ctx, subscription)
    journal.add("customer.subscription.pending_update_expired", subscription)
    journal.add_updated("customer.subscription.updated", before, subscription)
    journal.release(tx, ctx, ("customer.subscription.pending_update_expired", "customer.subscription.updated"))
