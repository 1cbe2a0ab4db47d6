"""The customer's balance (below zero: credit) and the transactions that write down its changes."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..store import Context, Tx

Object = dict[str, Any]


def record(
    tx: Tx, ctx: Context, customer: Object, *, amount: int, currency: str, kind: str, invoice: str | None
) -> Object:
    """Write down a change of the customer's balance; the customer has the new balance already."""
    return tx.insert(
        ctx,
        {
            "id": ids.new_id("customer_balance_transaction"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "checkout_session": None,
            "created": ctx.now,
            "credit_note": None,
            "currency": currency,
            "customer": customer["id"],
            "customer_account": None,
            "description": None,
            "ending_balance": customer["balance"],
            "invoice": invoice,
            "livemode": ctx.livemode,
            "metadata": {},
            "type": kind,
        },
    )


def give_back(tx: Tx, ctx: Context, invoice: Object) -> None:
    """Put back what an invoice took from the customer's balance."""
    customer = tx.get(ctx, "customer", invoice["customer"])
    taken = (invoice["ending_balance"] or 0) - (invoice["starting_balance"] or 0)
    if customer is None or not taken:
        return
    customer["balance"] -= taken
    tx.save(ctx, customer)
    record(
        tx,
        ctx,
        customer,
        amount=-taken,
        currency=invoice["currency"],
        kind="unapplied_from_invoice",
        invoice=invoice["id"],
    )
