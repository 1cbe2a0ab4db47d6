"""Calls to Stripe stay below what it lets through, per account, and nobody else waits for it (F19)."""

import time
import uuid
from typing import Any

import httpx
import pytest
import redis

from payments.services import rate_budget
from payments.services.rate_budget import await_turn, background_calls, slow_down
from payments.stripe_api import StripeRateLimited, stripe_account
from tests.payments.deliveries import an_event, deliver, process_all, set_webhook_secret, stored
from tests.payments.shop import Shop, at_once, connect_stripe

STRIPE_LETS_THROUGH = 25
EVENTS = 60


@pytest.fixture
def budget(settings: Any) -> Any:
    """The figures of a sandbox account."""
    settings.STRIPE_CALLS_PER_SECOND_TEST = 20
    settings.STRIPE_CALLS_PER_SECOND_LIVE = 80
    settings.STRIPE_CALLS_PER_SECOND_ENDPOINT = 20
    return settings


def fresh_account() -> str:
    return f"acct_{uuid.uuid4().hex}"


def calls_within(seconds: float, account: str, mode: str = "test") -> int:
    """Count the calls that may be sent without waiting for any of them."""
    began, sent = time.monotonic(), 0
    with background_calls(wait_seconds=0.0):
        while time.monotonic() < began + seconds:
            if await_turn(account=account, mode=mode, endpoint="get customers"):
                sent += 1
            else:
                time.sleep(0.005)
    return sent


def rate_url(shop: Shop) -> str:
    return f"{shop.sandbox.url}/_sandbox/api/accounts/{shop.account.account_id}/rate"


def measured(shop: Shop) -> dict[str, Any]:
    return dict(httpx.get(rate_url(shop), timeout=10).json()["test"])


def test_f19_queued_events_stay_below_stripes_limit_and_another_account_does_not_wait(
    shop: Shop, other_project: Any, sandbox: Any, budget: Any
) -> None:
    other = Shop(other_project, sandbox.create_account("Other"), sandbox)
    connect_stripe(other.project, other.account)
    for project in (shop.project, other.project):
        set_webhook_secret(project)
    limits = {"per_second": STRIPE_LETS_THROUGH, "endpoint_per_second": STRIPE_LETS_THROUGH}
    assert httpx.post(rate_url(shop), json=limits, timeout=10).status_code < 300
    deliver(shop, [an_event() for _ in range(EVENTS)], process=False)
    deliver(other, [an_event() for _ in range(3)], process=False)
    began = time.monotonic()
    process_all(shop.project)
    took = time.monotonic() - began
    seen = measured(shop)
    assert seen["limited"] == 0 and seen["peak_per_second"] < STRIPE_LETS_THROUGH, seen
    assert seen["requests"] == EVENTS, "each of these events is one read"
    assert took > EVENTS / STRIPE_LETS_THROUGH, "nobody waited, so this shows nothing"
    process_all(other.project)
    last = {project: max(row.handled_at for row in stored(project)) for project in (shop.project, other.project)}
    first = min(row.handled_at for row in stored(shop.project))
    assert (last[other.project] - first).total_seconds() < took / 2, "the other account waited for this one's turn"


def test_f19_many_callers_share_one_budget(budget: Any) -> None:
    account = fresh_account()
    sent = at_once(6, lambda _: calls_within(1.0, account))
    assert 10 <= sum(sent) <= 20


def test_a_new_second_brings_new_calls(budget: Any) -> None:
    account = fresh_account()
    first, second = calls_within(0.5, account), calls_within(1.0, account)
    assert first >= 4 and 10 <= second <= 16


def test_a_live_account_has_a_larger_budget_but_each_endpoint_its_own_limit(budget: Any) -> None:
    budget.STRIPE_CALLS_PER_SECOND_ENDPOINT = 0
    assert calls_within(0.5, fresh_account(), "live") > 35
    budget.STRIPE_CALLS_PER_SECOND_ENDPOINT = 20
    assert calls_within(0.5, fresh_account(), "live") < 20


