"""Adding products, as their own request or inside a price or a checkout line, and the legacy view of prices."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..errors import invalid
from ..events import emit
from ..fields import apply_simple, merged_metadata, required
from ..store import Context, Tx
from . import tiers

Object = dict[str, Any]

SIMPLE_PRODUCT_FIELDS = (
    "active", "description", "images", "name", "shippable", "statement_descriptor", "unit_label", "url", "tax_code",
)  # fmt: skip


def new_product(tx: Tx, ctx: Context, params: Object) -> Object:
    """Add a product and its event."""
    name = required(params, "name")
    product_id = params.get("id") or ids.new_id("product")
    if tx.get(ctx, "product", product_id) is not None:
        raise invalid("Product already exists.", "id", "resource_already_exists")
    product: Object = {
        "id": product_id,
        "object": "product",
        "active": True,
        "created": ctx.now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": ctx.livemode,
        "marketing_features": params.get("marketing_features") or [],
        "metadata": merged_metadata({}, params.get("metadata")),
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": params.get("type", "service"),
        "unit_label": None,
        "updated": ctx.now,
        "url": None,
    }
    apply_simple(product, params, SIMPLE_PRODUCT_FIELDS)
    tx.insert(ctx, product)
    emit(tx, ctx, "product.created", product)
    return product


def plan_of(price: Object) -> Object:
    """Show a recurring price as the legacy plan that subscriptions still echo."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def is_metered(price: Object) -> bool:
    """Tell whether a price is for usage, billed when its period is over."""
    return bool(price["recurring"] and price["recurring"]["usage_type"] == "metered")


def cost(tx: Tx, ctx: Context, price: Object, quantity: int | None) -> int:
    """Give what a price costs in advance: nothing for usage, which is billed afterwards."""
    return 0 if is_metered(price) else tiers.amount_of(tx, ctx, price, quantity or 0)
