"""The admin's pages about metered usage: meters and quotas are changed by a project's developers, usage by nobody."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from common import clock
from entitlements.models import Meter, PlanQuota, UsageCharge, UsageEvent, UsagePeriod
from projects.models import Project, Role
from tests.admin.test_payments_pages import sign_in, url
from tests.entitlements.metering import plan_with
from tests.payments.actors import create_project
from tests.payments.rows import create_end_user, create_plan

MODELS = [Meter, PlanQuota, UsagePeriod, UsageEvent, UsageCharge]
LOOKED_AT = [UsagePeriod, UsageEvent, UsageCharge]


def rows_of_usage(project: Project) -> dict[Any, Any]:
    """Make a row of every kind."""
    plan = plan_with(project, {"searches": 10})
    meter, user, now = Meter.objects.for_project(project).get(), create_end_user(project), clock.now()
    whose = {"project": project, "mode": "test", "end_user": user}
    period = UsagePeriod.objects.create(**whose, starts_at=now - dt.timedelta(days=3), ends_at=now, plan=plan)
    period.totals.create(project=project, mode="test", meter=meter, used=Decimal("12.5"), events=1)
    event = UsageEvent.objects.create(
        **whose,
        event_key="<script>alert(1)</script>",
        meter=meter,
        period=period,
        quantity=Decimal("12.5"),
        happened_at=now,
    )
    charge = UsageCharge.objects.create(
        **whose, period=period, meter=meter, used=Decimal("12.5"), included=Decimal(10), overage=Decimal("2.5"),
        unit_amount=Decimal(1), amount_cents=3, currency="usd", method="invoice_item",
    )  # fmt: skip
    return {Meter: meter, PlanQuota: plan.quotas.get(), UsagePeriod: period, UsageEvent: event, UsageCharge: charge}


@pytest.fixture(scope="module")
def worlds(run_database: str, django_db_blocker: Any) -> tuple[tuple[Project, dict[Any, Any]], ...]:
    with django_db_blocker.unblock():
        projects = create_project("Acme"), create_project("Other")
        return tuple((project, rows_of_usage(project)) for project in projects)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_pages_open_for_those_who_may_look_and_show_their_own_rows_only(worlds: Any, model: Any) -> None:
    (mine, rows), (_, others) = worlds
    page = url(model, "change", rows[model].pk)
    for client, addresses in (
        (sign_in(superuser=True), [url(model, "changelist") + "?q=a", page]),
        (sign_in(group="Support"), [url(model, "changelist")]),
        (sign_in(project=mine, role=Role.VIEWER), [page]),
    ):
        for address in addresses:
            answer = client.get(address)
            assert answer.status_code == 200, address
            assert "<script>alert(1)" not in answer.content.decode()
    developer = sign_in(project=mine, role=Role.DEVELOPER)
    html = developer.get(url(model, "changelist")).content.decode()
    assert f"/{rows[model].pk}/change/" in html
    assert f"/{others[model].pk}/change/" not in html
    assert developer.get(url(model, "change", others[model].pk)).status_code in (302, 403)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_usage_is_changed_by_nobody_and_meters_only_by_developers(worlds: Any, model: Any) -> None:
    (mine, rows), _ = worlds
    refused = [sign_in(group="Support"), sign_in(project=mine, role=Role.VIEWER)]
    if model in LOOKED_AT:
        refused += [sign_in(superuser=True), sign_in(project=mine, role=Role.OWNER)]
    for client in refused:
        assert client.post(url(model, "change", rows[model].pk), {}).status_code == 403
        assert client.post(url(model, "add"), {}).status_code == 403
        assert client.post(url(model, "delete", rows[model].pk), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=rows[model].pk).exists()


def test_a_developer_makes_a_meter_and_a_quota_of_their_own_project(worlds: Any) -> None:
    (mine, _), (theirs, others) = worlds
    plan, client = create_plan(mine), sign_in(project=mine, role=Role.DEVELOPER)
    fields = {
        "project": mine.pk,
        "code": "pages",
        "name": "Pages",
        "unit": "page",
        "unit_amount": "2.5",
        "currency": "USD",
    }
    assert client.post(url(Meter, "add"), fields | {"active": "on"}).status_code == 302
    meter = Meter.objects.for_project(mine).get(code="pages")
    assert (meter.unit_amount, meter.currency) == (Decimal("2.5"), "usd")
    quota = {"project": mine.pk, "plan": plan.pk, "meter": meter.pk, "included": "5", "block_at_percent": "100"}
    assert client.post(url(PlanQuota, "add"), quota).status_code == 302
    assert plan.quotas.get().included == 5
    for address, changes, shown in (
        (url(Meter, "add"), fields, "Another meter"),
        (url(Meter, "add"), fields | {"code": "other", "unit_amount": "-1"}, "0 or more"),
        (url(Meter, "add"), fields | {"code": "other", "currency": "us"}, "three letters"),
        (url(PlanQuota, "add"), quota, "has a quota"),
        (url(PlanQuota, "add"), quota | {"block_at_percent": "99"}, "100 or more"),
        (url(PlanQuota, "add"), quota | {"meter": others[Meter].pk}, "valid choice"),
        (url(PlanQuota, "add"), quota | {"project": ""}, "This field is required"),
    ):
        answer = client.post(address, changes)
        assert answer.status_code == 200
        assert shown in answer.content.decode(), changes
    as_staff = sign_in(superuser=True).post(url(PlanQuota, "add"), quota | {"meter": others[Meter].pk})
    assert "another project" in as_staff.content.decode()
    assert client.post(url(Meter, "add"), fields | {"project": theirs.pk, "code": "x"}).status_code in (200, 403)
    assert not Meter.objects.for_project(theirs).filter(code="x").exists()
    assert plan.quotas.count() == 1
