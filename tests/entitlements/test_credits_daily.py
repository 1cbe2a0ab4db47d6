"""Daily credits: given lazily, once per UTC day, by the plan that holds then; at midnight only what is left of them goes."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import time_machine

from entitlements.models import Plan
from entitlements.services import ledger
from notifications.models import OutboxRow
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.credits import (
    CREDITS,
    DAY,
    NOON,
    assert_ledger_holds,
    available,
    give,
    hold,
    kinds,
    spend,
    together,
    transactions_of,
    wallet_of,
)
from tests.entitlements.tokens import Holder
from tests.payments.rows import create_plan

MIDNIGHT = dt.datetime(2026, 3, 11, tzinfo=dt.UTC)


# Works


@pytest.mark.parametrize("status", ["active", "trialing", "past_due", "incomplete"])
def test_every_entitled_status_gets_the_days_credits(acme: Project, dana: AppUser, status: str) -> None:
    """Whether a status is entitled is the access policy's: it is written into the entitlement, and nothing here asks again."""
    hold(dana, create_plan(acme, credits_per_day=30), status=status)
    assert available(dana, at=NOON) == 30
    assert spend(dana, 10, at=NOON).available == 20
    assert available(dana, at=NOON + DAY) == 30
    assert kinds(transactions_of(dana)) == [("daily", 30), ("spend", -10)]
    assert_ledger_holds(acme)


def test_the_free_plan_gives_to_those_without_a_plan(acme: Project, dana: AppUser) -> None:
    create_plan(acme, credits_per_day=10, free=True)
    hold(dana, create_plan(acme, credits_per_day=100), active=False, status="canceled")
    assert spend(dana, 4, at=NOON).available == 6
    hold(dana, None, active=True, status="active")
    assert available(dana, at=NOON) == 6, "a price that is on no plan takes nothing away"


def test_at_midnight_only_the_days_credits_begin_anew(acme: Project, dana: AppUser) -> None:
    """A reset must not erase what was bought, given or comes with the period."""
    hold(dana, create_plan(acme, credits_per_day=30))
    give(dana, 100, "purchased", at=NOON)
    give(dana, 50, "bonus", at=NOON)
    give(dana, 20, "plan_periodic", at=NOON, expires_at=NOON + 30 * DAY)
    spend(dana, 12, at=NOON)
    before, after = (ledger.read_balance(**wallet_of(dana), at=at).buckets for at in (NOON, MIDNIGHT))
    assert before == {"plan_daily": 18, "plan_periodic": 20, "bonus": 50, "purchased": 100}
    assert after == {**before, "plan_daily": 30}
    assert available(dana, at=MIDNIGHT - dt.timedelta(microseconds=1)) == 188
    spend(dana, 1, at=MIDNIGHT)
    assert kinds(transactions_of(dana))[-3:] == [("expire", -18), ("daily", 30), ("spend", -1)]
    assert ledger.read_balance(**wallet_of(dana), at=MIDNIGHT).buckets == {**after, "plan_daily": 29}
    assert available(dana, at=MIDNIGHT + 3 * DAY) == 200
    assert_ledger_holds(acme)


def test_the_service_clock_moves_the_day_over_http(acme: Project, dana: AppUser, settings: Any, tmp_path: Path) -> None:
    create_plan(acme, credits_per_day=10, free=True)
    settings.CLOCK_FILE = str(tmp_path / "now")
    seen = []
    for moment in (MIDNIGHT - dt.timedelta(seconds=1), MIDNIGHT):
        Path(settings.CLOCK_FILE).write_text(moment.isoformat())
        dana.client.post(f"{CREDITS}/spend", {"amount": 3}, content_type="application/json")
        balance = dana.client.get(f"{CREDITS}/balance").json()
        seen.append((balance["available"], balance["resets_at"]))
    assert seen == [(7, "2026-03-11T00:00:00Z"), (7, "2026-03-12T00:00:00Z")]


