"""A plan that changes, stops or is tried within a paid period: what was included stays so, once, and what was owed stays owed."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from common import clock
from entitlements.models import Entitlement, UsagePeriod
from entitlements.services.overage import close_ended_periods
from entitlements.services.quotas import plain
from entitlements.services.usage import UsageReport, report_usage
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.bills import charges
from tests.entitlements.metering import MONTH, differences, event, hold, overlaps, plan_with, report, summary
from tests.payments.shop import at_once

START = dt.datetime(2026, 11, 3, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
SMALL = {"searches": {"included": 100, "block_at_percent": "never", "unit_amount": "2"}}
BIG = {"searches": {"included": 1000, "block_at_percent": "never", "unit_amount": "1"}}


def told(server: AppServer, dana: AppUser, *names: str) -> tuple[Any, ...]:
    """Read what dana is told of her searches."""
    (found,) = summary(server, dana.user_id)["meters"]
    return tuple(found[name] for name in names)


def use(server: AppServer, dana: AppUser, quantity: int) -> tuple[Any, ...]:
    """Report searches; returns what is used, included, left, beyond, and what that costs."""
    report(server, dana.user_id, event("searches", quantity))
    return told(server, dana, "used", "included", "remaining", "overage", "overage_amount_cents")


def close(time_machine: Any) -> None:
    time_machine.move_to(clock.now() + MONTH)
    close_ended_periods()


@pytest.fixture(autouse=True)
def begin(time_machine: Any) -> None:
    """A day after the period began."""
    time_machine.move_to(START + DAY)


def test_a_smaller_plan_covers_what_was_covered_when_it_was_used(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    small, big = plan_with(acme, SMALL, rank=1), plan_with(acme, BIG, rank=2)
    hold(dana.end_user, big, since=START)
    use(acme_server, dana, 600)
    hold(dana.end_user, small, since=START)
    assert told(acme_server, dana, "used", "included", "remaining", "overage") == ("600", "600", "0", "0")
    assert use(acme_server, dana, 10) == ("610", "600", "0", "10", 20)
    # Back on the larger one, the ten stay paid for, and the rest counts on.
    hold(dana.end_user, big, since=START)
    assert use(acme_server, dana, 400) == ("1010", "1000", "0", "10", 20)
    assert use(acme_server, dana, 5) == ("1015", "1000", "0", "15", 25)
    close(time_machine)
    charge = charges(acme)["searches"]
    told_last = (plain(charge.used), plain(charge.included), plain(charge.overage), charge.amount_cents)
    assert told_last == ("1015", "1000", "15", 25)


def test_a_larger_plan_leaves_owed_what_was_owed(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    small, big = plan_with(acme, SMALL, rank=1), plan_with(acme, BIG, rank=2)
    hold(dana.end_user, small, since=START)
    assert use(acme_server, dana, 150) == ("150", "100", "0", "50", 100)
    hold(dana.end_user, big, since=START)
    assert told(acme_server, dana, "included", "remaining", "overage", "overage_amount_cents", "percent") == (
        "1000",
        "900",
        "50",
        100,
        10.0,
    )
    close(time_machine)
    charge = charges(acme)["searches"]
    assert (plain(charge.overage), charge.amount_cents) == ("50", 100)
    assert charge.note == "Includes what went beyond the plan that held earlier in the period."


@pytest.mark.parametrize("closed", [False, True], ids=["at_once", "after_its_part_was_closed"])
def test_a_plan_that_comes_back_within_its_period_includes_nothing_a_second_time(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any, closed: bool
) -> None:
    plan = plan_with(acme, SMALL, rank=1)
    hold(dana.end_user, plan, since=START)
    use(acme_server, dana, 120)
    hold(dana.end_user, plan, since=START, active=False)
    time_machine.move_to(clock.now() + dt.timedelta(minutes=20))
    if closed:
        close_ended_periods()
        assert charges(acme)["searches"].overage == 20
    hold(dana.end_user, plan, since=START)
    # The twenty beyond are owed for the first part; all that is included is used.
    assert used_up(acme_server, dana) == ("100", "100", "0")
    assert use(acme_server, dana, 7) == ("107", "100", "0", "7", 14)
    close(time_machine)
    found = [(plain(one.overage), one.amount_cents) for one in acme.usage_charges.order_by("period__starts_at")]
    assert found == [("20", 40), ("7", 14)]
    # Another subscription is paid for anew.
    hold(dana.end_user, plan, since=clock.now() - DAY, subscription_id="sub_another")
    assert use(acme_server, dana, 100) == ("100", "100", "0", "0", 0)


def used_up(server: AppServer, dana: AppUser) -> tuple[Any, ...]:
    return told(server, dana, "used", "included", "remaining")


def test_a_plan_that_comes_back_gives_what_was_left(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    plan_with(acme, {"searches": 10}, free=True)
    plan = plan_with(acme, SMALL, rank=1)
    hold(dana.end_user, plan, since=START)
    use(acme_server, dana, 60)
    hold(dana.end_user, plan, since=START, active=False)
    time_machine.move_to(clock.now() + DAY)
    assert use(acme_server, dana, 3) == ("3", "10", "7", "0", 0)
    hold(dana.end_user, plan, since=START)
    assert used_up(acme_server, dana) == ("63", "100", "37")
    assert use(acme_server, dana, 40) == ("103", "100", "0", "3", 6)


def test_nothing_is_billed_beyond_a_plan_while_it_is_tried(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    plan = plan_with(acme, SMALL, rank=1)
    hold(dana.end_user, plan, since=START, until=START + 7 * DAY, status="trialing")
    assert use(acme_server, dana, 150) == ("150", "100", "0", "50", 0)
    found = summary(acme_server, dana.user_id)
    assert (found["billable"], found["overage_totals"]) == (False, [])
    time_machine.move_to(START + 7 * DAY)
    hold(dana.end_user, plan, since=START + 7 * DAY)
    time_machine.move_to(START + 8 * DAY)
    close_ended_periods()
    assert charges(acme) == {}
    assert summary(acme_server, dana.user_id)["billable"] is True
    assert use(acme_server, dana, 101) == ("101", "100", "0", "1", 2)


def test_a_trial_that_is_paid_within_its_period_owes_nothing_of_before(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    plan = plan_with(acme, SMALL, rank=1)
    entitlement: Entitlement = hold(dana.end_user, plan, since=START, status="trialing")
    use(acme_server, dana, 150)
    assert entitlement.status == "trialing"
    hold(dana.end_user, plan, since=START)
    assert use(acme_server, dana, 1) == ("151", "150", "0", "1", 2)


def test_what_was_used_before_a_purchase_is_never_billed_to_it(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    free = plan_with(acme, {"searches": 10}, free=True)
    plan = plan_with(acme, SMALL, rank=1)
    bought = START + 5 * DAY
    time_machine.move_to(bought + dt.timedelta(hours=1), tick=False)
    hold(dana.end_user, plan, since=bought)

    def reported(*times: dt.datetime) -> list[bool]:
        events = [event("searches", 500, timestamp=moment.isoformat()) for moment in times]
        return [one["late"] for one in report(acme_server, dana.user_id, *events)["events"]]

    last_month = START - 4 * DAY
    # Nobody had reported anything before: these times have no period of their own yet.
    assert reported(bought - DAY, last_month, bought + dt.timedelta(minutes=1), bought - 2 * DAY) == [False] * 4
    found = [
        (row.starts_at, row.ends_at, row.plan, row.subscription_id, row.totals.get().used)
        for row in UsagePeriod.objects.for_project(acme).order_by("starts_at")
    ]
    november = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    assert found == [
        (dt.datetime(2026, 10, 1, tzinfo=dt.UTC), november, free, "", Decimal(500)),
        (november, bought, free, "", Decimal(1000)),
        (bought, bought + MONTH, plan, "sub_usage", Decimal(500)),
    ]
    assert told(acme_server, dana, "used", "overage", "overage_amount_cents") == ("500", "400", 800)
    # Also when that period is closed already, and a repeat of it counts nothing.
    assert close_ended_periods() >= 2
    assert reported(bought - DAY) == [False]
    assert told(acme_server, dana, "used", "overage_amount_cents") == ("500", 800)
    # A period that was paid for is billed when it is over; what comes later counts in the running one.
    time_machine.move_to(bought + MONTH + DAY, tick=False)
    hold(dana.end_user, plan, since=bought + MONTH)
    close_ended_periods()
    assert reported(bought + DAY) == [True]
    assert charges(acme)["searches"].amount_cents == 800
    assert (differences(acme), overlaps(acme)) == ([], [])


def test_a_paid_period_without_reports_is_no_free_one(
    acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any
) -> None:
    plan = plan_with(acme, SMALL, rank=1)
    hold(dana.end_user, plan, since=START)
    time_machine.move_to(START + MONTH + DAY, tick=False)
    hold(dana.end_user, plan, since=START + MONTH)
    answer = report(acme_server, dana.user_id, event("searches", 5, timestamp=(START + 3 * DAY).isoformat()))
    assert answer["events"][0]["late"] is True
    assert told(acme_server, dana, "used", "late") == ("5", "5")


def test_first_reports_of_before_a_purchase_at_once_make_one_free_period(acme: Project, dana: AppUser) -> None:
    hold(dana.end_user, plan_with(acme, SMALL, rank=1), since=START + dt.timedelta(hours=12))
    whose: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk}

    def call(number: int) -> Any:
        return report_usage(**whose, reports=[UsageReport("searches", Decimal(1), f"k{number}", happened_at=START)])

    assert [(one.accepted, one.late) for outcomes in at_once(6, call) for one in outcomes] == [(True, False)] * 6
    row = UsagePeriod.objects.for_project(acme).get(subscription_id="")
    assert (row.totals.get().used, differences(acme), overlaps(acme)) == (Decimal(6), [], [])
