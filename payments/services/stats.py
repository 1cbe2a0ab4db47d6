"""A developer's figures over all projects: one mode at a time, one currency at a time, net of refunds."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.models import Count, Q, Sum

from common.modes import LIVE, TEST, Mode
from payments.models import StripeConfig, Subscription, Transaction
from payments.models.billing import ENTITLED_STATUSES

REPORTING_CURRENCY = "usd"
# A payment that was refunded later did succeed: its refund is taken off the revenue, not off the count.
COLLECTED_STATUSES = ("succeeded", "partially_refunded", "refunded")


def read_stats(*, project_ids: Sequence[uuid.UUID], mode: Mode) -> dict[str, Any]:
    """Return the figures of these projects in one mode. Three queries. Units: minor units, one row per currency."""
    by_currency = _by_currency(project_ids, mode)
    revenue = next((row["revenue_cents"] for row in by_currency if row["currency"] == REPORTING_CURRENCY), 0)
    subscriptions = Subscription.objects.filter(project__in=project_ids, mode=mode).aggregate(
        total=Count("pk"), active=Count("pk", filter=Q(status__in=ENTITLED_STATUSES))
    )
    return {
        "total_projects": len(project_ids),
        **_configured(project_ids),
        "total_subscriptions": subscriptions["total"],
        "active_subscriptions": subscriptions["active"],
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
    collected = Q(status__in=COLLECTED_STATUSES)
    rows = (
        Transaction.objects.filter(project__in=project_ids, mode=mode)
        .values("currency")
        .annotate(
            total=Count("pk"),
            payments=Count("pk", filter=collected),
            collected_cents=Sum("amount_cents", filter=collected, default=0),
            refunded_cents=Sum("refunded_amount_cents", filter=collected, default=0),
        )
        .order_by("currency")
    )
    return [
        row
        | {
            "revenue_cents": int(row["collected_cents"]) - int(row["refunded_cents"]),
            "refunded_cents": int(row["refunded_cents"]),
        }
        for row in rows
    ]
