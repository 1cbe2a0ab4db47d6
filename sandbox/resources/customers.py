"""Customers. A deleted one answers as a three-key stub, and its subscriptions end at once."""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..billing import cancellation, cards, clocks, credit
from ..errors import invalid
from ..events import changes, emit
from ..fields import apply_simple, merged_metadata, supported
from ..lookup import no_such, referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from ..timeline import CLOCK

Object = dict[str, Any]

SIMPLE = ("description", "email", "name", "phone", "shipping")
WRITABLE = {
    *SIMPLE, "address", "balance", "invoice_prefix", "invoice_settings", "metadata", "next_invoice_sequence",
    "preferred_locales", "tax_exempt",
}  # fmt: skip
ADDRESS_FIELDS = ("city", "country", "line1", "line2", "postal_code", "state")


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/customers."""
    supported(params, {*WRITABLE, "payment_method", "test_clock"})
    if params.get("test_clock"):
        referred(tx, ctx, CLOCK, params["test_clock"], "test_clock")
        clocks.check_room(tx, ctx)
    customer = new_customer(tx, ctx, params)
    if params.get("payment_method"):
        cards.attach(tx, ctx, params["payment_method"], customer["id"], "payment_method")
    _apply(tx, ctx, customer, params)
    tx.save(ctx, customer)
    emit(tx, ctx, "customer.created", customer)
    return customer


def new_customer(tx: Tx, ctx: Context, params: Object) -> Object:
    """Add a customer without its event."""
    return tx.insert(
        ctx,
        {
            "id": ids.new_id("customer"),
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": ctx.now,
            "currency": None,
            "customer_account": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": params.get("email") or None,
            "invoice_prefix": ids.random_text(8).upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": ctx.livemode,
            "metadata": {},
            "name": params.get("name") or None,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
    )


def address_of(wanted: Any) -> Object | None:
    """Complete an address with nulls; null when nothing was given."""
    if not wanted:
        return None
    return {name: wanted.get(name) or None for name in ADDRESS_FIELDS}


def _apply(tx: Tx, ctx: Context, customer: Object, params: Object) -> None:
    apply_simple(customer, params, SIMPLE)
    if params.get("balance") is not None and params["balance"] != customer["balance"]:
        change = params["balance"] - customer["balance"]
        customer["balance"] = params["balance"]
        record_adjustment(tx, ctx, customer, change, customer["currency"] or "usd")
    for name in ("invoice_prefix", "next_invoice_sequence", "tax_exempt"):
        if params.get(name) not in (None, ""):
            customer[name] = params[name]
    if "preferred_locales" in params:
        customer["preferred_locales"] = params["preferred_locales"] or []
    if "address" in params:
        customer["address"] = address_of(params["address"])
    if "metadata" in params:
        customer["metadata"] = merged_metadata(customer["metadata"], params["metadata"])
    if customer["email"] is not None and "@" not in customer["email"]:
        raise invalid(f"Invalid email address: {customer['email']}", "email", "email_invalid")
    settings = params.get("invoice_settings")
    if settings:
        supported(settings, {"default_payment_method", "footer", "custom_fields"}, "invoice_settings")
        apply_simple(customer["invoice_settings"], settings, ("footer", "custom_fields"))
        if "default_payment_method" in settings:
            wanted = settings["default_payment_method"]
            param = "invoice_settings[default_payment_method]"
            customer["invoice_settings"]["default_payment_method"] = (
                cards.attached(tx, ctx, wanted, customer["id"], param)["id"] if wanted else None
            )


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/customers/{id}."""
    supported(params, WRITABLE)
    customer = find_one(tx, ctx, "customer", id)
    before = copy.deepcopy(customer)
    _apply(tx, ctx, customer, params)
    tx.save(ctx, customer)
    previous = changes(before, customer)
    if previous:
        emit(tx, ctx, "customer.updated", customer, previous)
    return customer


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/customers/{id}: also deleted ones, as a stub."""
    customer = tx.get(ctx, "customer", id)
    if customer is not None:
        return customer
    if tx.get(ctx, "customer", id, deleted=True) is not None:
        return {"id": id, "object": "customer", "deleted": True}
    raise no_such(tx, ctx, "customer", id, "id", 404)


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/customers/{id}: ends its subscriptions; the event carries the whole old object."""
    customer = find_one(tx, ctx, "customer", id)
    for subscription in tx.find_by(ctx, "subscription", "customer", id):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            cancellation.end_now(tx, ctx, subscription)
    tx.mark_deleted(ctx, "customer", id)
    emit(tx, ctx, "customer.deleted", customer)
    return {"id": id, "object": "customer", "deleted": True}


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/customers."""
    supported(params, {"created", "email", "limit", "starting_after", "ending_before", "test_clock"})
    equal = {"email": params.get("email"), "test_clock": params.get("test_clock")}
    return page(tx, ctx, "customer", params, "/v1/customers", equal)


def list_payment_methods(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/customers/{id}/payment_methods."""
    find_one(tx, ctx, "customer", id)
    equal = {"customer": id, "type": params.get("type")}
    return page(tx, ctx, "payment_method", params, f"/v1/customers/{id}/payment_methods", equal)


