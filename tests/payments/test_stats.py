"""GET /api/v1/payments/stats."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from payments.models import StripeConfig, StripeCredentials
from projects.models import Project
from tests.payments.actors import create_developer, create_project
from tests.payments.rows import create_payment, create_subscription

STATS = "/api/v1/payments/stats"


def configure(project: Project, *modes: str, active: bool = True) -> None:
    config = StripeConfig.objects.create(project=project, is_active=active)
    for mode in modes:
        row = StripeCredentials(config=config, project=project, mode=mode, configured_at=clock.now())
        row.set_secret("secret_key", f"sk_{mode}_0123456789")
        row.save()


def test_nothing_yet_is_all_zero() -> None:
    assert create_developer().get(STATS).json() == {
        "total_projects": 0, "projects_with_config": 0, "projects_with_test": 0, "projects_with_live": 0,
        "total_subscriptions": 0, "active_subscriptions": 0, "total_payments": 0, "successful_payments": 0,
        "total_revenue_cents": 0, "currency": "usd", "by_currency": [],
    }  # fmt: skip


def test_figures_are_net_of_refunds_and_each_currency_apart() -> None:
    one, two, three, theirs = (create_project() for _ in range(4))
    developer = create_developer(one, two, three)
    configure(one, "test", "live")
    configure(two, "test")
    configure(three, active=False)
    configure(theirs, "test")
    for status in ("active", "trialing", "past_due", "canceled", "unpaid"):
        create_subscription(one, status=status)
    create_subscription(two, mode="live")
    create_subscription(theirs)
    create_payment(one, amount_cents=1000)
    create_payment(two, amount_cents=2000, status="partially_refunded", refunded_amount_cents=500)
    create_payment(two, amount_cents=700, status="refunded", refunded_amount_cents=700)
    create_payment(one, amount_cents=9999, status="failed")
    create_payment(one, amount_cents=8888, status="pending")
    create_payment(one, amount_cents=7777, status="canceled")
    create_payment(one, amount_cents=300, currency="eur")
    create_payment(one, amount_cents=50_000, currency="jpy", status="failed")
    create_payment(one, amount_cents=123_456, mode="live")
    create_payment(theirs, amount_cents=5)
    assert developer.get(STATS).json() == {
        "total_projects": 3, "projects_with_config": 2, "projects_with_test": 2, "projects_with_live": 1,
        "total_subscriptions": 5, "active_subscriptions": 2, "total_payments": 8, "successful_payments": 4,
        "total_revenue_cents": 2500, "currency": "usd",
        "by_currency": [
            {"currency": "eur", "revenue_cents": 300, "refunded_cents": 0, "payments": 1},
            {"currency": "usd", "revenue_cents": 2500, "refunded_cents": 1200, "payments": 3},
        ],
    }  # fmt: skip
    live = developer.get(f"{STATS}?test_mode=false").json()
    assert (live["total_payments"], live["total_revenue_cents"], live["total_subscriptions"]) == (1, 123_456, 1)


def test_big_amounts_are_exact() -> None:
    project = create_project()
    create_payment(project, amount_cents=9_007_199_254_740_993)
    create_payment(project, amount_cents=2)
    assert create_developer(project).get(STATS).json()["total_revenue_cents"] == 9_007_199_254_740_995


@pytest.mark.parametrize("value", ["", "both", "%00", "2"])
def test_a_bad_mode_is_422(value: str) -> None:
    response = create_developer().get(f"{STATS}?test_mode={value}")
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "test_mode"]


def test_stats_take_constant_queries() -> None:
    projects = [create_project() for _ in range(3)]
    developer = create_developer(*projects)

    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            response: Any = developer.get(STATS)
            assert response.status_code == 200
        return len(captured)

    few = count()
    for project in projects:
        configure(project, "test")
        create_payment(project)
        create_payment(project, currency="eur")
        create_subscription(project)
    assert count() == few <= 5
