"""The credits of a plan's period: once per subscription and period, gone at its end or with the plan, and nothing else goes."""

import datetime as dt
from typing import Any

from entitlements.models import Entitlement, Plan
from entitlements.services import ledger
from entitlements.services.plan_credits import follow_plan
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.credits import (
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
from tests.payments.rows import create_plan

MONTH = 30 * DAY


def in_period(user: AppUser, plan: Plan, number: int = 0, *, paid: bool = True, **fields: Any) -> Entitlement:
    """Put a user into a period of a plan; an unpaid one follows a paid one."""
    begin = NOON + number * MONTH
    granted = begin if paid else begin - MONTH
    return hold(
        user, plan, **{"period_start": begin, "period_end": begin + MONTH, "granted_period_start": granted} | fields
    )


# Works


def test_each_paid_period_gives_its_credits_once_though_two_events_arrive(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500, name="Pro")
    row = in_period(dana, plan)
    for _ in range(2):
        follow_plan(row, plan, NOON)
    plan.credits_per_period = 600
    follow_plan(row, plan, NOON + DAY)
    assert [(one.kind, one.amount, one.description) for one in transactions_of(dana)] == [("grant", 500, "Pro")]
    spend(dana, 120, at=NOON + DAY)
    assert (available(dana, at=NOON + MONTH - DAY), available(dana, at=NOON + MONTH)) == (380, 0)
    following = in_period(dana, plan, 1)
    for _ in range(2):
        follow_plan(following, plan, NOON + MONTH + DAY)
    assert kinds(transactions_of(dana))[2:] == [("expire", -380), ("grant", 600)]
    assert available(dana, at=NOON + MONTH + DAY) == 600
    assert_ledger_holds(acme)


def test_when_the_plan_ends_its_credits_go_and_what_was_bought_stays(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500)
    follow_plan(in_period(dana, plan), plan, NOON)
    give(dana, 70, at=NOON)
    give(dana, 5, "bonus", at=NOON)
    held = ledger.reserve_credits(**wallet_of(dana), amount=10, key="r", at=NOON, ttl_seconds=86_400)
    ended = in_period(dana, plan, active=False, status="canceled")
    for _ in range(2):
        follow_plan(ended, None, NOON + dt.timedelta(hours=1))
    later = NOON + dt.timedelta(hours=2)
    assert ledger.read_balance(**wallet_of(dana), at=later).buckets == {
        "plan_daily": 0, "plan_periodic": 0, "bonus": 5, "purchased": 70,
    }  # fmt: skip
    ledger.release_reservation(**wallet_of(dana), reservation_id=held.reservation_id, key="f", at=later)
    assert available(dana, at=later) == 75
    assert_ledger_holds(acme)


def test_when_the_same_period_holds_again_what_its_end_took_comes_back_once(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500)
    hour = dt.timedelta(hours=1)

    def turn(moment: dt.datetime, *, on: bool) -> None:
        # Each event comes twice.
        for _ in range(2):
            follow_plan(in_period(dana, plan, active=on), plan if on else None, moment)

    def reserve(amount: int, key: str) -> dict[str, Any]:
        held = ledger.reserve_credits(**wallet_of(dana), amount=amount, key=key, at=NOON, ttl_seconds=86_400)
        return wallet_of(dana) | {"reservation_id": held.reservation_id, "key": f"{key}-end"}

    turn(NOON, on=True)
    give(dana, 70, at=NOON)
    spend(dana, 100, at=NOON)
    released, committed, kept = reserve(40, "r"), reserve(30, "c"), reserve(20, "k")
    turn(NOON + hour, on=False)
    assert available(dana, at=NOON + hour) == 70
    ledger.release_reservation(**released, at=NOON + hour)
    ledger.commit_reservation(**committed, amount=25, at=NOON + hour)
    assert available(dana, at=NOON + hour) == 70
    turn(NOON + 2 * hour, on=True)
    # 500, less 100 spent, 25 committed, and 20 that are reserved still.
    assert available(dana, at=NOON + 2 * hour) == 70 + 355
    assert kinds(transactions_of(dana))[-1] == ("grant", 355)
    ledger.release_reservation(**kept, at=NOON + 2 * hour)
    spend(dana, 5, at=NOON + 2 * hour)
    assert available(dana, at=NOON + 2 * hour) == 70 + 370
    turn(NOON + 3 * hour, on=False)
    turn(NOON + 4 * hour, on=True)
    backs = transactions_of(dana, details__has_key="gives_back")
    assert [(row.amount, row.key.rpartition(":back:")[2]) for row in backs] == [(355, "1"), (370, "2")]
    assert (available(dana, at=NOON + MONTH - hour), available(dana, at=NOON + MONTH)) == (440, 70)
    assert_ledger_holds(acme)


def test_credits_of_a_period_that_is_over_or_anothers_do_not_come_back(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500)
    follow_plan(in_period(dana, plan), plan, NOON)
    follow_plan(in_period(dana, plan, active=False), None, NOON + DAY)
    follow_plan(in_period(dana, plan), plan, NOON + MONTH)
    assert available(dana, at=NOON + MONTH) == 0
    follow_plan(in_period(dana, plan, 1), plan, NOON + MONTH)
    spend(dana, 200, at=NOON + MONTH)
    follow_plan(in_period(dana, plan, 1, active=False), None, NOON + MONTH)
    follow_plan(in_period(dana, plan, 1, subscription_id="sub_2"), plan, NOON + MONTH + DAY)
    assert available(dana, at=NOON + MONTH + DAY) == 500
    assert transactions_of(dana, details__has_key="gives_back") == []
    assert_ledger_holds(acme)


# Refuses


def test_no_credits_for_a_period_that_is_not_paid_or_over_or_for_a_plan_without(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500)
    follow_plan(in_period(dana, plan, granted_period_start=None), plan, NOON)
    follow_plan(in_period(dana, plan), plan, NOON + MONTH)
    follow_plan(in_period(dana, plan), create_plan(acme), NOON)
    follow_plan(in_period(dana, plan, 1, paid=False), plan, NOON + MONTH + DAY)
    assert transactions_of(dana) == []


# Race


def test_two_events_at_once_give_back_once(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500)
    follow_plan(in_period(dana, plan), plan, NOON)
    follow_plan(in_period(dana, plan, active=False), None, NOON + DAY)
    row = in_period(dana, plan)
    assert together(*[lambda: follow_plan(row, plan, NOON + DAY)] * 6) == [None] * 6
    assert kinds(transactions_of(dana)) == [("grant", 500), ("expire", -500), ("grant", 500)]
    assert_ledger_holds(acme)


def test_two_events_at_once_give_one_periods_credits(acme: Project, dana: AppUser) -> None:
    plan = create_plan(acme, credits_per_period=500)
    row = in_period(dana, plan)
    assert together(*[lambda: follow_plan(row, plan, NOON)] * 6) == [None] * 6
    assert kinds(transactions_of(dana)) == [("grant", 500)]
    assert_ledger_holds(acme)
