"""A plan that changes, stops or is tried within a paid period: what was included stays so, once, and what was owed stays owed."""

import datetime as dt
from typing import Any

import pytest

from common import clock
from entitlements.models import Entitlement
from entitlements.services.overage import close_ended_periods
from entitlements.services.quotas import plain
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.bills import charges
from tests.entitlements.metering import MONTH, event, hold, plan_with, report, summary

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
