"""Which budget somebody has: once per purchase and renewal, raised by an upgrade, by the month on the free plan."""

import datetime as dt
import threading
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction

from entitlements.models import Plan, TokenUse
from entitlements.services.holdings import give_plan
from entitlements.services.token_budget import TokenBudgetExceeded, consume_tokens, read_budget
from entitlements.services.token_periods import current_period
from entitlements.services.token_store import forget_account
from projects.models import Project
from tests.builders import run_all, waits_for_the_other
from tests.cast import AppServer, AppUser
from tests.entitlements.tokens import MONTH, PATH, START, Holder, create_plan, figures

pytestmark = pytest.mark.usefixtures("patient_redis")


@pytest.fixture
def holder(dana: AppUser) -> Holder:
    """Dana in test mode."""
    return Holder(dana)


def clock_of(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def test_a_purchase_gives_the_whole_budget_once_and_a_renewal_once_more(acme: Project, holder: Holder) -> None:
    plan = create_plan(acme, "million", 1_000_000)
    subscription = holder.buys(plan)
    assert holder.budget() == {
        "limit": 1_000_000, "used": 0, "reserved": 0, "remaining": 1_000_000, "period_start": "2026-11-01T00:00:00Z",
        "period_end": "2026-12-01T00:00:00Z", "exact": True,
    }  # fmt: skip
    consume_tokens(**holder.keys, tokens=400)
    # The same purchase told again by another event changes nothing.
    holder.buys(plan, subscription=subscription, status="trialing")
    assert figures(read_budget(**holder.keys)) == (1_000_000, 400, 0)
    # The next period has begun, and is not paid yet.
    holder.buys(plan, subscription=subscription, since=START + MONTH, granted_period_start=START)
    waiting = read_budget(**holder.keys)
    assert (*figures(waiting), waiting.ends_unix) == (1_000_000, 400, 0, int((START + MONTH).timestamp()))
    # Two events bring the renewal, one of them twice; tokens are spent between them.
    for status in ("active", "past_due", "active"):
        holder.buys(plan, subscription=subscription, since=START + MONTH, status=status)
        consume_tokens(**holder.keys, tokens=10)
    assert figures(read_budget(**holder.keys)) == (1_000_000, 30, 0)
    # What comes late about the period before takes nothing away and gives nothing.
    holder.buys(plan, subscription=subscription, since=START)
    assert figures(read_budget(**holder.keys)) == (1_000_000, 30, 0)
    assert [period.key for period in holder.periods.order_by("starts_at")] == [
        f"{subscription}:{int(START.timestamp())}", f"{subscription}:{int((START + MONTH).timestamp())}",
    ]  # fmt: skip


def test_a_change_of_plan_changes_the_limit_at_once_and_what_is_used_stays_used(acme: Project, holder: Holder) -> None:
    small, great = create_plan(acme, "small", 100, rank=1), create_plan(acme, "great", 1000, rank=2)
    boundless = create_plan(acme, "boundless", None, rank=3)
    subscription = holder.buys(small)
    consume_tokens(**holder.keys, tokens=90)
    holder.buys(great, subscription=subscription)
    assert figures(read_budget(**holder.keys)) == (1000, 90, 0)
    consume_tokens(**holder.keys, tokens=110)
    holder.buys(small, subscription=subscription)
    lowered = read_budget(**holder.keys)
    assert (figures(lowered), lowered.remaining) == ((100, 200, 0), 0)
    assert holder.post("consume", {"tokens": 1}).status_code == 429
    holder.buys(great, subscription=subscription)
    assert read_budget(**holder.keys).remaining == 800, (
        "to and fro brings nothing, and takes nothing that is paid for again"
    )
    holder.buys(small, subscription=subscription, since=START + MONTH)
    assert figures(read_budget(**holder.keys)) == (100, 0, 0)
    holder.buys(boundless, subscription=subscription, since=START + MONTH)
    assert consume_tokens(**holder.keys, tokens=10**12).remaining is None
    assert holder.budget()["limit"] is None and holder.budget()["used"] == 10**12
    holder.buys(small, subscription=subscription, since=START + MONTH)
    assert (read_budget(**holder.keys).limit, holder.post("consume", {"tokens": 1}).status_code) == (100, 429)
    # A plan that is edited takes nothing away in the period that it was bought for, also when the period's end moves.
    Plan.objects.filter(pk=small.pk).update(token_budget=50)
    small.refresh_from_db()
    holder.buys(small, subscription=subscription, since=START + MONTH, period_end=START + 3 * MONTH)
    assert read_budget(**holder.keys).limit == 100


def test_without_a_limit_counting_still_ends_where_it_would_not_be_exact(acme: Project, holder: Holder) -> None:
    holder.buys(create_plan(acme, "boundless", None))
    consume_tokens(**holder.keys, tokens=7)
    TokenUse.objects.create(
        project=acme,
        mode="test",
        period=holder.periods.get(),
        era="before",
        used_tokens=2**53 - 20,
        journalled_at=START,
    )
    forget_account(**holder.keys)
    refused = holder.post("consume", {"tokens": 13})
    assert (refused.status_code, refused.json()["required"]) == (429, 13)
    assert holder.post("consume", {"tokens": 12}).json()["used"] == 2**53 - 1


def test_a_price_on_no_plan_takes_nothing_away(acme: Project, holder: Holder) -> None:
    subscription = holder.buys(create_plan(acme, "maker", 500))
    consume_tokens(**holder.keys, tokens=20)
    holder.buys(None, subscription=subscription)
    assert figures(read_budget(**holder.keys)) == (500, 20, 0)
    holder.buys(None, subscription=subscription, since=START + MONTH)
    assert figures(read_budget(**holder.keys)) == (500, 0, 0)


def test_without_a_plan_the_free_one_gives_a_budget_for_each_calendar_month(acme: Project, holder: Holder) -> None:
    with time_machine.travel(clock_of("2027-01-31T23:59:50"), tick=False) as clock:
        assert figures(read_budget(**holder.keys)) == (0, 0, 0)
        create_plan(acme, "free", 50, free=True)
        forget_account(**holder.keys)
        with pytest.raises(TokenBudgetExceeded) as refused:
            consume_tokens(**holder.keys, tokens=51)
        assert refused.value.retry_after_seconds == 11
        assert consume_tokens(**holder.keys, tokens=50).remaining == 0
        paid = create_plan(acme, "paid", 1000)
        holder.buys(paid, since=clock_of("2027-01-31"))
        assert figures(read_budget(**holder.keys)) == (1000, 0, 0)
        # Cancelled: back in the free month, of which everything is used.
        holder.ends()
        assert figures(read_budget(**holder.keys)) == (50, 50, 0)
        clock.shift(20)
        # The new month begins by itself, with the first call in it.
        budget = read_budget(**holder.keys)
        assert (*figures(budget), budget.starts_unix) == (50, 0, 0, int(clock_of("2027-02-01").timestamp()))
    assert holder.periods.filter(key__startswith="free:").count() == 2


def test_the_end_of_a_grace_is_the_end_of_the_paid_budget_without_any_event(acme: Project, holder: Holder) -> None:
    create_plan(acme, "free", 5, free=True)
    until = START + dt.timedelta(days=3)
    with time_machine.travel(START + dt.timedelta(days=1), tick=False) as clock:
        holder.buys(create_plan(acme, "paid", 100), status="past_due", active_until=until)
        assert read_budget(**holder.keys).limit == 100
        clock.move_to(until)
        assert read_budget(**holder.keys).limit == 5


def test_a_paid_budget_stays_after_its_period_until_the_renewal_is_known(acme: Project, holder: Holder) -> None:
    with time_machine.travel(START + MONTH + dt.timedelta(hours=1), tick=False):
        holder.buys(create_plan(acme, "paid", 100))
        consume_tokens(**holder.keys, tokens=99)
        with pytest.raises(TokenBudgetExceeded) as refused:
            consume_tokens(**holder.keys, tokens=2)
        assert refused.value.body()["retry_after"] == 60 and refused.value.body()["available"] == 1


def test_a_plan_given_by_hand_counts_by_the_month(acme: Project, holder: Holder) -> None:
    create_plan(acme, "free", 5, free=True)
    with transaction.atomic():
        give_plan(**holder.keys, plan=create_plan(acme, "staff", 300, internal=True), cause="test")
    assert read_budget(**holder.keys).limit == 300
    assert holder.periods.get().key.startswith("hand:")


def test_modes_and_users_have_budgets_of_their_own(acme: Project, dana: AppUser, erin: AppUser) -> None:
    plan = create_plan(acme, "million", 100)
    test, live, other = Holder(dana), Holder(dana, "live"), Holder(erin)
    test.buys(plan)
    consume_tokens(**test.keys, tokens=60)
    assert [one.budget()["limit"] for one in (live, other)] == [0, 0]
    assert live.post("consume", {"tokens": 1}).status_code == 429
    live.buys(plan)
    assert [one.budget()["remaining"] for one in (test, live)] == [40, 100]


def test_a_server_reads_and_uses_the_budget_of_whom_it_names(
    acme: Project, holder: Holder, acme_server: AppServer, acme_live_server: AppServer, other_server: AppServer
) -> None:
    holder.buys(create_plan(acme, "million", 100))
    body = {"user_id": holder.user.user_id, "tokens": 30}
    used = acme_server.client.post(f"{PATH}/consume", body, content_type="application/json")
    assert (used.status_code, used.json()["remaining"]) == (200, 70)
    query = f"?user_id={holder.user.user_id}"
    assert acme_server.client.get(f"{PATH}/budget{query}").json()["used"] == 30
    assert acme_live_server.client.get(f"{PATH}/budget{query}").json()["limit"] == 0
    assert other_server.client.get(f"{PATH}/budget{query}").json()["limit"] == 0
    unnamed = acme_server.client.post(f"{PATH}/consume", {"tokens": 1}, content_type="application/json")
    assert (unnamed.status_code, unnamed.json()["detail"][0]["loc"]) == (422, ["body", "user_id"])
    # A user's own token names nobody else.
    assert holder.post("consume", {"tokens": 1, "user_id": "somebody"}).status_code == 404
    assert figures(read_budget(**holder.keys)) == (100, 30, 0)


def test_many_events_at_once_grant_a_renewal_once(acme: Project, holder: Holder) -> None:
    plan = create_plan(acme, "million", 1000)
    subscription = holder.buys(plan)
    results: list[Any] = []

    def renew(number: int) -> None:
        holder.buys(plan, subscription=subscription, since=START + MONTH, quantity=number + 1)
        results.append(consume_tokens(**holder.keys, tokens=5).limit)
        connection.close()

    run_all([threading.Thread(target=renew, args=[number]) for number in range(8)])
    assert results == [1000] * 8
    assert figures(read_budget(**holder.keys)) == (1000, 40, 0)
    assert holder.periods.count() == 2


def test_a_month_that_many_begin_at_once_is_one(acme: Project, holder: Holder) -> None:
    create_plan(acme, "free", 100, free=True)
    periods: list[Any] = []
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait()
        periods.append(current_period(**holder.keys).id)
        connection.close()

    run_all([threading.Thread(target=begin) for _ in range(8)])
    assert len(periods) == 8 and len(set(periods)) == 1
    assert holder.periods.get().limit_tokens == 100


def test_who_begins_a_month_beside_another_has_the_others(acme: Project, holder: Holder) -> None:
    create_plan(acme, "free", 100, free=True)

    def begin() -> Any:
        return current_period(**holder.keys).id

    found = waits_for_the_other(begin, begin, table="INSERT INTO entitlements_tokenperiod")
    assert found == holder.periods.get().pk
