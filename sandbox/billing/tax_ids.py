"""Tax ids: some kinds are verified with the authorities a moment after they are given, which a stub does here.

Which kinds are verified, and which values have an outcome of their own, is from memory.
Source: https://docs.stripe.com/billing/customer/tax-ids.
"""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..errors import StripeError, invalid
from ..events import Journal, changes, emit
from ..store import Context, Tx
from ..timeline import at_time_of

Object = dict[str, Any]

PER_CUSTOMER_MAX = 5
VALUE_CHARACTERS_MAX = 60
VERIFIED_KINDS = ("au_abn", "eu_vat", "gb_vat")
VERIFY_SECONDS = 3
# How values end that have an outcome of their own; any other is found in order.
OUTCOMES = {"000000000": "verified", "111111111": "unverified", "222222222": "pending"}
# Kinds whose value begins with the country.
OF_SEVERAL_COUNTRIES = ("eu_vat", "eu_oss_vat")


def checked_value(kind: str, value: str) -> str:
    """Give a value without blanks. Raises: StripeError 400 for what cannot be one."""
    compact = "".join(value.split())
    fits = 0 < len(compact) <= VALUE_CHARACTERS_MAX
    if kind in OF_SEVERAL_COUNTRIES:
        fits = fits and len(compact) >= 4 and compact[:2].isalpha()
    if not fits:
        raise invalid(f"Invalid value for {kind}.", "value", "tax_id_invalid")
    return compact


def new_tax_id(tx: Tx, ctx: Context, customer: Object, kind: str, value: str, journal: Journal | None = None) -> Object:
    """Add a tax id with its event, noted for later where there is a journal. Raises: StripeError 400 for what cannot be one."""
    value, ctx = checked_value(kind, value), at_time_of(tx, ctx, customer)
    country = value[:2].upper() if kind in OF_SEVERAL_COUNTRIES else kind.split("_")[0].upper()
    if len(tx.find_by(ctx, "tax_id", "customer", customer["id"])) >= PER_CUSTOMER_MAX:
        raise StripeError(f"You can only have {PER_CUSTOMER_MAX} tax IDs for a customer.")
    is_verified = kind in VERIFIED_KINDS
    tax_id: Object = {
        "id": ids.new_id("tax_id"),
        "object": "tax_id",
        "country": country,
        "created": ctx.now,
        "customer": customer["id"],
        "customer_account": None,
        "livemode": ctx.livemode,
        "owner": {"customer": customer["id"], "customer_account": None, "type": "customer"},
        "type": kind,
        "value": value,
        "verification": {
            "status": "pending" if is_verified else "unavailable",
            "verified_address": None,
            "verified_name": None,
        },
    }
    tx.insert(ctx, tax_id)
    if journal is None:
        emit(tx, ctx, "customer.tax_id.created", tax_id)
    else:
        journal.add("customer.tax_id.created", tax_id)
    if is_verified:
        tx.schedule(ctx, "tax_id", tax_id["id"], ctx.now + VERIFY_SECONDS)
    return tax_id


def decide(tx: Tx, ctx: Context, tax_id: Object) -> None:
    """Let the authorities answer as the value has it."""
    settle(tx, ctx, tax_id, OUTCOMES.get(tax_id["value"][-9:], "verified"))


def settle(tx: Tx, ctx: Context, tax_id: Object, outcome: str) -> Object:
    """Set what the authorities answered (verified, unverified, pending), with the event when that is new."""
    tx.schedule(ctx, "tax_id", tax_id["id"], None)
    before = copy.deepcopy(tax_id)
    customer = tx.get(ctx, "customer", tax_id["customer"]) or {}
    name = customer.get("name") if outcome == "verified" else None
    tax_id["verification"] |= {"status": outcome, "verified_name": name}
    tx.save(ctx, tax_id)
    if changes(before, tax_id):
        emit(tx, ctx, "customer.tax_id.updated", tax_id, changes(before, tax_id))
    return tax_id
