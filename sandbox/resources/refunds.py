"""Refunds: part or all of a charge, succeeded at once. Neither subscription nor invoice changes by it."""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..errors import StripeError, invalid
from ..events import changes, emit
from ..fields import merged_metadata, money, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from . import balance

Object = dict[str, Any]

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/refunds. Raises: StripeError 400 (already refunded, more than is left, charge not paid)."""
    supported(params, {"amount", "charge", "metadata", "payment_intent", "reason"})
    charge = _charge(tx, ctx, params)
    left = charge["amount"] - charge["amount_refunded"]
    if not charge["paid"]:
        raise StripeError(f"Charge {charge['id']} has not been paid and cannot be refunded.")
    if charge["refunded"]:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = params.get("amount", left)
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > left:
        raise invalid(
            f"Refund amount ({money(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({money(left, charge['currency'])})",
            "amount",
        )
    refund = _new_refund(tx, ctx, charge, amount, params)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    tx.save(ctx, charge)
    emit(tx, ctx, "refund.created", refund)
    previous: Object = {"amount_refunded": charge["amount_refunded"] - amount}
    if charge["refunded"]:
        previous["refunded"] = False
    emit(tx, ctx, "charge.refunded", charge, previous)
    return refund


def _charge(tx: Tx, ctx: Context, params: Object) -> Object:
    if bool(params.get("charge")) == bool(params.get("payment_intent")):
        raise invalid("One of the following params should be provided for this request: payment_intent or charge.")
    if params.get("charge"):
        return referred(tx, ctx, "charge", params["charge"], "charge")
    intent = referred(tx, ctx, "payment_intent", params["payment_intent"], "payment_intent")
    charge = tx.get(ctx, "charge", intent["latest_charge"] or "")
    if charge is None or not charge["paid"]:
        raise StripeError(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            code="payment_intent_unexpected_state",
        )
    return charge


def _new_refund(tx: Tx, ctx: Context, charge: Object, amount: int, params: Object) -> Object:
    refund_id = ids.new_id("refund")
    entry = balance.record(tx, ctx, "refund", -amount, charge["currency"], refund_id, description="REFUND FOR CHARGE")
    return tx.insert(
        ctx,
        {
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
            "metadata": merged_metadata({}, params.get("metadata")),
            "payment_intent": charge["payment_intent"],
            "payment_method": charge["payment_method"],
            "reason": params.get("reason"),
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/refunds/{id}."""
    return find_one(tx, ctx, "refund", id)


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/refunds/{id}: metadata only."""
    supported(params, {"metadata"})
    refund = find_one(tx, ctx, "refund", id)
    before = copy.deepcopy(refund)
    refund["metadata"] = merged_metadata(refund["metadata"], params.get("metadata"))
    tx.save(ctx, refund)
    previous = changes(before, refund)
    if previous:
        emit(tx, ctx, "refund.updated", refund, previous)
    return refund


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/refunds."""
    supported(params, {"charge", "created", "limit", "starting_after", "ending_before", "payment_intent"})
    equal = {name: params.get(name) for name in ("charge", "payment_intent")}
    return page(tx, ctx, "refund", params, "/v1/refunds", equal)


ROUTES = [
    ("POST", "/v1/refunds", create),
    ("GET", "/v1/refunds", list_all),
    ("GET", "/v1/refunds/{id}", retrieve),
    ("POST", "/v1/refunds/{id}", update),
]
