"""How many of a plan customers take: changed in the portal, where its configuration lets them."""

from __future__ import annotations

from typing import Any

from ..errors import StripeError
from ..store import Store
from . import portal, portal_settings, updating

Object = dict[str, Any]


def change(store: Store, portal_session_id: str, subscription_id: str, quantity: int) -> Object:
    """Change the quantity with the configuration's proration. Raises: StripeError 400, 404."""
    with store.transaction() as tx:
        ctx, configuration, subscription = portal.open_subscription(tx, portal_session_id, subscription_id)
        if not portal_settings.is_quantity_open(configuration, subscription):
            raise StripeError("The quantity cannot be changed here.")
        wanted = {
            "items": [{"id": subscription["items"]["data"][0]["id"], "quantity": quantity}],
            "proration_behavior": configuration["features"]["subscription_update"]["proration_behavior"],
        }
        return updating.update(tx, ctx, subscription, wanted)
