"""The contract's shapes, as plain functions: fast, and without a query per row.

Rows come with their relations selected: `with_relations` for subscriptions, payments and their aggregated variants.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from common import clock
from common.modes import LIVE, MODES, TEST
from payments.models import StripeConfig, StripeCredentials, Subscription, Transaction
from payments.models.billing import SubscriptionQuerySet, TransactionQuerySet
from payments.services.shapes import render_payment, render_subscription, utc_text
from payments.services.webhook_health import Health
from projects.models import Project

PROVIDER = "stripe"


def subscriptions_with_relations(rows: SubscriptionQuerySet, *, aggregated: bool = False) -> SubscriptionQuerySet:
    """Select with the rows whatever their shape needs."""
    return rows.select_related("plan", "end_user", "project__billing_policy")


def payments_with_relations(rows: TransactionQuerySet, *, aggregated: bool = False) -> TransactionQuerySet:
    """Select with the rows whatever their shape needs."""
    return rows.select_related("end_user", *(["project"] if aggregated else []))


def render_subscriptions(rows: Iterable[Subscription]) -> list[dict[str, Any]]:
    """Return many Subscriptions, all judged at the same moment."""
    at = clock.now()
    return [render_subscription(row, at=at) for row in rows]


def render_payments(rows: Iterable[Transaction]) -> list[dict[str, Any]]:
    """Return many Payments."""
    return [render_payment(row) for row in rows]


def render_aggregated_subscriptions(rows: Iterable[Subscription]) -> list[dict[str, Any]]:
    """Return Subscriptions of several projects. Reads `project`: select it with the rows."""
    at = clock.now()
    return [render_subscription(row, at=at) | _aggregated(row.project) for row in rows]


def render_aggregated_payments(rows: Iterable[Transaction]) -> list[dict[str, Any]]:
    """Return Payments of several projects. Reads `project`: select it with the rows."""
    return [render_payment(row) | _aggregated(row.project) for row in rows]


def _aggregated(project: Project) -> dict[str, str]:
    return {"project_name": project.name, "provider": PROVIDER}


def render_config(
    config: StripeConfig,
    credentials: Iterable[StripeCredentials],
    health: Mapping[str, Health],
) -> dict[str, Any]:
    """Return the shape Config: masks only, nothing is decrypted."""
    by_mode = {row.mode: row for row in credentials}
    body: dict[str, Any] = {
        "id": str(config.id),
        "project_id": str(config.project_id),
        "is_active": config.is_active,
        "created_at": utc_text(config.created_at),
        "updated_at": utc_text(config.updated_at),
    }
    for mode in MODES:
        body |= _render_credentials(mode, by_mode.get(mode))
        body |= _render_health(mode, health.get(mode, Health()))
    return body


def _render_credentials(mode: str, row: StripeCredentials | None) -> dict[str, Any]:
    return {
        f"has_{mode}_credentials": bool(row and row.secret_key),
        f"{mode}_secret_key_masked": (row.secret_key_masked or None) if row else None,
        f"{mode}_publishable_key_masked": (row.publishable_key_masked or None) if row else None,
        f"{mode}_webhook_secret_masked": (row.webhook_secret_masked or None) if row else None,
        f"{mode}_configured_at": utc_text(row.configured_at) if row else None,
        f"{mode}_account_id": (row.stripe_account_id or None) if row else None,
        f"{mode}_webhook_status": (row.webhook_status or None) if row else None,
        f"{mode}_webhook_error": (row.webhook_error or None) if row else None,
    }


def _render_health(mode: str, health: Health) -> dict[str, Any]:
    return {
        f"{mode}_last_event_at": utc_text(health.last_event_at),
        f"{mode}_last_failure_at": utc_text(health.last_failure_at),
        f"{mode}_oldest_pending_at": utc_text(health.oldest_pending_at),
        f"{mode}_dead_events": health.dead_events,
    }


def render_project(
    project: Project, config: StripeConfig | None, credentials: Iterable[StripeCredentials]
) -> dict[str, Any]:
    """Return one row of the developer's projects: `is_active` is the project's own flag."""
    by_mode = {row.mode: row for row in credentials if row.secret_key}
    return {
        "id": str(project.id),
        "name": project.name,
        "description": project.description or None,
        "has_payment_config": config is not None and config.is_active,
        "has_test_credentials": TEST in by_mode,
        "has_live_credentials": LIVE in by_mode,
        "test_configured_at": utc_text(by_mode[TEST].configured_at) if TEST in by_mode else None,
        "live_configured_at": utc_text(by_mode[LIVE].configured_at) if LIVE in by_mode else None,
        "is_active": project.is_active,
        "created_at": utc_text(project.created_at),
    }
