"""What time does to an invoice: the draft is finalized after an hour and charged; a failed charge is tried again."""

from __future__ import annotations

import copy
from typing import Any

from ..events import Journal
from ..store import Context, Tx
from . import cancellation, finalization, invoicing, preferences, settlement, subscribing
from .payments import Attempt

Object = dict[str, Any]

PAID_ORDER = (
    "invoice.created",
    "invoice.finalized",
    "charge.succeeded",
    "payment_intent.succeeded",
    "payment_intent.created",
    "invoice.paid",
    # A recovery; the turn of the period itself is told before everything else.
    "customer.subscription.updated",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
)
FAILED_ORDER = (
    "invoice.created",
    "invoice.finalized",
    "charge.failed",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.updated",
)
# Declines after which the schedule goes on but the network is not asked again with the same card.
# Source: https://docs.stripe.com/billing/revenue-recovery/smart-retries
HARD_DECLINES = (
    "incorrect_number", "lost_card", "pickup_card", "stolen_card", "revocation_of_authorization",
    "revocation_of_all_authorizations", "authentication_required", "highest_risk_level", "transaction_not_allowed",
)  # fmt: skip


def plan(tx: Tx, ctx: Context, invoice: Object) -> None:
    """Say when time will next change an invoice."""
    tx.schedule(ctx, "invoice", invoice["id"], next_moment(invoice))


def next_moment(invoice: Object) -> int | None:
    """Tell when time will next change an invoice; None for never."""
    field = {"draft": "automatically_finalizes_at", "open": "next_payment_attempt"}.get(invoice["status"])
    at: int | None = invoice[field] if field and invoice["auto_advance"] else None
    return at


def advance(tx: Tx, ctx: Context, invoice: Object) -> None:
    """Do what is due on an invoice, if anything still is."""
    at = next_moment(invoice)
    if at is not None and at <= ctx.now:
        step = _finalize if invoice["status"] == "draft" else _retry
        step(tx, ctx, invoice)
    plan(tx, ctx, tx.get(ctx, "invoice", invoice["id"]) or invoice)


def _finalize(tx: Tx, ctx: Context, invoice: Object) -> None:
    customer = tx.get(ctx, "customer", invoice["customer"])
    if customer is None:
        invoice["auto_advance"] = False
        tx.save(ctx, invoice)
        return
    journal = Journal()
    if finalization.obstacle(invoice, customer):
        finalization.fail(tx, ctx, journal, invoice)
        journal.release(tx, ctx)
        return
    subscription = settlement.subscription_of(tx, ctx, invoice)
    pause = (subscription or {}).get("pause_collection")
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    if pause and invoice["billing_reason"] == "subscription_cycle":
        set_aside(tx, ctx, journal, invoice, pause["behavior"])
        journal.release(tx, ctx, PAID_ORDER)
        return
    _charge(tx, ctx, journal, invoice, subscription)


def _charge(
    tx: Tx, ctx: Context, journal: Journal, invoice: Object, subscription: Object | None, *, retry: bool = False
) -> None:
    payment_method = invoicing.payment_method_for(tx, ctx, invoice, subscription)
    result = invoicing.collect(
        tx,
        ctx,
        journal,
        invoice,
        payment_method,
        description="Subscription update" if subscription else None,
        off_session=True,
        retry=retry,
    )
    settle(tx, ctx, journal, invoice, subscription, result)


def settle(
    tx: Tx, ctx: Context, journal: Journal, invoice: Object, subscription: Object | None, result: Attempt | None
) -> None:
    """Bring a collection's outcome home to the subscription, and record everything in Stripe's order."""
    paid = result is None or result.accepted
    if paid and invoice["status"] == "paid":
        settlement.after_payment(tx, ctx, journal, invoice)
    elif not paid and subscription is not None:
        settlement.after_failure(tx, ctx, journal, subscription)
    journal.release(tx, ctx, PAID_ORDER if paid else FAILED_ORDER)
    if not paid and result is not None and result.kind == "declined" and invoice["next_payment_attempt"] is None:
        _give_up(tx, ctx, invoice)


def set_aside(tx: Tx, ctx: Context, journal: Journal, invoice: Object, behavior: str) -> None:
    """Void an invoice or give it up, as a paused collection has it."""
    if behavior == "void":
        invoicing.void(tx, ctx, journal, invoice)
    elif behavior == "mark_uncollectible":
        invoice["status"] = "uncollectible"
        invoice["status_transitions"]["marked_uncollectible_at"] = ctx.now
        tx.save(ctx, invoice)
        journal.add("invoice.marked_uncollectible", invoice)


def _retry(tx: Tx, ctx: Context, invoice: Object) -> None:
    subscription = settlement.subscription_of(tx, ctx, invoice)
    if not _is_hopeless(tx, ctx, invoice, subscription):
        _charge(tx, ctx, Journal(), invoice, subscription, retry=True)
        return
    before = copy.deepcopy(invoice)
    invoice["attempt_count"] += 1
    invoice["next_payment_attempt"] = preferences.for_context(tx, ctx).retry_at(ctx.now, invoice["attempt_count"])
    tx.save(ctx, invoice)
    journal = Journal()
    journal.add_updated("invoice.updated", before, invoice)
    journal.release(tx, ctx)
    if invoice["next_payment_attempt"] is None:
        _give_up(tx, ctx, invoice)


def _is_hopeless(tx: Tx, ctx: Context, invoice: Object, subscription: Object | None) -> bool:
    """Tell whether the card that would be charged has been refused for good."""
    intent = invoicing.intent_of(tx, ctx, invoice)
    error = (intent or {}).get("last_payment_error") or {}
    if HARD_DECLINES.count(error.get("decline_code")) == 0:
        return False
    payment_method = invoicing.payment_method_for(tx, ctx, invoice, subscription)
    return payment_method is not None and payment_method["id"] == (error.get("payment_method") or {}).get("id")


def _give_up(tx: Tx, ctx: Context, invoice: Object) -> None:
    """Do what the account's owner wants done after the last failed attempt; the invoice stays open."""
    subscription = settlement.subscription_of(tx, ctx, invoice)
    if subscription is None or subscription["status"] != "past_due":
        return
    wanted = preferences.for_context(tx, ctx).after_retries
    if wanted == "cancel":
        cancellation.end_now(tx, ctx, subscription, reason="payment_failed")
    elif wanted == "unpaid":
        before = copy.deepcopy(subscription)
        subscription["status"] = "unpaid"
        subscribing.save(tx, ctx, subscription)
        journal = Journal()
        journal.add_updated("customer.subscription.updated", before, subscription)
        journal.release(tx, ctx)
