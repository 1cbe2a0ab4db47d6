"""What customers change about themselves in the portal, as far as its configuration lets them."""

from __future__ import annotations

import copy
from typing import Any

from ..errors import StripeError
from ..events import changes, emit
from ..lookup import retrieve as find_one
from ..resources.customers import address_of
from ..store import Store
from . import portal

Object = dict[str, Any]

# What the form of this sandbox's portal has; shipping and tax ids are left out.
FIELDS = ("email", "name", "phone", "address")


def allowed(features: Object) -> list[str]:
    """Give the fields that a configuration opens."""
    settings = features["customer_update"]
    return [name for name in FIELDS if settings["enabled"] and name in settings["allowed_updates"]]


def current(store: Store, portal_session_id: str) -> Object:
    """Give what is known of the session's customer. Raises: StripeError 404."""
    with store.read() as tx:
        ctx, session = portal.open_session(tx, portal_session_id)
        customer = find_one(tx, ctx, "customer", session["customer"])
        return {name: customer[name] for name in FIELDS}


def change(store: Store, portal_session_id: str, wanted: Object) -> None:
    """Write the allowed fields to the customer, with its event. Raises: StripeError 400, 404."""
    with store.transaction() as tx:
        ctx, session = portal.open_session(tx, portal_session_id)
        configuration = find_one(tx, ctx, "billing_portal.configuration", session["configuration"])
        fields = allowed(configuration["features"])
        if not fields:
            raise StripeError("Your details cannot be changed here.")
        customer = find_one(tx, ctx, "customer", session["customer"])
        before = copy.deepcopy(customer)
        for name in fields:
            if name in wanted:
                customer[name] = address_of(wanted[name]) if name == "address" else wanted[name] or None
        previous = changes(before, customer)
        if previous:
            tx.save(ctx, customer)
            emit(tx, ctx, "customer.updated", customer, previous)
