"""Invoices: made as drafts, finalized (numbered, customer balance applied), then paid, failed or voided.

Source of the amounts: a total below zero or below the smallest charge moves to the customer's balance.
"""

from __future__ import annotations

from typing import Any

from .. import ids
from ..accounts import account_name
from ..errors import CardError, StripeError
from ..events import Journal
from ..fields import filled, smallest_charge
from ..store import Context, Tx
from . import cards, credit, discounts, invoice_totals, payments, preferences
from .payments import Attempt

Object = dict[str, Any]

DRAFT_SECONDS = 3600


def new_invoice(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    *,
    customer: Object,
    currency: str,
    lines: list[Object],
    billing_reason: str,
    period: tuple[int, int],
    subscription: Object | None = None,
    auto_advance: bool = True,
    metadata: Object | None = None,
    automatic_tax: bool = False,
    discounts_wanted: list[Object] | None = None,
    discount_ids: list[str] | None = None,
) -> Object:
    """Add a draft invoice over the given lines, with its event. Its discounts are those of the subscription, or `discount_ids`."""
    invoice = draft(
        tx,
        ctx,
        customer=customer,
        currency=currency,
        lines=lines,
        billing_reason=billing_reason,
        period=period,
        subscription=subscription,
        automatic_tax=automatic_tax,
    )
    invoice |= {"auto_advance": auto_advance, "metadata": metadata or {}}
    if discount_ids:
        invoice_totals.total_up(tx, ctx, invoice, customer, discount_ids)
    tx.insert(ctx, invoice)
    for item_id in _item_ids(lines):
        item = tx.get(ctx, "invoiceitem", item_id)
        if item is not None:
            tx.save(ctx, {**item, "invoice": invoice["id"]})
    if discounts_wanted:
        invoice_totals.discount(tx, ctx, journal, invoice, customer, discounts_wanted)
    journal.add("invoice.created", invoice)
    if subscription is not None:
        discounts.end_those_over(tx, ctx, journal, subscription, invoice)
        invoice_totals.note_debits(tx, ctx, subscription, invoice)
    return invoice


def pending_items(tx: Tx, ctx: Context, subscription: Object) -> list[Object]:
    """Find what waits for the next invoice of a subscription, oldest first."""
    found = tx.find_by(ctx, "invoiceitem", "customer", subscription["customer"])
    return [item for item in found if item["invoice"] is None and _belongs(item, subscription)]


def _belongs(item: Object, subscription: Object) -> bool:
    details = (item["parent"] or {}).get("subscription_details")
    if details is None:
        return bool(item["currency"] == subscription["currency"])
    return bool(details["subscription"] == subscription["id"])


def _item_ids(lines: list[Object]) -> list[str]:
    found = []
    for line in lines:
        parent = line["parent"] or {}
        details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
        if details.get("invoice_item"):
            found.append(details["invoice_item"])
    return found


# What every invoice of this sandbox has in common.
BLANK: Object = {
    "object": "invoice",
    "account_country": "US",
    "account_tax_ids": None,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": True,
    "automatic_tax": {
        "disabled_reason": None,
        "enabled": False,
        "liability": None,
        "provider": None,
        "status": None,
    },
    "collection_method": "charge_automatically",
    "custom_fields": None,
    "customer_account": None,
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "metadata": {},
    "number": None,
    "on_behalf_of": None,
    "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {
        "finalized_at": None,
        "marked_uncollectible_at": None,
        "paid_at": None,
        "voided_at": None,
    },
    "test_clock": None,
    "total_discount_amounts": [],
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
}


