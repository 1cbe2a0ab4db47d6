"""The portal's form for the quantity of a plan, where the configuration allows it."""

from __future__ import annotations

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from ..billing import portal, portal_quantity
from ..errors import StripeError, invalid
from ..store import Store
from .portal_pages import done, refused

DIGITS_MAX = 6


def add_routes(pages: Blueprint, store: Store) -> None:
    """Add the route of the quantity form."""

    @pages.post("/p/session/<session_id>/subscriptions/<subscription_id>/quantity")
    def change_quantity(session_id: str, subscription_id: str) -> ResponseReturnValue:
        typed = request.form.get("quantity", "").strip()
        try:
            if not typed.isascii() or not typed.isdigit() or len(typed) > DIGITS_MAX or int(typed) < 1:
                raise invalid("Enter a whole number, 1 or more.", "quantity")
            portal_quantity.change(store, session_id, subscription_id, int(typed))
        except StripeError as error:
            return refused(store, session_id, error)
        return done(session_id, portal.portal_view(store, session_id), "updated")
