"""What a paid checkout session brings about: customer, subscription and invoice, or a one-time payment."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError
from ..events import Journal
from ..resources import customers
from ..store import Context, Tx
from . import (
    cards,
    checkout_details,
    clocks,
    discounts,
    invoicing,
    lines,
    payments,
    session_invoices,
    session_totals,
    subscribing,
    tax,
    trials,
)
from .periods import DAY_SECONDS, period_after

Object = dict[str, Any]

# The order in which these arrive from Stripe, as recorded; Stripe promises none.
SUBSCRIPTION_ORDER = (
    "setup_intent.created",
    "setup_intent.succeeded",
    "charge.succeeded",
    "payment_method.attached",
    "customer.created",
    "customer.tax_id.created",
    "checkout.session.completed",
    "customer.updated",
    "customer.subscription.created",
    "customer.subscription.trial_will_end",
    "payment_intent.succeeded",
    "payment_intent.created",
    "payment_intent.processing",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
)
PAYMENT_ORDER = (
    "charge.succeeded",
    "payment_method.attached",
    "customer.created",
    "customer.tax_id.created",
    "customer.updated",
    "payment_intent.succeeded",
    "payment_intent.created",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.payment_succeeded",
    "checkout.session.completed",
    "charge.updated",
    "invoice_payment.paid",
)


def amount_due(tx: Tx, ctx: Context, session: Object) -> int:
    """Work out what the card is charged: the total, less a subscriber's credit balance."""
    total = int(session["amount_total"])
    customer = tx.get(ctx, "customer", session["customer"] or "")
    if session["mode"] != "subscription" or customer is None:
        return total
    probe: Object = {"total": total, "currency": session["currency"]}
    invoicing.settle_amounts(probe, customer["balance"])
    return int(probe["amount_due"])


def customer_for(tx: Tx, ctx: Context, session: Object, private: Object) -> Object | None:
    """Give the session's customer, made now when the session calls for one; None for a guest."""
    if session["customer"]:
        known = tx.get(ctx, "customer", session["customer"])
        if known is None:
            raise StripeError("The customer of this Checkout Session has been deleted.")
        return known
    wanted = session["customer_creation"] == "always" or session_invoices.is_wanted(session)
    if session["mode"] != "subscription" and not wanted:
        return None
    details = private["details"]
    customer = customers.new_customer(tx, ctx, {"email": details["email"], "name": details["name"]})
    customer["address"] = details["address"]
    private["new_customer"] = True
    return tx.save(ctx, customer)


def complete(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    session: Object,
    private: Object,
    customer: Object | None,
    payment_method: Object | None,
    intent: Object | None,
    charge: Object | None,
) -> None:
    """Complete a session after its payment and record everything in Stripe's order."""
    announce_customer(journal, private, customer)
    subscribes = session["mode"] == "subscription"
    if subscribes:
        assert customer is not None
        if payment_method is not None:
            cards.attach_quietly(tx, ctx, journal, payment_method, customer["id"])
        _subscribe(tx, ctx, journal, session, private, customer, payment_method, intent)
    else:
        if customer and intent and payment_method and intent["setup_future_usage"]:
            cards.attach_quietly(tx, ctx, journal, payment_method, customer["id"])
        session["payment_intent"] = intent["id"] if intent else None
        redeemed = discounts.redeem(
            tx,
            ctx,
            journal,
            session_totals.sources_of(tx, ctx, session, private, customer),
            customer=customer["id"] if customer else None,
            checkout_session=session["id"],
        )
        if charge and charge["paid"]:
            payments.late_capture(tx, ctx, journal, charge)
        if customer:
            checkout_details.keep_now(tx, ctx, journal, private, customer)
        if customer and session_invoices.is_wanted(session):
            session_invoices.make(tx, ctx, journal, session, private, customer, intent, redeemed)
    # The session says "paid" also when nothing was due now; a deferred payment is told apart by its trial.
    finish(
        tx, ctx, journal, session, private, customer,
        payment_status=_payment_status(intent), order=SUBSCRIPTION_ORDER if subscribes else PAYMENT_ORDER,
    )  # fmt: skip


def announce_customer(journal: Journal, private: Object, customer: Object | None) -> None:
    """Tell of a customer that the session made; what else was typed is kept on it from here on."""
    if private.get("new_customer"):
        journal.add("customer.created", customer or {})


def close(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    session: Object,
    private: Object,
    customer: Object | None,
    *,
    payment_status: str,
    order: tuple[str, ...],
) -> None:
    """Complete a session in which nothing is bought."""
    announce_customer(journal, private, customer)
    if customer:
        checkout_details.keep_now(tx, ctx, journal, private, customer)
    finish(tx, ctx, journal, session, private, customer, payment_status=payment_status, order=order)