def draft(
    tx: Tx,
    ctx: Context,
    *,
    customer: Object,
    currency: str,
    lines: list[Object],
    billing_reason: str,
    period: tuple[int, int],
    subscription: Object | None = None,
    automatic_tax: bool = False,
) -> Object:
    """Make a draft's object without storing it (previews are that and nothing more)."""
    invoice_id = ids.new_id("invoice")
    for line in lines:
        line["invoice"] = invoice_id
    invoice = filled(
        BLANK,
        id=invoice_id,
        account_name=account_name(tx, ctx.account_id),
        amount_due=0,
        amount_remaining=0,
        automatically_finalizes_at=ctx.now + DRAFT_SECONDS + 1,
        billing_reason=billing_reason,
        created=ctx.now,
        currency=currency,
        customer=customer["id"],
        customer_address=customer["address"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=customer["phone"],
        customer_shipping=customer["shipping"],
        customer_tax_exempt=customer["tax_exempt"],
        customer_tax_ids=_tax_ids(tx, ctx, customer),
        lines={
            "object": "list",
            "data": lines,
            "has_more": False,
            "total_count": len(lines),
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        livemode=ctx.livemode,
        next_payment_attempt=ctx.now + DRAFT_SECONDS,
        parent=_parent(subscription),
        period_end=period[1],
        period_start=period[0],
        starting_balance=customer["balance"],
        test_clock=customer["test_clock"],
        subtotal=0,
        subtotal_excluding_tax=0,
        total=0,
        total_excluding_tax=0,
        webhooks_delivered_at=ctx.now,
    )
    if automatic_tax or (subscription is not None and subscription["automatic_tax"]["enabled"]):
        invoice["automatic_tax"] |= invoice_totals.TAXED
    invoice_totals.total_up(tx, ctx, invoice, customer, list(subscription["discounts"]) if subscription else [])
    return invoice


def _tax_ids(tx: Tx, ctx: Context, customer: Object) -> list[Object]:
    found = tx.find_by(ctx, "tax_id", "customer", customer["id"])
    return [{"type": tax_id["type"], "value": tax_id["value"]} for tax_id in found]


def _parent(subscription: Object | None) -> Object | None:
    if subscription is None:
        return None
    return {
        "quote_details": None,
        "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
        "type": "subscription_details",
    }


def settle_amounts(invoice: Object, balance: int) -> None:
    """Work out what is due from the total and the customer's balance (below zero: credit)."""
    owed = invoice["total"] + balance
    due = owed if owed >= smallest_charge(invoice["currency"]) else 0
    invoice |= {
        "starting_balance": balance,
        "ending_balance": owed - due,
        "amount_due": due,
        "amount_remaining": due,
    }


def finalize(
    tx: Tx, ctx: Context, journal: Journal, invoice: Object, customer: Object, *, use_balance: bool = True
) -> Object:
    """Number an invoice and apply the customer's balance, with its event; nothing is charged yet."""
    settle_amounts(invoice, customer["balance"])
    if not use_balance:
        invoice["ending_balance"] = customer["balance"]
    change = invoice["ending_balance"] - customer["balance"]
    number = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
    customer |= {"next_invoice_sequence": customer["next_invoice_sequence"] + 1, "balance": invoice["ending_balance"]}
    tx.save(ctx, customer)
    if change:
        credit.record(
            tx,
            ctx,
            customer,
            amount=change,
            currency=invoice["currency"],
            kind="applied_to_invoice",
            invoice=invoice["id"],
        )
    invoice |= {
        "automatically_finalizes_at": None,
        "effective_at": ctx.now,
        "hosted_invoice_url": f"{tx.store.public_url}/i/{invoice['id']}",
        "invoice_pdf": f"{tx.store.public_url}/i/{invoice['id']}/pdf",
        "next_payment_attempt": None,
        "number": number,
        "status": "open",
    }
    invoice["status_transitions"]["finalized_at"] = ctx.now
    tx.save(ctx, invoice)
    journal.add("invoice.finalized", invoice)
    return invoice


def mark_paid(
    tx: Tx, ctx: Context, journal: Journal, invoice: Object, intent: Object | None, *, retry: bool = False
) -> Object:
    """Mark an open invoice as paid, with its events."""
    # attempt_count counts charges: a scheduled retry adds to it, an invoice that needed none keeps zero.
    if intent is not None and (invoice["attempt_count"] == 0 or retry):
        invoice["attempt_count"] += 1
    _close_as_paid(tx, ctx, journal, invoice)
    journal.add("invoice.payment_succeeded", invoice)
    if intent is not None:
        _pay_invoice_payment(tx, ctx, journal, invoice, intent)
    return invoice


def _close_as_paid(tx: Tx, ctx: Context, journal: Journal, invoice: Object) -> None:
    invoice |= {
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
    }
    invoice["status_transitions"]["paid_at"] = ctx.now
    tx.save(ctx, invoice)
    journal.add("invoice.paid", invoice)


def mark_paid_outside(tx: Tx, ctx: Context, journal: Journal, invoice: Object) -> None:
    """Mark an open invoice as paid without Stripe, with its events: no payment succeeded, and its intent is not needed any more."""
    _close_as_paid(tx, ctx, journal, invoice)
    _cancel_intent(tx, ctx, journal, invoice, None)
    for payment in tx.find_by(ctx, "invoice_payment", "invoice", invoice["id"]):
        if payment["status"] == "open":
            payment["status"] = "canceled"
            payment["status_transitions"]["canceled_at"] = ctx.now
            tx.save(ctx, payment)


def link_payment(tx: Tx, ctx: Context, invoice: Object, intent: Object) -> Object:
    """Add the invoice_payment that ties an intent to its invoice (an intent has no invoice field)."""
    return tx.insert(
        ctx,
        {
            "id": ids.new_id("invoice_payment"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "created": ctx.now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": ctx.livemode,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
    )


def payment_of(tx: Tx, ctx: Context, intent_id: str) -> Object | None:
    """Find the invoice_payment of an intent."""
    found = tx.find_by(ctx, "invoice_payment", "payment.payment_intent", intent_id)
    return found[-1] if found else None


def intent_of(tx: Tx, ctx: Context, invoice: Object) -> Object | None:
    """Find the intent with which an invoice is being paid."""
    found = tx.find_by(ctx, "invoice_payment", "invoice", invoice["id"])
    return tx.get(ctx, "payment_intent", found[-1]["payment"]["payment_intent"]) if found else None


def _pay_invoice_payment(tx: Tx, ctx: Context, journal: Journal, invoice: Object, intent: Object) -> None:
    payment = payment_of(tx, ctx, intent["id"]) or link_payment(tx, ctx, invoice, intent)
    payment |= {"amount_paid": invoice["amount_due"], "status": "paid"}
    payment["status_transitions"]["paid_at"] = ctx.now
    tx.save(ctx, payment)
    # Stripe sends this one to twenty seconds later; here it follows at once, as the last.
    journal.add("invoice_payment.paid", payment)


def collect(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    invoice: Object,
    payment_method: Object | None,
    *,
    description: str | None = None,
    off_session: bool = False,
    forced: str | None = None,
    retry: bool = False,
) -> Attempt | None:
    """Charge an open invoice; None when nothing was due and it is paid for that reason.

    A failure leaves the invoice open and is noted; what it means for a subscription is the caller's affair. `retry`
    says that the schedule, not a person, tries again: only then does attempt_count go beyond one.
    """
    if invoice["amount_due"] == 0:
        mark_paid(tx, ctx, journal, invoice, None)
        return None
    intent = intent_of(tx, ctx, invoice)
    if intent is None:
        intent = payments.new_intent(
            tx,
            ctx,
            amount=invoice["amount_due"],
            currency=invoice["currency"],
            customer=invoice["customer"],
            description=description,
            setup_future_usage=None if off_session else "off_session",
        )
        journal.add("payment_intent.created", intent)
        link_payment(tx, ctx, invoice, intent)
    if payment_method is None:
        note_failure(tx, ctx, journal, invoice, off_session=off_session)
        return Attempt("declined", intent, None, _no_payment_method())
    # Recorded: also a renewal asks for authentication instead of declining for the lack of it.
    result = payments.attempt(tx, ctx, journal, intent, payment_method, forced=forced)
    if result.kind == "paid":
        mark_paid(tx, ctx, journal, invoice, result.intent, retry=retry)
    elif result.kind == "declined":
        note_failure(tx, ctx, journal, invoice, off_session=off_session)
    elif result.kind == "processing":
        invoice["attempted"] = True
        tx.save(ctx, invoice)
    else:
        # Authentication that is asked for is no attempt: attempt_count stays, attempted becomes true.
        invoice["attempted"] = True
        tx.save(ctx, invoice)
        journal.add("invoice.payment_action_required", invoice)
    return result


def await_payment(
    tx: Tx, ctx: Context, journal: Journal, invoice: Object, payment_method: Object | None, description: str
) -> Object:
    """Give an open invoice an intent that its customer confirms (default_incomplete); nothing is charged."""
    intent = payments.new_intent(
        tx,
        ctx,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=description,
        setup_future_usage="off_session",
    )
    if payment_method:
        intent |= {"payment_method": payment_method["id"], "status": "requires_confirmation"}
        tx.save(ctx, intent)
    journal.add("payment_intent.created", intent)
    link_payment(tx, ctx, invoice, intent)
    return intent


def _no_payment_method() -> CardError:
    return CardError("Cannot charge a customer that has no active card", code="missing")


def note_failure(tx: Tx, ctx: Context, journal: Journal, invoice: Object, *, off_session: bool) -> None:
    """Note that an open invoice was not paid; `off_session` plans the next try."""
    before = {"attempt_count": invoice["attempt_count"], "attempted": invoice["attempted"]}
    if invoice["attempt_count"] == 0 or off_session:
        invoice["attempt_count"] += 1
    invoice["attempted"] = True
    if off_session:
        before["next_payment_attempt"] = invoice["next_payment_attempt"]
        retry_at = preferences.for_context(tx, ctx).retry_at(ctx.now, invoice["attempt_count"])
        invoice["next_payment_attempt"] = retry_at
        tx.schedule(ctx, "invoice", invoice["id"], retry_at)
    tx.save(ctx, invoice)
    journal.add("invoice.payment_failed", invoice)
    if off_session:
        journal.add("invoice.updated", invoice, before)


def void(tx: Tx, ctx: Context, journal: Journal, invoice: Object) -> Object:
    """Void an open invoice, with its event, and cancel its intent. Raises: StripeError 400."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(f"You can only pass in open invoices. This invoice isn't open: it is {invoice['status']}.")
    _cancel_intent(tx, ctx, journal, invoice, "void_invoice")
    credit.give_back(tx, ctx, invoice)
    invoice |= {"status": "void", "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"]["voided_at"] = ctx.now
    tx.save(ctx, invoice)
    journal.add("invoice.voided", invoice)
    return invoice


def _cancel_intent(tx: Tx, ctx: Context, journal: Journal, invoice: Object, reason: str | None) -> None:
    intent = intent_of(tx, ctx, invoice)
    if intent and intent["status"] not in ("succeeded", "canceled"):
        intent |= {"status": "canceled", "canceled_at": ctx.now, "cancellation_reason": reason}
        tx.save(ctx, intent)
        journal.add("payment_intent.canceled", intent)


def payment_method_for(tx: Tx, ctx: Context, invoice: Object, subscription: Object | None) -> Object | None:
    """Find what an invoice would be charged to: what it names itself, else the subscription's or the customer's default."""
    named = invoice.get("default_payment_method")
    if named and (found := tx.get(ctx, "payment_method", named)) is not None:
        return found
    customer = tx.get(ctx, "customer", invoice["customer"])
    return cards.default_of(tx, ctx, customer, subscription) if customer else None
