"""Billing portal: sessions and configurations."""

from __future__ import annotations

import copy
from typing import Any

from .. import ids
from ..billing.portal_settings import default_configuration, new_configuration
from ..errors import invalid, not_simulated
from ..events import changes, emit
from ..fields import apply_simple, merged_metadata, required, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

FLOWS = (
    "customer_update",
    "payment_method_update",
    "subscription_cancel",
    "subscription_update",
    "subscription_update_confirm",
)
FEATURES = {
    "customer_update": {"allowed_updates", "enabled"},
    "invoice_history": {"enabled"},
    "payment_method_update": {"enabled"},
    "subscription_cancel": {"cancellation_reason", "enabled", "mode", "proration_behavior"},
    "subscription_update": {"default_allowed_updates", "enabled", "products", "proration_behavior"},
}


# What this sandbox's portal lets customers change, of all that Stripe's has.
OFFERED = {
    "allowed_updates": ("address", "email", "name", "phone", "tax_id"),
    "default_allowed_updates": ("price", "quantity"),
}


def create_session(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/billing_portal/sessions."""
    supported(params, {"configuration", "customer", "flow_data", "locale", "return_url"})
    customer = existing(tx, ctx, required(params, "customer"))
    if params.get("configuration"):
        configuration = referred(tx, ctx, "billing_portal.configuration", params["configuration"], "configuration")
        if not configuration["active"]:
            raise invalid("This configuration is not active.", "configuration")
    else:
        configuration = default_configuration(tx, ctx)
    session_id = ids.new_id("billing_portal.session")
    session: Object = {
        "id": session_id,
        "object": "billing_portal.session",
        "configuration": configuration["id"],
        "created": ctx.now,
        "customer": customer["id"],
        "customer_account": None,
        "flow": _flow(tx, ctx, customer, configuration, params["flow_data"]) if params.get("flow_data") else None,
        "livemode": ctx.livemode,
        "locale": params.get("locale"),
        "on_behalf_of": None,
        "return_url": params.get("return_url") or configuration["default_return_url"],
        "url": f"{tx.store.public_url}/p/session/{session_id}",
    }
    tx.insert(ctx, session, {"last_used_at": None})
    emit(tx, ctx, "billing_portal.session.created", session)
    return session


def _flow(tx: Tx, ctx: Context, customer: Object, configuration: Object, wanted: Object) -> Object:
    kind = required(wanted, "type")
    if kind not in FLOWS:
        raise not_simulated("flow_data[type]")
    flow: Object = {
        "after_completion": _after_completion(wanted.get("after_completion") or {}),
        "customer_update": None,
        "subscription_cancel": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
        "type": kind,
    }
    data = wanted.get(kind)
    feature = kind.removesuffix("_confirm")
    if not configuration["features"][feature]["enabled"]:
        raise invalid(
            f"The {feature.replace('_', ' ')} feature in the portal configuration is disabled. Please enable it to "
            "use this flow.",
            "flow_data[type]",
        )
    if kind == "customer_update":
        flow[kind] = {}
    if kind.startswith("subscription_"):
        path = f"flow_data[{kind}][subscription]"
        subscription = referred(tx, ctx, "subscription", (data or {}).get("subscription", ""), path)
        if subscription["customer"] != customer["id"]:
            raise invalid("The subscription does not belong to the customer.", path)
        flow[kind] = {"subscription": subscription["id"]}
        if kind == "subscription_cancel":
            flow[kind]["retention"] = None
        if kind == "subscription_update_confirm":
            flow[kind] |= {"discounts": None, "items": _confirm_items(data or {})}
    return flow


def _confirm_items(data: Object) -> list[Object]:
    return [
        {"id": item.get("id"), "price": item.get("price"), "quantity": item.get("quantity", 1)}
        for item in data.get("items") or []
    ]


def _after_completion(wanted: Object) -> Object:
    kind = wanted.get("type", "portal_homepage")
    redirect, hosted = wanted.get("redirect"), wanted.get("hosted_confirmation")
    return {
        "hosted_confirmation": {"custom_message": (hosted or {}).get("custom_message")}
        if kind == "hosted_confirmation"
        else None,
        "redirect": {"return_url": redirect["return_url"]} if kind == "redirect" and redirect else None,
        "type": kind,
    }


def create_configuration(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/billing_portal/configurations."""
    supported(params, {"business_profile", "default_return_url", "features", "metadata", "name"})
    required(params, "features")
    configuration = new_configuration(tx, ctx, is_default=False)
    for name in FEATURES:
        configuration["features"][name]["enabled"] = False
    _apply(configuration, params)
    tx.save(ctx, configuration)
    emit(tx, ctx, "billing_portal.configuration.created", configuration)
    return configuration


def _apply(configuration: Object, params: Object) -> None:
    apply_simple(configuration, params, ("active", "default_return_url", "name"))
    if "metadata" in params:
        configuration["metadata"] = merged_metadata(configuration["metadata"], params["metadata"])
    configuration["business_profile"] |= params.get("business_profile") or {}
    for name, wanted in (params.get("features") or {}).items():
        if name not in FEATURES:
            raise not_simulated(f"features[{name}]")
        supported(wanted, FEATURES[name], f"features[{name}]")
        settings = dict(wanted)
        for field, offered in OFFERED.items():
            if field in settings:
                settings[field] = settings[field] or []
                for value in settings[field]:
                    if value not in offered:
                        raise not_simulated(f"features[{name}][{field}] ({value})")
        if name == "subscription_update" and "products" in settings:
            settings["products"] = [
                {
                    "adjustable_quantity": {"enabled": False, "maximum": None, "minimum": 1},
                    "prices": product["prices"],
                    "product": product["product"],
                }
                for product in settings["products"] or []
            ]
        if name == "subscription_cancel" and "cancellation_reason" in settings:
            current = configuration["features"][name]["cancellation_reason"]
            reason = {**current, **settings["cancellation_reason"]}
            settings["cancellation_reason"] = {**reason, "options": reason["options"] or []}
        configuration["features"][name] |= settings


def update_configuration(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/billing_portal/configurations/{id}."""
    supported(params, {"active", "business_profile", "default_return_url", "features", "metadata", "name"})
    configuration = find_one(tx, ctx, "billing_portal.configuration", id)
    if params.get("active") is False and configuration["is_default"]:
        raise invalid("The default configuration cannot be deactivated.", "active")
    before = copy.deepcopy(configuration)
    _apply(configuration, params)
    previous = changes(before, configuration)
    if previous:
        configuration["updated"] = ctx.now
        tx.save(ctx, configuration)
        emit(tx, ctx, "billing_portal.configuration.updated", configuration, previous)
    return configuration


def retrieve_configuration(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/billing_portal/configurations/{id}."""
    return find_one(tx, ctx, "billing_portal.configuration", id)


def list_configurations(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/billing_portal/configurations."""
    equal = {name: params.get(name) for name in ("active", "is_default")}
    return page(tx, ctx, "billing_portal.configuration", params, "/v1/billing_portal/configurations", equal)


ROUTES = [
    ("POST", "/v1/billing_portal/sessions", create_session),
    ("POST", "/v1/billing_portal/configurations", create_configuration),
    ("GET", "/v1/billing_portal/configurations", list_configurations),
    ("GET", "/v1/billing_portal/configurations/{id}", retrieve_configuration),
    ("POST", "/v1/billing_portal/configurations/{id}", update_configuration),
]
