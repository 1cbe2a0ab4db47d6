"""Subscriptions: created, changed, canceled, resumed. The period is on the items."""

from __future__ import annotations

import copy
from typing import Any

from ..billing import cancellation, discounts, resuming, starting, subscribing, updating
from ..errors import StripeError, invalid, missing, not_simulated
from ..events import Journal
from ..fields import required, supported
from ..lookup import retrieve as find_one
from ..paging import page, time_condition
from ..store import Context, Tx
from .customers import existing

Object = dict[str, Any]

CREATABLE = {
    "automatic_tax", "billing_cycle_anchor", "billing_mode", "cancel_at", "cancel_at_period_end", "collection_method",
    "currency", "customer", "default_payment_method", "description", "discounts", "items", "metadata", "off_session",
    "payment_behavior", "payment_settings", "proration_behavior", "trial_end", "trial_period_days", "trial_settings",
}  # fmt: skip
ENDED = ("canceled", "incomplete_expired")


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/subscriptions."""
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise not_simulated("collection_method")
    if params.get("days_until_due") is not None:
        raise invalid("You can only set `days_until_due` if `collection_method` is set to `send_invoice`.")
    supported(params, CREATABLE)
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise invalid(
            "`payment_behavior=pending_if_incomplete` has no effect when creating a subscription.", "payment_behavior"
        )
    if (params.get("billing_mode") or {}).get("type", "flexible") != "flexible":
        raise not_simulated("billing_mode[type]")
    customer = existing(tx, ctx, required(params, "customer"))
    return starting.start(tx, ctx, customer, params)


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/subscriptions/{id}."""
    return find_one(tx, ctx, "subscription", id)


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/subscriptions/{id}."""
    return updating.update(tx, ctx, find_one(tx, ctx, "subscription", id), params)


def cancel(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/subscriptions/{id}. A second time answers 404, as for an id that never was."""
    subscription = find_one(tx, ctx, "subscription", id)
    if subscription["status"] in ENDED:
        raise missing("subscription", id)
    return cancellation.end_now(
        tx,
        ctx,
        subscription,
        details=params.get("cancellation_details"),
        prorate=bool(params.get("prorate")),
        invoice_now=bool(params.get("invoice_now")),
    )


def resume(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/subscriptions/{id}/resume: only for status `paused`."""
    supported(params, {"billing_cycle_anchor", "proration_behavior"})
    return resuming.resume(tx, ctx, id, params)


def delete_discount(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/subscriptions/{id}/discount: takes all of its discounts off and answers with the last of them."""
    subscription = find_one(tx, ctx, "subscription", id)
    if not subscription["discounts"]:
        raise StripeError(f"No active discount for subscription: {id}", http_status=404, code="resource_missing")
    before = copy.deepcopy(subscription)
    journal = Journal()
    for discount_id in list(subscription["discounts"]):
        removed = discounts.remove(tx, ctx, journal, subscription, discount_id)
    subscribing.save(tx, ctx, subscription)
    journal.add_updated("customer.subscription.updated", before, subscription)
    journal.release(tx, ctx)
    return {**{name: value for name, value in removed.items() if name != "end"}, "deleted": True}


# Of several items the least counts, as the parameters' declarations say.
LEAST_OF_ITEMS = {
    name: f"(SELECT min(json_extract(item.value, '$.{name}')) FROM json_each(objects.json, '$.items.data') item)"  # noqa: S608
    for name in ("current_period_start", "current_period_end")
}


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/subscriptions: without a status, canceled ones are left out."""
    supported(
        params,
        {"automatic_tax", "collection_method", "created", "customer", "limit", "starting_after", "ending_before",
         "current_period_end", "current_period_start", "plan", "price", "status", "test_clock"},
    )  # fmt: skip
    equal: Object = {"customer": params.get("customer"), "collection_method": params.get("collection_method")}
    equal["test_clock"] = params.get("test_clock")
    equal["automatic_tax.enabled"] = (params.get("automatic_tax") or {}).get("enabled")
    where, values = "", list[Any]()
    status = params.get("status")
    if status is None:
        where += " AND json_extract(json, '$.status') != 'canceled'"
    elif status == "ended":
        where += " AND json_extract(json, '$.status') IN ('canceled', 'incomplete_expired')"
    elif status != "all":
        equal["status"] = status
    for price in filter(None, (params.get("price"), params.get("plan"))):
        where += (
            " AND EXISTS (SELECT 1 FROM json_each(objects.json, '$.items.data') item"
            " WHERE json_extract(item.value, '$.price.id') = ?)"
        )
        values.append(price)
    for name in LEAST_OF_ITEMS:
        if params.get(name) is not None:
            condition, times = time_condition(LEAST_OF_ITEMS[name], params[name])
            where += condition
            values += times
    return page(tx, ctx, "subscription", params, "/v1/subscriptions", equal, where, values)


ROUTES = [
    ("POST", "/v1/subscriptions", create),
    ("GET", "/v1/subscriptions", list_all),
    ("GET", "/v1/subscriptions/{id}", retrieve),
    ("POST", "/v1/subscriptions/{id}", update),
    ("DELETE", "/v1/subscriptions/{id}", cancel),
    ("POST", "/v1/subscriptions/{id}/resume", resume),
    ("DELETE", "/v1/subscriptions/{id}/discount", delete_discount),
]
