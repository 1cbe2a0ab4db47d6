"""Who has access, and until when."""

import datetime as dt
from typing import Any

import pytest

from entitlements.models import Plan
from payments.models import BillingPolicy, Subscription
from payments.models.billing import STATUS_PRECEDENCE
from payments.services.access import AccessPolicy, access_of
from projects.models import Project

pytestmark = pytest.mark.no_db

NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def subscription(status: str, **fields: Any) -> Subscription:
    defaults = {"current_period_start": NOW - DAY, "current_period_end": NOW + 29 * DAY}
    return Subscription(status=status, **{**defaults, **fields})


@pytest.mark.parametrize("status", STATUS_PRECEDENCE)
def test_only_active_trialing_and_past_due_within_grace_give_access(status: str) -> None:
    assert access_of(subscription(status), NOW).plan_active is (status in ("active", "trialing", "past_due"))


@pytest.mark.parametrize(
    ("since", "active"),
    [(NOW, True), (NOW - 3 * DAY + dt.timedelta(seconds=1), True), (NOW - 3 * DAY, False), (NOW - 30 * DAY, False)],
)
def test_grace_lasts_three_days_from_the_first_failure(since: dt.datetime, active: bool) -> None:
    access = access_of(subscription("past_due", past_due_since=since), NOW)
    assert (access.plan_active, access.plan_expires) == (active, since + 3 * DAY)


def test_grace_without_a_recorded_failure_counts_from_the_period_that_was_not_paid() -> None:
    row = subscription("past_due", current_period_start=NOW - 2 * DAY)
    assert access_of(row, NOW).plan_expires == NOW + DAY
    assert not access_of(row, NOW + 2 * DAY).plan_active
    assert not access_of(subscription("past_due", current_period_start=None), NOW).plan_active


def test_a_plan_expires_with_its_period_or_with_its_cancellation_if_that_is_sooner() -> None:
    assert access_of(subscription("active"), NOW).plan_expires == NOW + 29 * DAY
    assert access_of(subscription("active", cancel_at=NOW + 5 * DAY), NOW).plan_expires == NOW + 5 * DAY
    assert access_of(subscription("active", cancel_at=NOW + 90 * DAY), NOW).plan_expires == NOW + 29 * DAY
    assert access_of(subscription("active", current_period_end=None), NOW).plan_expires is None


def test_a_late_webhook_does_not_lock_out_an_active_subscription() -> None:
    row = subscription("active", current_period_end=NOW - dt.timedelta(hours=1))
    assert access_of(row, NOW).plan_active


def test_what_ended_says_when() -> None:
    ended = subscription("canceled", ended_at=NOW - DAY, canceled_at=NOW - 5 * DAY)
    assert access_of(ended, NOW).plan_expires == NOW - DAY
    assert access_of(subscription("canceled", canceled_at=NOW - 5 * DAY), NOW).plan_expires == NOW - 5 * DAY
    assert access_of(subscription("incomplete"), NOW).plan_expires is None


def test_a_policy_decides_which_statuses_count_and_how_long_grace_is() -> None:
    policy = AccessPolicy(entitled_statuses=("active", "incomplete"), grace=DAY)
    assert access_of(subscription("incomplete"), NOW, policy=policy).plan_active
    assert not access_of(subscription("trialing"), NOW, policy=policy).plan_active
    past_due = subscription("past_due", past_due_since=NOW - DAY)
    assert not access_of(past_due, NOW, policy=policy).plan_active


@pytest.mark.parametrize("status", STATUS_PRECEDENCE)
def test_what_was_taken_away_gives_no_access_whatever_the_status(status: str) -> None:
    taken = NOW - dt.timedelta(hours=2)
    access = access_of(subscription(status, access_revoked_at=taken, past_due_since=NOW), NOW)
    assert (access.plan_active, access.plan_expires) == (False, taken)


def test_what_ended_before_it_was_taken_away_expired_at_its_end() -> None:
    ended = subscription("canceled", ended_at=NOW - 2 * DAY, access_revoked_at=NOW - DAY)
    assert access_of(ended, NOW).plan_expires == NOW - 2 * DAY


def test_the_projects_policy_counts_unless_another_is_given() -> None:
    project = Project()
    project.billing_policy = BillingPolicy(project=project, entitled_statuses=["active", "incomplete"], grace_hours=1)
    rows = {status: subscription(status, project=project) for status in ("active", "trialing", "incomplete")}
    assert {status: access_of(row, NOW).plan_active for status, row in rows.items()} == {
        "active": True, "trialing": False, "incomplete": True,
    }  # fmt: skip
    late = subscription("past_due", project=project, past_due_since=NOW - DAY)
    assert not access_of(late, NOW).plan_active
    assert access_of(late, NOW, policy=AccessPolicy()).plan_active


def test_no_grace_ends_access_with_the_first_failure() -> None:
    row = subscription("past_due", past_due_since=NOW)
    assert not access_of(row, NOW, policy=AccessPolicy(grace=dt.timedelta(0))).plan_active


def test_the_plan_is_named_whether_it_is_active_or_not() -> None:
    plan = Plan(code="maker", name="Maker")
    access = access_of(subscription("canceled", plan=plan), NOW)
    assert (access.plan_name, access.plan_code, access.plan_active) == ("Maker", "maker", False)
    bare = access_of(subscription("active"), NOW)
    assert (bare.plan_name, bare.plan_code) == (None, None)
