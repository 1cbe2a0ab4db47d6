"""Old reports of usage are folded into their totals: the sums stay exact, and nothing goes that is still to be billed."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now

from common import clock
from entitlements.models import UsageCharge, UsageEvent, UsagePeriod
from entitlements.services.overage import close_ended_periods
from entitlements.services.usage_retention import fold_old_reports
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.bills import charges
from tests.entitlements.metering import MONTH, differences, event, hold, plan_with, report, summary

DAY = dt.timedelta(days=1)
QUOTAS = {"searches": {"included": 10, "block_at_percent": "never"}}


def age(project: Project, days: int, **filters: Any) -> None:
    UsageEvent.objects.for_project(project).filter(**filters).update(received_at=Now() - dt.timedelta(days=days))


def kept(project: Project) -> list[str]:
    rows = UsageEvent.objects.for_project(project).order_by("event_key")
    return list(rows.values_list("event_key", flat=True))


@pytest.fixture
def over(acme: Project, acme_server: AppServer, dana: AppUser, time_machine: Any) -> UsagePeriod:
    """A period that is over and charged, and a report in the next one; all of it is old."""
    plan = plan_with(acme, QUOTAS)
    begun = clock.now() - 10 * DAY
    hold(dana.end_user, plan, since=begun)
    report(acme_server, dana.user_id, event("searches", "7.5", "a"), event("searches", "4.5", "b"))
    time_machine.move_to(begun + MONTH + DAY)
    hold(dana.end_user, plan, since=begun + MONTH)
    report(acme_server, dana.user_id, event("searches", 1, "c"))
    close_ended_periods()
    assert charges(acme)["searches"].amount_cents == 2
    age(acme, 91)
    return UsagePeriod.objects.for_project(acme).order_by("starts_at")[0]


def test_what_is_billed_is_folded_and_sums_stay(
    acme: Project, acme_server: AppServer, dana: AppUser, over: UsagePeriod, settings: Any
) -> None:
    assert settings.USAGE_EVENT_RETENTION_DAYS == 90
    fold_old_reports()
    assert kept(acme) == ["a", "b", "c"], "its charge waits to be billed"
    UsageCharge.objects.for_project(acme).update(status="billed")
    age(acme, 89, event_key="b")
    before = summary(acme_server, dana.user_id)
    fold_old_reports(batch=1)
    # One that is young enough stays, and so does what counts in the running period.
    assert kept(acme) == ["b", "c"]
    total = over.totals.get()
    assert (total.used, total.events, total.folded_used, total.folded_events) == (Decimal(12), 2, Decimal("7.5"), 1)
    age(acme, 91)
    for _ in range(2):
        fold_old_reports()
    total.refresh_from_db()
    assert (kept(acme), total.used, total.folded_used, total.folded_events) == (["c"], Decimal(12), Decimal(12), 2)
    assert summary(acme_server, dana.user_id) == before
    assert differences(acme) == []
    assert [str(one) for one in check_invariants(project_id=acme.pk, only="I6")] == []


def test_a_folded_total_that_is_not_the_sum_is_still_found(acme: Project, over: UsagePeriod) -> None:
    UsageCharge.objects.for_project(acme).update(status="waived")
    fold_old_reports()
    over.totals.update(used=13)
    assert len(differences(acme)) == 1


def test_a_report_that_is_sent_again_counts_once_as_long_as_it_may_be_sent(
    acme: Project, acme_server: AppServer, dana: AppUser, over: UsagePeriod, settings: Any
) -> None:
    settings.USAGE_EVENT_RETENTION_DAYS = 36
    UsageCharge.objects.for_project(acme).update(status="billed")
    age(acme, 35)
    fold_old_reports()
    assert report(acme_server, dana.user_id, event("searches", "7.5", "a"))["duplicates"] == 1
    assert kept(acme) == ["a", "b", "c"]
