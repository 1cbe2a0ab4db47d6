"""Payment methods: cards only, by test number, token or pm_card_* name."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from ..billing import bank_debits, cards
from ..errors import StripeError, not_simulated, requires
from ..events import changes, emit, emit_updated
from ..fields import merged_metadata, required, supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import address_of, existing

Object = dict[str, Any]


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/payment_methods."""
    supported(params, {"billing_details", "card", "metadata", "sepa_debit", "type"})
    if required(params, "type") == "sepa_debit":
        details = {**(params.get("billing_details") or {})}
        details["address"] = address_of(details.get("address"))
        return bank_debits.new_payment_method(
            tx,
            ctx,
            (params.get("sepa_debit") or {}).get("iban", ""),
            billing_details=details,
            metadata=merged_metadata({}, params.get("metadata")),
        )
    if params["type"] != "card":
        raise not_simulated("type")
    wanted = params.get("card") or {}
    month, year = 12, 2034
    if wanted.get("token"):
        card = cards.named(wanted["token"])
        if card is None:
            raise StripeError(f"No such token: '{wanted['token']}'", code="resource_missing", param="card[token]")
    else:
        if not wanted.get("number"):
            raise requires("card[number]")
        month, year = wanted.get("exp_month", 0), wanted.get("exp_year", 0)
        card = cards.by_number(wanted["number"])
        cards.check_expiry(ctx, month, year, wanted.get("cvc"))
    details = dict(params.get("billing_details") or {})
    details["address"] = address_of(details.get("address"))
    return cards.new_payment_method(
        tx,
        ctx,
        card,
        exp_month=month,
        exp_year=year,
        billing_details=details,
        metadata=merged_metadata({}, params.get("metadata")),
    )


def attach(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/payment_methods/{id}/attach. Raises: CardError 402 for cards that decline."""
    customer = existing(tx, ctx, required(params, "customer"))
    return cards.attach(tx, ctx, id, customer["id"])


def detach(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/payment_methods/{id}/detach."""
    found = find_one(tx, ctx, "payment_method", id)
    customer_id = found["customer"]
    if not customer_id:
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    found["customer"] = None
    tx.save(ctx, found)
    emit(tx, ctx, "payment_method.detached", found, {"customer": customer_id})
    customer = tx.get(ctx, "customer", customer_id)
    if customer and customer["invoice_settings"]["default_payment_method"] == id:
        customer["invoice_settings"]["default_payment_method"] = None
        tx.save(ctx, customer)
        emit(tx, ctx, "customer.updated", customer, {"invoice_settings": {"default_payment_method": id}})
    for subscription in tx.find_by(ctx, "subscription", "default_payment_method", id):
        tx.save(ctx, {**subscription, "default_payment_method": None})
    return found


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/payment_methods/{id}: metadata, billing details, expiry and allow_redisplay."""
    supported(params, {"allow_redisplay", "billing_details", "card", "metadata"})
    supported(params.get("card") or {}, {"exp_month", "exp_year"}, "card")
    found = find_one(tx, ctx, "payment_method", id)
    if not found["customer"]:
        raise StripeError("You must save this PaymentMethod to a customer before you can update it.")
    before = copy.deepcopy(found)
    if "metadata" in params:
        found["metadata"] = merged_metadata(found["metadata"], params["metadata"])
    if "allow_redisplay" in params:
        found["allow_redisplay"] = params["allow_redisplay"]
    if params.get("card") and found["type"] != "card":
        raise StripeError("This PaymentMethod is not a card.", param="card")
    if params.get("card"):
        found["card"] |= params["card"]
        cards.check_expiry(ctx, found["card"]["exp_month"], found["card"]["exp_year"], None)
    for name, value in (params.get("billing_details") or {}).items():
        found["billing_details"][name] = address_of(value) if name == "address" else value or None
    tx.save(ctx, found)
    previous = changes(before, found)
    if previous:
        emit(tx, ctx, "payment_method.updated", found, previous)
    return found


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/payment_methods/{id}."""
    return find_one(tx, ctx, "payment_method", id)


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/payment_methods: of a customer."""
    supported(params, {"customer", "limit", "starting_after", "ending_before", "type"})
    # Without a customer Stripe lists the account's unattached ones; nothing here needs that.
    existing(tx, ctx, required(params, "customer"))
    equal = {"customer": params["customer"], "type": params.get("type")}
    return page(tx, ctx, "payment_method", params, "/v1/payment_methods", equal)


def expire(tx: Tx, ctx: Context, payment_method: Object) -> Object:
    """Let a card's last month have passed: it stays attached and declines from now on. The bank tells nobody."""
    year, month = divmod(int(ctx.now / 2629746) - 1, 12)
    payment_method["card"] |= {"exp_year": 1970 + year, "exp_month": month + 1}
    return tx.save(ctx, payment_method)


def expire_soon(tx: Tx, ctx: Context, payment_method: Object) -> Object:
    """Make the present month a card's last one, with its event. Raises: StripeError 400 for what is no card."""
    if payment_method["type"] != "card":
        raise StripeError("This PaymentMethod is not a card.")
    before = copy.deepcopy(payment_method)
    today = datetime.fromtimestamp(ctx.now, UTC)
    payment_method["card"] |= {"exp_year": today.year, "exp_month": today.month}
    tx.save(ctx, payment_method)
    emit_updated(tx, ctx, "payment_method.updated", before, payment_method)
    return payment_method


def renew(tx: Tx, ctx: Context, payment_method: Object) -> Object:
    """Let the card's network bring the new expiry date of a card that was replaced, with its event."""
    before = copy.deepcopy(payment_method)
    payment_method["card"]["exp_year"] = 1970 + int(ctx.now / 31556952) + 4
    tx.save(ctx, payment_method)
    emit(tx, ctx, "payment_method.automatically_updated", payment_method, changes(before, payment_method))
    return payment_method


ROUTES = [
    ("POST", "/v1/payment_methods", create),
    ("GET", "/v1/payment_methods", list_all),
    ("GET", "/v1/payment_methods/{id}", retrieve),
    ("POST", "/v1/payment_methods/{id}", update),
    ("POST", "/v1/payment_methods/{id}/attach", attach),
    ("POST", "/v1/payment_methods/{id}/detach", detach),
]