def finish(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    session: Object,
    private: Object,
    customer: Object | None,
    *,
    payment_status: str,
    order: tuple[str, ...],
) -> None:
    """Mark a session as complete with what was typed, and record everything in Stripe's order."""
    checkout_details.note_on(session, private, customer)
    session |= {
        "customer": customer["id"] if customer else None,
        "payment_status": payment_status,
        "status": "complete",
        "url": None,
    }
    tx.save(ctx, session)
    tx.save_private(ctx, "checkout.session", session["id"], {**private, "awaiting": None, "new_customer": False})
    tx.schedule(ctx, "checkout.session", session["id"], None)
    journal.add("checkout.session.completed", session)
    journal.release(tx, ctx, order)


def _subscribe(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    session: Object,
    private: Object,
    customer: Object,
    payment_method: Object | None,
    intent: Object | None,
) -> None:
    before = copy.deepcopy(customer)
    clocks.check_subscriptions(tx, ctx, customer["id"])
    recurring = [item for item in private["line_items"] if item["price"]["recurring"]]
    trial_days = private.get("trial_days")
    trial_end = ctx.now + trial_days * DAY_SECONDS if trial_days else None
    anchor = trial_end or ctx.now
    period = (ctx.now, trial_end) if trial_end else period_after(ctx.now, recurring[0]["price"]["recurring"], ctx.now)
    data = private.get("subscription_data") or {}
    subscription = subscribing.new_subscription(
        tx,
        ctx,
        customer=customer["id"],
        prices=[(item["price"], item["quantity"]) for item in recurring],
        period=period,
        anchor=anchor,
        status="trialing" if trial_end else "active",
        metadata=data.get("metadata"),
        description=data.get("description"),
        default_payment_method=payment_method["id"] if payment_method else None,
        trial_end=trial_end,
    )
    trials.set_settings(subscription, data.get("trial_settings"))
    customer["currency"] = customer["currency"] or subscription["currency"]
    checkout_details.keep(tx, ctx, journal, private, customer)
    subscription["discounts"] = discounts.redeem(
        tx,
        ctx,
        journal,
        session_totals.sources_of(tx, ctx, session, private, customer),
        customer=customer["id"],
        subscription=subscription["id"],
        checkout_session=session["id"],
    )
    if session["automatic_tax"]["enabled"]:
        tax.switch_on(subscription, customer)
    invoice = _first_invoice(tx, ctx, journal, private, customer, subscription, intent)
    subscription["latest_invoice"] = invoice["id"]
    subscribing.save(tx, ctx, subscription)
    session |= {"subscription": subscription["id"], "invoice": invoice["id"]}
    journal.add("customer.subscription.created", subscription)
    subscribing.give_trial_notice(tx, ctx, journal, subscription)
    journal.add_updated("customer.updated", before, customer, ignore=("next_invoice_sequence",))


def _first_invoice(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    private: Object,
    customer: Object,
    subscription: Object,
    intent: Object | None,
) -> Object:
    """Bill the first period, which is paid already or being paid."""
    period, trial = subscribing.period_of(subscription), subscription["status"] == "trialing"
    invoice_lines = [
        lines.recurring_line(tx, ctx, subscription, item, period, trial=trial) for item in subscription["items"]["data"]
    ]
    invoice_lines += _one_time_lines(tx, ctx, private, subscription)
    invoice = invoicing.new_invoice(
        tx,
        ctx,
        journal,
        customer=customer,
        currency=subscription["currency"],
        lines=invoice_lines,
        billing_reason="subscription_create",
        # Recorded: the first invoice's own period is the instant of creation.
        period=(ctx.now, ctx.now),
        subscription=subscription,
    )
    invoicing.finalize(tx, ctx, journal, invoice, customer)
    if intent:
        invoicing.link_payment(tx, ctx, invoice, intent)
    if intent and intent["status"] == "processing":
        # A debit is under way: the subscription runs, its invoice waits.
        invoice["attempted"] = True
        tx.save(ctx, invoice)
    else:
        invoicing.mark_paid(tx, ctx, journal, invoice, intent)
    return invoice


def _payment_status(intent: Object | None) -> str:
    if intent is None:
        return "no_payment_required"
    return "paid" if intent["status"] == "succeeded" else "unpaid"


def _one_time_lines(tx: Tx, ctx: Context, private: Object, subscription: Object) -> list[Object]:
    found = []
    for item in private["line_items"]:
        if item["price"]["recurring"]:
            continue
        price = item["price"]
        pending = lines.new_item(
            ctx,
            customer=subscription["customer"],
            amount=item["amount_subtotal"],
            currency=item["currency"],
            description=item["description"],
            period=(ctx.now, ctx.now),
            price=price,
            quantity=item["quantity"],
            subscription=subscription["id"],
            unit_amount_decimal=price["unit_amount_decimal"],
        )
        tx.insert(ctx, pending)
        found.append(lines.line_of_item(ctx, pending))
    return found
