"""What an end user holds: it follows from what was bought and paid, whichever event comes first, and from the policy."""

import datetime as dt
from typing import Any

import pytest

from common.clock import from_unix
from entitlements.models import Entitlement, Plan, PlanPrice
from payments.models import Subscription
from tests.cast import AppUser
from tests.payments.deliveries import deliver, events_of, set_webhook_secret, stored
from tests.payments.rows import create_plan
from tests.payments.shop import Shop
from tests.scenarios.lifecycle import Life

MAKER, PRO = 1000, 2500


def sell(shop: Shop, code: str, amount: int, rank: int, *, interval: str = "month", plan: Plan | None = None) -> Plan:
    """Sell a plan for an amount in test mode."""
    price_id = shop.price(amount, interval=interval)
    plan = plan or create_plan(shop.project, code=code, name=code.title(), rank=rank)
    values: dict[str, Any] = {"mode": "test", "interval": interval, "stripe_price_id": price_id, "amount_cents": amount}
    PlanPrice.objects.create(project=shop.project, plan=plan, **values)
    return plan


def price_of(plan: Plan) -> str:
    return plan.prices.filter(interval="month").get().stripe_price_id


@pytest.fixture
def life(shop: Shop, dana: AppUser) -> Life:
    """Dana buys Maker, and may move to Pro."""
    set_webhook_secret(shop.project)
    maker, pro = sell(shop, "maker", MAKER, 1), sell(shop, "pro", PRO, 2)
    return Life(shop, dana, (price_of(maker), price_of(pro)))


def fresh(shop: Shop) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known]


def after(life: Life, *steps: Any) -> Entitlement:
    """Take steps, deliver what they caused, and return what dana holds."""
    for step in steps:
        step()
    deliver(life.shop, fresh(life.shop))
    return held(life.user)


def held(user: AppUser, mode: str = "test") -> Entitlement:
    rows = Entitlement.objects.for_project(user.end_user.project_id).in_mode(mode)
    return rows.select_related("plan").get(end_user=user.end_user)


def started(life: Life) -> Any:
    return from_unix(life.subscription["items"]["data"][0]["current_period_start"])


# Works


def test_a_life_is_followed_step_by_step(life: Life) -> None:
    bought = after(life, life.buy)
    assert bought.plan is not None and bought.plan.code == "maker"
    assert (bought.active, bought.active_until, bought.status, bought.epoch) == (True, None, "active", 0)
    assert bought.granted_period_start == bought.period_start == started(life)
    upgraded = after(life, life.upgrade)
    assert upgraded.plan is not None and upgraded.plan.code == "pro"
    assert (upgraded.granted_period_start, upgraded.epoch) == (bought.granted_period_start, 0)
    renewed = after(life, life.renew)
    assert renewed.granted_period_start == started(life) > bought.period_start
    failed = after(life, life.fail_to_renew)
    assert (failed.status, failed.active, failed.epoch) == ("past_due", True, 0)
    assert failed.granted_period_start == renewed.granted_period_start < failed.period_start
    row = Subscription.objects.for_project(life.shop.project).get()
    assert failed.active_until == row.past_due_since + dt.timedelta(hours=72)
    recovered = after(life, life.recover)
    assert (recovered.status, recovered.active_until) == ("active", None)
    assert recovered.granted_period_start == started(life)
    ended = after(life, life.end)
    assert (ended.status, ended.active, ended.epoch) == ("canceled", False, 1)
    assert ended.granted_period_start == recovered.granted_period_start
    assert not Entitlement.objects.for_project(life.shop.project).in_mode("live").exists()
