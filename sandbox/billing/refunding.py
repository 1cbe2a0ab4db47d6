"""Refunds: at once, pending for a while, or failing later, as the card has it. A failed one gives the money back."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..errors import StripeError, invalid
from ..events import Journal
from ..fields import money
from ..resources import balance
from ..store import Context, Tx
from . import cards, disputes

Object = dict[str, Any]

# Stripe gives no figure for its test cards; a minute is enough to see both states.
SETTLE_SECONDS = 60


def refund(
    tx: Tx,
    ctx: Context,
    journal: Journal,
    charge: Object,
    amount: int | None,
    *,
    reason: str | None = None,
    metadata: Object | None = None,
) -> Object:
    """Refund a charge, wholly without an amount. Raises: StripeError 400 (nothing left, too much, charged back)."""
    left = charge["amount"] - charge["amount_refunded"]
    if not charge["paid"]:
        raise StripeError(f"Charge {charge['id']} has not been paid and cannot be refunded.")
    disputes.refuse_refund(tx, ctx, charge)
    if charge["refunded"]:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = left if amount is None else amount
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        raise invalid(
            f"Refund amount ({money(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({money(left, charge['currency'])})",
            "amount",
        )
    later = _later(tx, ctx, charge)
    made = _new_refund(tx, ctx, charge, amount, reason, metadata or {}, pending=later == "refund_pending")
    if later in ("refund_pending", "refund_fails"):
        tx.schedule(ctx, "refund", made["id"], ctx.now + SETTLE_SECONDS)
    before: Object = {"amount_refunded": charge["amount_refunded"]}
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    if charge["refunded"]:
        before["refunded"] = False
    tx.save(ctx, charge)
    journal.add("refund.created", made)
    journal.add("charge.refunded", charge, before)
    if charge["refunded"]:
        disputes.stop_warning(tx, ctx, journal, charge["id"])
    return made


def _later(tx: Tx, ctx: Context, charge: Object) -> str | None:
    payment_method = tx.get(ctx, "payment_method", charge["payment_method"] or "", deleted=True)
    return cards.card_of(tx, ctx, payment_method).later if payment_method else None


def _new_refund(
    tx: Tx, ctx: Context, charge: Object, amount: int, reason: str | None, metadata: Object, *, pending: bool
) -> Object:
    refund_id = ids.new_id("refund")
    entry = balance.record(tx, ctx, "refund", -amount, charge["currency"], refund_id, description="REFUND FOR CHARGE")
    made: Object = {
        "id": refund_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": entry["id"],
        "charge": charge["id"],
        "created": ctx.now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if pending else "succeeded",
        "transfer_reversal": None,
    }
    if pending:
        made["pending_reason"] = "processing"
    return tx.insert(ctx, made)


def settle(tx: Tx, ctx: Context, refund_id: str, *, failed: bool | None = None) -> Object:
    """Bring a refund to its end; without being told, to the one that its card is for. Raises: StripeError 400.

    A guess: a failure lowers the charge's amount_refunded again, and the money comes back by a balance transaction.
    """
    made = tx.get(ctx, "refund", refund_id)
    charge = tx.get(ctx, "charge", made["charge"]) if made else None
    if made is None or charge is None:
        raise StripeError(f"No such refund: '{refund_id}'", http_status=404, code="resource_missing", param="id")
    tx.schedule(ctx, "refund", refund_id, None)
    if failed is None:
        failed = _later(tx, ctx, charge) == "refund_fails"
    if made["status"] in ("failed", "canceled") or (made["status"] == "succeeded" and not failed):
        raise StripeError(f"This refund is {made['status']}; nothing more happens to it.")
    journal = Journal()
    before: Object = {"status": made["status"]}
    if "pending_reason" in made:
        before["pending_reason"] = made.pop("pending_reason")
    made["status"] = "failed" if failed else "succeeded"
    if failed:
        _give_back(tx, ctx, journal, made, charge)
    tx.save(ctx, made)
    journal.add("refund.updated", made, before)
    journal.add("charge.refund.updated", made, before)
    if failed:
        journal.add("refund.failed", made, before)
    journal.release(tx, ctx)
    return made


def _give_back(tx: Tx, ctx: Context, journal: Journal, made: Object, charge: Object) -> None:
    entry = balance.record(
        tx,
        ctx,
        "refund_failure",
        made["amount"],
        made["currency"],
        made["id"],
        description="REFUND FAILURE",
        category="refund_failure",
    )
    made |= {"failure_balance_transaction": entry["id"], "failure_reason": "expired_or_canceled_card"}
    before = {"amount_refunded": charge["amount_refunded"], "refunded": charge["refunded"]}
    charge |= {"amount_refunded": charge["amount_refunded"] - made["amount"], "refunded": False}
    tx.save(ctx, charge)
    journal.add("charge.updated", charge, {key: value for key, value in before.items() if value != charge[key]})


def settle_by_card(tx: Tx, ctx: Context, made: Object) -> None:
    """Let time bring a refund to its end."""
    settle(tx, ctx, made["id"])