def test_modes_of_one_account_are_counted_apart(budget: Any) -> None:
    account = fresh_account()
    calls_within(0.3, account, "test")
    assert calls_within(0.05, account, "live") >= 3


def test_somebody_who_waits_goes_first_and_is_never_refused(budget: Any) -> None:
    account = fresh_account()
    calls_within(0.3, account)
    began = time.monotonic()
    for _ in range(4):
        assert await_turn(account=account, mode="test", endpoint="get customers")
    assert time.monotonic() - began < 0.2
    for _ in range(4):
        assert await_turn(account=account, mode="test", endpoint="get customers")
    assert time.monotonic() - began < 4 * rate_budget.USER_WAITS_SECONDS_MAX + 0.2


def test_the_background_gives_up_when_its_turn_does_not_come(shop: Shop, budget: Any) -> None:
    budget.STRIPE_CALLS_PER_SECOND_TEST = 1
    account = stripe_account(shop.project.pk, "test")
    with background_calls(wait_seconds=0.1), pytest.raises(StripeRateLimited):
        for _ in range(5):
            account.list("customers")
    assert len(shop.requests("/v1/customers")) < 5


@pytest.mark.parametrize("figure", ["STRIPE_CALLS_PER_SECOND_TEST", "STRIPE_CALLS_PER_SECOND_ENDPOINT"])
@pytest.mark.parametrize("without_redis", [False, True])
def test_a_low_figure_makes_the_background_slow_and_not_wait_for_ever(
    budget: Any, figure: str, without_redis: bool
) -> None:
    setattr(budget, figure, 7)
    if without_redis:
        budget.REDIS_URL = "redis://127.0.0.1:9/0"
    account = fresh_account()
    with background_calls(wait_seconds=5.0):
        assert all(await_turn(account=account, mode="test", endpoint="get customers") for _ in range(2))
    setattr(budget, figure, 1)
    with background_calls(wait_seconds=0.0):
        assert await_turn(account=fresh_account(), mode="test", endpoint="get customers")


def test_a_429_slows_the_account_down_for_a_while(budget: Any) -> None:
    account, other = fresh_account(), fresh_account()
    calls_within(0.5, account)
    for _ in range(4):
        slow_down(account=account, mode="test")
    assert calls_within(1.0, account) <= 4
    assert calls_within(0.5, other) >= 4


def test_stripes_429_is_noticed(shop: Shop, budget: Any) -> None:
    shop.fault("GET /v1/customers", "status:429:global-rate", times=3)
    account = stripe_account(shop.project.pk, "test")
    for _ in range(3):
        with pytest.raises(StripeRateLimited):
            account.list("customers")
    calls_within(0.5, account.account_id)
    assert calls_within(1.0, account.account_id) <= 5


def test_what_the_library_repeats_by_itself_counts_too(shop: Shop, budget: Any) -> None:
    budget.STRIPE_CALLS_PER_SECOND_TEST, budget.STRIPE_MAX_NETWORK_RETRIES = 1, 2
    shop.fault("GET /v1/customers", "status:500", times=2)
    account = stripe_account(shop.project.pk, "test")
    account.list("customers")
    assert len(shop.requests("/v1/customers")) == 3
    held = redis.Redis.from_url(budget.REDIS_URL).hget(f"stripe-budget:{{{account.account_id}:test}}", "calls")
    # One call at once and half a second on top: three within two seconds leave it in debt.
    assert held is not None and float(held) < -0.2


def test_without_redis_the_process_counts_alone(budget: Any) -> None:
    budget.REDIS_URL = "redis://127.0.0.1:9/0"
    account = fresh_account()
    assert 3 <= calls_within(0.1, account) <= 6
    assert 4 <= calls_within(1.0, account) <= 10


def test_zero_means_any_number(budget: Any) -> None:
    budget.STRIPE_CALLS_PER_SECOND_TEST = 0
    assert calls_within(0.05, fresh_account()) > 20
