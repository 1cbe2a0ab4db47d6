"""What customers change about themselves in the portal, as far as its configuration lets them."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError
from ..events import changes, emit
from ..lookup import retrieve as find_one
from ..resources.customers import address_of
from ..store import Store
from . import portal, tax_ids

Object = dict[str, Any]

# What the form of this sandbox's portal has.
FIELDS = ("email", "name", "phone", "address", "tax_id")
OF_THE_CUSTOMER = FIELDS[:-1]


def allowed(features: Object) -> list[str]:
    """Give the fields that a configuration opens."""
    settings = features["customer_update"]
    return [name for name in FIELDS if settings["enabled"] and name in settings["allowed_updates"]]


def current(store: Store, portal_session_id: str) -> Object:
    """Give what is known of the session's customer. Raises: StripeError 404."""
    with store.read() as tx:
        ctx, session = portal.open_session(tx, portal_session_id)
        customer = find_one(tx, ctx, "customer", session["customer"])
        kept = tx.find_by(ctx, "tax_id", "customer", customer["id"])
        return {
            **{name: customer[name] for name in OF_THE_CUSTOMER},
            "tax_ids": [tax_id["value"] for tax_id in kept],
        }


def change(store: Store, portal_session_id: str, wanted: Object) -> None:
    """Write the allowed fields to the customer, and add a tax id (type, value), with their events.

    Raises: StripeError 400, 404.
    """
    with store.transaction() as tx:
        ctx, session = portal.open_session(tx, portal_session_id)
        configuration = find_one(tx, ctx, "billing_portal.configuration", session["configuration"])
        fields = allowed(configuration["features"])
        if not fields:
            raise StripeError("Your details cannot be changed here.")
        customer = find_one(tx, ctx, "customer", session["customer"])
        before = copy.deepcopy(customer)
        if "tax_id" in fields and wanted.get("tax_id"):
            tax_ids.new_tax_id(tx, ctx, customer, wanted["tax_id"]["type"], wanted["tax_id"]["value"])
        for name in OF_THE_CUSTOMER:
            if name in fields and name in wanted:
                customer[name] = address_of(wanted[name]) if name == "address" else wanted[name] or None
        previous = changes(before, customer)
        if previous:
            tx.save(ctx, customer)
            emit(tx, ctx, "customer.updated", customer, previous)
