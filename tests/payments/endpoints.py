"""What tests of webhook endpoints share: saving keys as a developer does, and looking at the account's endpoints."""

import datetime as dt
from typing import Any

import httpx
from django.db.models import F

from payments.models import StripeCredentials
from payments.services.endpoint_rounds import look_after_endpoints
from payments.services.webhook_address import webhook_url
from payments.services.webhook_endpoints import event_types
from tests.payments.actors import Developer, config_path
from tests.payments.shop import Shop

ENDPOINTS = "webhook_endpoints"
A_SIGNING_SECRET = "whsec_" + "madebyhand" * 3


def save_keys(owner: Developer, shop: Shop, *, mode: str = "test", **more: Any) -> dict[str, Any]:
    """Save the account's secret key; a refusal fails the test."""
    key = shop.account.test_secret_key if mode == "test" else shop.account.live_secret_key
    answer = owner.put(config_path(shop.project), {f"{mode}_secret_key": key} | more)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def credentials(shop: Shop, mode: str = "test") -> StripeCredentials:
    """Read the stored credentials."""
    return StripeCredentials.objects.for_project(shop.project).get(mode=mode)


def check(owner: Developer, shop: Shop) -> dict[str, Any]:
    """Ask for a check; a refusal fails the test."""
    answer = owner.post(config_path(shop.project, "webhook-endpoint/check"), {})
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def pass_time(shop: Shop, **interval: int) -> None:
    """Let the last look at the endpoints lie further back, then let the rounds run."""
    rows = StripeCredentials.objects.for_project(shop.project)
    rows.update(webhook_checked_at=F("webhook_checked_at") - dt.timedelta(**interval))
    look_after_endpoints(batch=1000)


def endpoint_by_hand(shop: Shop, *, events: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """Make an endpoint as a developer does in Stripe's Dashboard."""
    fields = {"url": webhook_url(shop.project.pk, "test"), "enabled_events[]": events or ["*"]} | more
    return shop.api("POST", ENDPOINTS, **fields)


def delivers_everything(shop: Shop, endpoint: dict[str, Any], mode: str = "test") -> bool:
    """Say whether an endpoint is as the service wants it."""
    return (endpoint["url"], sorted(endpoint["enabled_events"]), endpoint["status"]) == (
        webhook_url(shop.project.pk, mode),
        event_types(),
        "enabled",
    )


def restricted_key(shop: Shop, **permissions: str) -> str:
    """Make a restricted key of the shop's account."""
    answer = httpx.post(
        f"{shop.sandbox.url}/_sandbox/api/accounts/{shop.account.account_id}/keys",
        json={"permissions": permissions, "livemode": False},
        timeout=20,
    )
    assert answer.status_code in (200, 201), answer.text
    body = answer.json()
    return str(body.get("secret_key") or body["key"])


def creations(shop: Shop) -> list[dict[str, Any]]:
    """Give the calls that asked Stripe for an endpoint."""
    return [entry for entry in shop.requests("/v1/webhook_endpoints") if entry["method"] == "POST"]
