"""A developer's figures over all projects: one mode at a time, one currency at a time, net of refunds.

Read from the roll-ups, so that a project with millions of payments answers as fast as a new one.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Q

from common.modes import LIVE, TEST, Mode
from payments.models import StripeConfig
from payments.models.billing import ENTITLED_STATUSES
from payments.services.rollups import read_revenue, read_subscription_counts

REPORTING_CURRENCY = "usd"


def read_stats(*, project_ids: Sequence[uuid.UUID], mode: Mode) -> dict[str, Any]:
    """Return the figures of these projects in one mode. Three queries. Units: minor units, one row per currency."""
    by_currency = _by_currency(project_ids, mode)
    revenue = next((row["revenue_cents"] for row in by_currency if row["currency"] == REPORTING_CURRENCY), 0)
    subscriptions = read_subscription_counts(project_ids=project_ids, mode=mode)
    return {
        "total_projects": len(project_ids),
        **_configured(project_ids),
        "total_subscriptions": sum(subscriptions.values()),
        "active_subscriptions": sum(subscriptions.get(status, 0) for status in ENTITLED_STATUSES),
        "total_payments": sum(row["total"] for row in by_currency),
        "successful_payments": sum(row["payments"] for row in by_currency),
        "total_revenue_cents": revenue,
        "currency": REPORTING_CURRENCY,
        "by_currency": [
            {name: row[name] for name in ("currency", "revenue_cents", "refunded_cents", "payments")}
            for row in by_currency
            if row["payments"]
        ],
    }


def _configured(project_ids: Sequence[uuid.UUID]) -> dict[str, int]:
    has_key = Q(credentials__secret_key__gt="")
    rows = StripeConfig.objects.filter(project__in=project_ids).aggregate(
        active=Count("pk", filter=Q(is_active=True), distinct=True),
        test=Count("pk", filter=Q(credentials__mode=TEST) & has_key, distinct=True),
        live=Count("pk", filter=Q(credentials__mode=LIVE) & has_key, distinct=True),
    )
    return {
        "projects_with_config": rows["active"],
        "projects_with_test": rows["test"],
        "projects_with_live": rows["live"],
    }


def _by_currency(project_ids: Sequence[uuid.UUID], mode: Mode) -> list[dict[str, Any]]:
    return [
        {
            "currency": row["currency"],
            "total": row["payments"],
            "payments": row["succeeded"],
            "revenue_cents": row["gross_cents"] - row["refunded_cents"],
            "refunded_cents": row["refunded_cents"],
        }
        for row in read_revenue(project_ids=project_ids, mode=mode)
    ]
