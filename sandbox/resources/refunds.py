"""Refunds: part or all of a charge. Neither subscription nor invoice changes by it."""

from __future__ import annotations

import copy
from typing import Any

from ..billing import refunding
from ..errors import StripeError, invalid
from ..events import Journal, changes, emit
from ..fields import merged_metadata, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/refunds. Raises: StripeError 400 (already refunded, more than is left, charged back, not paid)."""
    supported(params, {"amount", "charge", "metadata", "payment_intent", "reason"})
    charge = _charge(tx, ctx, params)
    journal = Journal()
    refund = refunding.refund(
        tx,
        ctx,
        journal,
        charge,
        params.get("amount"),
        reason=params.get("reason"),
        metadata=merged_metadata({}, params.get("metadata")),
    )
    journal.release(tx, ctx)
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
