"""Webhook endpoints: at most 16 per account and mode; the signing secret is shown once, at creation."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlsplit

from .. import delivery, ids, schema
from ..errors import StripeError, invalid
from ..fields import merged_metadata, required, supported
from ..lookup import retrieve as find_one
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]

MAX_ENDPOINTS = 16


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/webhook_endpoints: the only answer that shows the secret."""
    supported(params, {"api_version", "description", "enabled_events", "metadata", "url"})
    if len(tx.find(ctx, "webhook_endpoint")) >= MAX_ENDPOINTS:
        raise StripeError(f"You have reached the maximum of {MAX_ENDPOINTS} test webhook endpoints.")
    endpoint: Object = {
        "id": ids.new_id("webhook_endpoint"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": ctx.now,
        "description": params.get("description") or None,
        "enabled_events": _checked_events(required(params, "enabled_events")),
        "livemode": ctx.livemode,
        "metadata": merged_metadata({}, params.get("metadata")),
        "status": "enabled",
        "url": _checked_url(required(params, "url")),
    }
    tx.insert(ctx, endpoint)
    return {**copy.deepcopy(endpoint), "secret": delivery.set_secret(tx, ctx, endpoint["id"])}


def _checked_events(wanted: list[str]) -> list[str]:
    known = schema.spec()["events"]
    for index, name in enumerate(wanted):
        if name != "*" and name not in known:
            raise invalid(
                f"Invalid enabled_events[{index}]: must be one of the event types, not {name}",
                f"enabled_events[{index}]",
            )
    return list(wanted)


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", "url", "url_invalid")
    return url


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/webhook_endpoints/{id}."""
    supported(params, {"description", "disabled", "enabled_events", "metadata", "url"})
    endpoint = find_one(tx, ctx, "webhook_endpoint", id)
    if "description" in params:
        endpoint["description"] = params["description"] or None
    if "disabled" in params:
        endpoint["status"] = "disabled" if params["disabled"] else "enabled"
    if params.get("enabled_events"):
        endpoint["enabled_events"] = _checked_events(params["enabled_events"])
    if "metadata" in params:
        endpoint["metadata"] = merged_metadata(endpoint["metadata"], params["metadata"])
    if params.get("url"):
        endpoint["url"] = _checked_url(params["url"])
    tx.after_commit.append(delivery.notify)
    return tx.save(ctx, endpoint)


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/webhook_endpoints/{id}, without the secret."""
    return find_one(tx, ctx, "webhook_endpoint", id)


def delete(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """DELETE /v1/webhook_endpoints/{id}."""
    find_one(tx, ctx, "webhook_endpoint", id)
    tx.mark_deleted(ctx, "webhook_endpoint", id)
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/webhook_endpoints."""
    return page(tx, ctx, "webhook_endpoint", params, "/v1/webhook_endpoints")


ROUTES = [
    ("POST", "/v1/webhook_endpoints", create),
    ("GET", "/v1/webhook_endpoints", list_all),
    ("GET", "/v1/webhook_endpoints/{id}", retrieve),
    ("POST", "/v1/webhook_endpoints/{id}", update),
    ("DELETE", "/v1/webhook_endpoints/{id}", delete),
]