def retrieve_payment_method(tx: Tx, ctx: Context, params: Object, customerId: str, id: str) -> Object:
    """GET /v1/customers/{customer}/payment_methods/{id}."""
    find_one(tx, ctx, "customer", customerId)
    found = tx.get(ctx, "payment_method", id)
    if found is None or found["customer"] != customerId:
        raise no_such(tx, ctx, "payment_method", id, "payment_method", 404)
    return found


def list_balance_transactions(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/customers/{id}/balance_transactions."""
    find_one(tx, ctx, "customer", id)
    url = f"/v1/customers/{id}/balance_transactions"
    return page(tx, ctx, "customer_balance_transaction", params, url, {"customer": id})


def create_balance_transaction(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/customers/{id}/balance_transactions: below zero is credit for the customer."""
    supported(params, {"amount", "currency", "description", "metadata"})
    customer = find_one(tx, ctx, "customer", id)
    currency = str(params["currency"]).lower()
    if customer["currency"] not in (None, currency):
        raise invalid(
            f"The currency of this transaction ({currency}) must match the customer's currency "
            f"({customer['currency']}).",
            "currency",
        )
    before = copy.deepcopy(customer)
    customer |= {"balance": customer["balance"] + params["amount"], "currency": currency}
    entry = record_adjustment(tx, ctx, customer, params["amount"], currency)
    entry |= {
        "description": params.get("description") or None,
        "metadata": merged_metadata({}, params.get("metadata")),
    }
    tx.save(ctx, entry)
    tx.save(ctx, customer)
    emit(tx, ctx, "customer.updated", customer, changes(before, customer))
    return entry


def record_adjustment(tx: Tx, ctx: Context, customer: Object, amount: int, currency: str) -> Object:
    """Write down a change of the balance that no invoice made; the customer has the new balance already."""
    return credit.record(tx, ctx, customer, amount=amount, currency=currency, kind="adjustment", invoice=None)


def retrieve_balance_transaction(tx: Tx, ctx: Context, params: Object, customerId: str, id: str) -> Object:
    """GET /v1/customers/{customer}/balance_transactions/{id}."""
    entry = find_one(tx, ctx, "customer_balance_transaction", id)
    if entry["customer"] != customerId:
        raise no_such(tx, ctx, "customer_balance_transaction", id, "id", 404)
    return entry


def update_balance_transaction(tx: Tx, ctx: Context, params: Object, customerId: str, id: str) -> Object:
    """POST /v1/customers/{customer}/balance_transactions/{id}: description and metadata."""
    supported(params, {"description", "metadata"})
    entry = retrieve_balance_transaction(tx, ctx, params, customerId, id)
    apply_simple(entry, params, ("description",))
    if "metadata" in params:
        entry["metadata"] = merged_metadata(entry["metadata"], params["metadata"])
    return tx.save(ctx, entry)


def existing(tx: Tx, ctx: Context, customer_id: str, param: str = "customer") -> Object:
    """Read the customer that a parameter names. Raises: StripeError 400 resource_missing, also for deleted ones."""
    return referred(tx, ctx, "customer", customer_id, param)


ROUTES = [
    ("POST", "/v1/customers", create),
    ("GET", "/v1/customers", list_all),
    ("GET", "/v1/customers/{id}", retrieve),
    ("POST", "/v1/customers/{id}", update),
    ("DELETE", "/v1/customers/{id}", delete),
    ("GET", "/v1/customers/{id}/payment_methods", list_payment_methods),
    ("GET", "/v1/customers/{customerId}/payment_methods/{id}", retrieve_payment_method),
    ("GET", "/v1/customers/{id}/balance_transactions", list_balance_transactions),
    ("POST", "/v1/customers/{id}/balance_transactions", create_balance_transaction),
    ("GET", "/v1/customers/{customerId}/balance_transactions/{id}", retrieve_balance_transaction),
    ("POST", "/v1/customers/{customerId}/balance_transactions/{id}", update_balance_transaction),
]
