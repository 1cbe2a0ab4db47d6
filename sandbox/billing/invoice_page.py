"""What the hosted invoice page does: take a card for an open invoice.

That the card is kept for the subscription afterwards is a guess about the real page.
"""

from __future__ import annotations

import copy
from typing import Any

from .. import clock, timeline
from ..errors import CardError, StripeError, missing
from ..events import changes, emit
from ..store import Context, Store, Tx
from . import cards, invoicing, settlement
from .checkout import Outcome

Object = dict[str, Any]


def open_invoice(tx: Tx, invoice_id: str) -> tuple[Context, Object]:
    """Read an invoice that has been sent out. Raises: StripeError 404; a draft has no page, as at Stripe."""
    owner = tx.owner_of("invoice", invoice_id)
    ctx = Context(account_id=owner[0], livemode=owner[1], now=clock.now(), key_kind="page") if owner else None
    invoice = tx.get(ctx, "invoice", invoice_id) if ctx else None
    if ctx is None or invoice is None or invoice["status"] == "draft":
        raise missing("invoice", invoice_id)
    return timeline.at_time_of(tx, ctx, invoice), invoice


def waiting_intent(tx: Tx, ctx: Context, invoice: Object) -> Object | None:
    """Find the payment of an open invoice that waits for its cardholder's confirmation."""
    intent = invoicing.intent_of(tx, ctx, invoice) if invoice["status"] == "open" else None
    return intent if intent and intent["status"] == "requires_action" else None


def pay_with_card(
    store: Store, invoice_id: str, card_number: str, exp_month: int, exp_year: int, cvc: str, name: str
) -> Outcome:
    """Try a card on an open invoice. A declined one leaves the failed attempt behind, as everywhere.

    Raises: StripeError 404 (unknown, draft), 400 (no longer open).
    """
    with store.transaction() as tx:
        ctx, invoice = open_invoice(tx, invoice_id)
        if invoice["status"] != "open":
            raise StripeError(f"This invoice can no longer be paid: it is {invoice['status']}.")
        try:
            card = cards.by_number(card_number)
            cards.check_expiry(ctx, exp_month, exp_year, cvc)
            payment_method = cards.new_payment_method(
                tx, ctx, card, exp_month=exp_month, exp_year=exp_year, billing_details={"name": name or None}
            )
            if card.attaches:
                cards.attach(tx, ctx, payment_method["id"], invoice["customer"])
            settlement.pay_invoice(tx, ctx, invoice, payment_method["id"])
        except CardError as error:
            if waiting_intent(tx, ctx, invoice):
                return Outcome("requires_action", error.message)
            return Outcome("declined", error.message, error.code, error.decline_code)
        _keep_for_subscription(tx, ctx, invoice, payment_method["id"])
        return Outcome("paid")


def _keep_for_subscription(tx: Tx, ctx: Context, invoice: Object, payment_method_id: str) -> None:
    subscription = settlement.subscription_of(tx, ctx, invoice)
    if subscription is None or subscription["status"] in ("canceled", "incomplete_expired"):
        return
    before = copy.deepcopy(subscription)
    subscription["default_payment_method"] = payment_method_id
    tx.save(ctx, subscription)
    emit(tx, ctx, "customer.subscription.updated", subscription, changes(before, subscription))