def test_a_better_plan_gives_the_difference_on_the_same_day_once(acme: Project, dana: AppUser) -> None:
    create_plan(acme, credits_per_day=10, free=True)
    maker, pro = create_plan(acme, credits_per_day=30), create_plan(acme, credits_per_day=100)
    spend(dana, 8, at=NOON)
    for plan in (maker, pro, maker, pro):
        hold(dana, plan)
        spend(dana, 1, at=NOON)
    assert available(dana, at=NOON) == 100 - 12
    assert sum(row.amount for row in transactions_of(dana, kind="daily")) == 100
    assert available(dana, at=NOON + DAY) == 100
    assert_ledger_holds(acme)


def test_a_smaller_plan_within_the_day_ends_what_it_does_not_give(acme: Project, dana: AppUser) -> None:
    small, large = create_plan(acme, credits_per_day=30), create_plan(acme, credits_per_day=500)
    subscription = Holder(dana)

    def moves(plan: Plan, since: dt.datetime = NOON) -> int:
        with time_machine.travel(since, tick=False):
            subscription.buys(plan, since=NOON, subscription="sub_daily")
            return available(dana, at=since)

    give(dana, 50, "bonus", at=NOON)
    assert (moves(small), moves(large)) == (80, 550)
    spend(dana, 1, at=NOON)
    assert (moves(large), moves(small), moves(small), moves(large), moves(small)) == (549, 79, 79, 549, 79)
    spend(dana, 29, at=NOON)
    assert (moves(small), moves(large)) == (50, 520)
    spend(dana, 300, at=NOON)
    assert (moves(small), moves(large)) == (50, 220), "only what is unspent ends, and only that comes back"
    assert available(dana, at=MIDNIGHT) == 550
    assert_ledger_holds(acme)


# Refuses


def test_a_plan_that_does_not_hold_gives_nothing(acme: Project, dana: AppUser) -> None:
    create_plan(acme, credits_per_day=10, free=True, archived=True)
    plan = create_plan(acme, credits_per_day=30)
    hold(dana, plan, active=False)
    assert available(dana, at=NOON) == 0
    hold(dana, plan, active=True, active_until=NOON)
    assert (available(dana, at=NOON - dt.timedelta(seconds=1)), available(dana, at=NOON)) == (30, 0)


def test_a_refused_spend_gives_no_daily_credits(acme: Project, dana: AppUser) -> None:
    hold(dana, create_plan(acme, credits_per_day=30))
    with pytest.raises(ledger.InsufficientCredits) as refused:
        spend(dana, 31, at=NOON)
    assert (refused.value.available, transactions_of(dana)) == (30, [])


# Edge


def test_daily_credits_that_run_out_are_told_to_nobody_and_others_are(acme: Project, dana: AppUser) -> None:
    """They come back at midnight: a mail a day would be noise."""
    hold(dana, create_plan(acme, credits_per_day=10))
    assert not any(spend(dana, 5, at=NOON).made_low for _ in range(2))
    give(dana, 6, "bonus", at=NOON)
    assert [spend(dana, 1, at=NOON).made_low for _ in range(3)] == [False, True, False]
    assert not spend(dana, 10, at=MIDNIGHT).made_low
    told = OutboxRow.objects.for_project(acme).filter(kind="app_event")
    assert [(row.payload["type"], row.payload["data"]["available"]) for row in told] == [("credits.low", 4)]


# Race


def test_ten_first_spends_of_a_day_give_its_credits_once(acme: Project, dana: AppUser) -> None:
    hold(dana, create_plan(acme, credits_per_day=30))
    results = together(*[lambda: spend(dana, 4, at=NOON)] * 10)
    assert sum(isinstance(one, ledger.Posted) for one in results) == 7
    assert [row.amount for row in transactions_of(dana, kind="daily")] == [30]
    assert available(dana, at=NOON) == 2
    assert_ledger_holds(acme)


# Replay


def test_a_clock_that_goes_back_over_midnight_gives_no_second_day(acme: Project, dana: AppUser) -> None:
    hold(dana, create_plan(acme, credits_per_day=30))
    spend(dana, 1, at=MIDNIGHT)
    spend(dana, 1, at=MIDNIGHT - dt.timedelta(seconds=1))
    spend(dana, 1, at=MIDNIGHT + dt.timedelta(seconds=1))
    assert [row.amount for row in transactions_of(dana, kind="daily")] == [30]
    assert_ledger_holds(acme)
