"""GET my-entitlements: what the signed-in user may do, in one query, and always as it is now."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from entitlements.models import Plan
from entitlements.services.ledger import grant_credits, spend_credits
from entitlements.services.token_budget import consume_tokens, read_budget
from entitlements.services.token_journal import write_journal
from payments.models import StripeConfig, StripeCredentials
from projects.models import Project
from tests.cast import AppUser
from tests.payments.rows import create_invoice, create_plan, create_subscription, follow_subscription
from tests.payments.shop import get

SHAPE = {
    "plan", "plan_name", "features", "limits", "credits", "token_budget", "plan_active", "plan_expires", "epoch",
}  # fmt: skip
LIMITS = {
    "credits_per_day": 30, "credits_per_period": 500, "token_budget": 1000, "file_size_mb": 50, "requests_per_minute": 120,
    "tokens_per_minute": None, "compute_budget_cents": 5000, "compute_budget_duration": "1d",
}  # fmt: skip


@pytest.fixture
def configured(acme: Project) -> Project:
    """Acme has keys for both modes; nothing here reaches Stripe with them."""
    config = StripeConfig.objects.create(project=acme)
    for mode in ("test", "live"):
        row = StripeCredentials(config=config, project=acme, mode=mode)
        row.set_secret("secret_key", f"sk_{mode}_neverSentAnywhere")
        row.save()
    return acme


@pytest.fixture
def maker(configured: Project) -> Plan:
    """A plan with everything."""
    return create_plan(configured, code="maker", name="Maker", rank=1, features={"export": True, "runs": 3}, **LIMITS)


def mine(user: AppUser, query: str = "") -> dict[str, Any]:
    answer = get(user, "my-entitlements", query)
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == SHAPE
    return dict(answer.json())


# Works


def test_a_paying_user_has_the_plans_features_limits_and_what_is_left(
    configured: Project, dana: AppUser, maker: Plan
) -> None:
    row = create_subscription(configured, end_user=dana.end_user, plan=maker)
    create_invoice(
        configured, subscription=row, billing_reason="subscription_create", period_end=row.current_period_start
    )
    follow_subscription(row)
    body = mine(dana)
    assert (body["plan"], body["plan_name"], body["plan_active"]) == ("maker", "Maker", True)
    assert (body["features"], body["limits"]) == ({"export": True, "runs": 3}, LIMITS)
    assert row.current_period_end is not None and body["plan_expires"].endswith("Z")
    # Today's credits count although nobody has asked for them yet, and the paid period's were given with the purchase.
    buckets = {"plan_daily": 30, "plan_periodic": 500, "bonus": 0, "purchased": 0}
    assert body["credits"] == {"available": 530, "reserved": 0, "debt": 0, "buckets": buckets}
    assert body["token_budget"]["limit"] == body["token_budget"]["remaining"] == 1000
    whose: dict[str, Any] = {"project_id": configured.pk, "mode": "test", "end_user_id": dana.end_user.pk}
    grant_credits(**whose, bucket="purchased", amount=100, key=f"pack:{dana.user_id}")
    spend_credits(**whose, amount=31, key=f"spend:{dana.user_id}")
    consume_tokens(**whose, tokens=250)
    write_journal()
    left = mine(dana)
    assert left["credits"]["available"] == 599 and left["credits"]["buckets"]["purchased"] == 100
    assert (left["token_budget"]["used"], left["token_budget"]["remaining"]) == (250, 750)
    exact = read_budget(**whose)
    assert (exact.limit, exact.used, exact.remaining) == (1000, 250, 750)


def test_it_takes_one_query_besides_who_asks(configured: Project, dana: AppUser, maker: Plan) -> None:
    create_subscription(configured, end_user=dana.end_user, plan=maker)
    with CaptureQueriesContext(connection) as who_asks:
        get(dana, "my-entitlements?test_mode=maybe")
    with CaptureQueriesContext(connection) as queries:
        mine(dana)
    assert len(queries) == len(who_asks) + 1
    assert sum("entitlements_entitlement" in query["sql"] for query in queries) == 1


def test_without_a_plan_there_is_the_free_one_and_without_that_nothing(configured: Project, dana: AppUser) -> None:
    nothing = mine(dana)
    assert (nothing["plan"], nothing["plan_name"], nothing["plan_active"], nothing["features"]) == (
        "free",
        None,
        False,
        {},
    )
    assert (nothing["limits"]["credits_per_day"], nothing["limits"]["token_budget"]) == (0, 0)
    assert (nothing["credits"]["available"], nothing["token_budget"]["remaining"]) == (0, 0)
    create_plan(configured, code="hobby", name="Hobby", free=True, credits_per_day=10, token_budget=50)
    hobby = mine(dana)
    assert (hobby["plan"], hobby["plan_active"], hobby["limits"]["credits_per_day"]) == ("hobby", False, 10)
    assert hobby["credits"]["buckets"]["plan_daily"] == 10
    month = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    budget = hobby["token_budget"]
    assert (budget["limit"], budget["used"], budget["period_start"]) == (50, 0, f"{month:%Y-%m-%dT%H:%M:%SZ}")


def test_a_canceled_user_is_on_the_free_plan_and_keeps_what_was_purchased(
    configured: Project, dana: AppUser, maker: Plan
) -> None:
    create_plan(configured, code="hobby", free=True, credits_per_day=10)
    ended_at = clock.now() - dt.timedelta(days=1)
    row = create_subscription(configured, end_user=dana.end_user, plan=maker, status="canceled", ended_at=ended_at)
    whose: dict[str, Any] = {"project_id": configured.pk, "mode": "test", "end_user_id": dana.end_user.pk}
    grant_credits(**whose, bucket="purchased", amount=100, key=f"pack:{row.pk}")
    body = mine(dana)
    assert (body["plan"], body["plan_active"], body["limits"]["requests_per_minute"]) == ("hobby", False, None)
    assert body["plan_expires"] is not None
    assert (body["credits"]["buckets"]["purchased"], body["credits"]["buckets"]["plan_daily"]) == (100, 10)


def test_no_limit_is_null_and_not_zero(configured: Project, dana: AppUser) -> None:
    open_ended = create_plan(configured, code="sovereign", token_budget=None, compute_budget_cents=None)
    create_subscription(configured, end_user=dana.end_user, plan=open_ended, status="trialing")
    body = mine(dana)
    assert (body["limits"]["token_budget"], body["limits"]["compute_budget_cents"]) == (None, None)
    assert (body["token_budget"]["limit"], body["token_budget"]["remaining"]) == (None, None)


# Refuses


def test_the_modes_are_kept_apart(configured: Project, dana: AppUser, maker: Plan) -> None:
    create_subscription(configured, end_user=dana.end_user, plan=maker)
    assert mine(dana, "?test_mode=false")["plan"] == "free"
    assert mine(dana, "?test_mode=true")["plan"] == "maker"


def test_a_project_that_takes_no_payments_in_the_mode_is_404(acme: Project, configured: Project, dana: AppUser) -> None:
    StripeCredentials.objects.for_project(acme).filter(mode="live").update(secret_key="")
    answer = get(dana, "my-entitlements", "?test_mode=false")
    assert answer.status_code == 404
    assert mine(dana)["plan"] == "free"


# Edge


def test_a_price_on_no_plan_is_active_with_at_least_what_everybody_has(configured: Project, dana: AppUser) -> None:
    create_plan(configured, code="hobby", name="Hobby", free=True, credits_per_day=10, requests_per_minute=5)
    create_subscription(configured, end_user=dana.end_user, plan=None)
    body = mine(dana)
    assert (body["plan"], body["plan_name"], body["plan_active"]) == ("unknown", None, True)
    assert (body["limits"]["requests_per_minute"], body["credits"]["available"]) == (5, 10)


@pytest.mark.parametrize("unknown_price", [False, True])
def test_without_any_plan_there_is_nothing_rather_than_no_limit(
    configured: Project, dana: AppUser, unknown_price: bool
) -> None:
    if unknown_price:
        create_subscription(configured, end_user=dana.end_user, plan=None)
    limits = mine(dana)["limits"]
    assert limits == dict.fromkeys(LIMITS, 0) | {"compute_budget_duration": "30d"}


@pytest.mark.parametrize(
    ("status", "active"), [("active", True), ("unpaid", False), ("incomplete", False), ("paused", False)]
)
def test_only_what_gives_access_gives_the_plan(
    configured: Project, dana: AppUser, maker: Plan, status: str, active: bool
) -> None:
    create_subscription(configured, end_user=dana.end_user, plan=maker, status=status)
    body = mine(dana)
    assert (body["plan"] == "maker", body["plan_active"]) == (active, active)
