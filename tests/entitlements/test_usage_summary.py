"""GET usage/summary: where somebody is, and what will be billed, before it is."""

from decimal import Decimal
from typing import Any

from django.db import connection

from entitlements.models import Meter, UsageTotal
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.metering import USAGE, differences, event, hold, plan_with, report, summary
from tests.payments.rows import create_plan


def test_each_meter_says_used_included_percent_and_what_the_rest_costs(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    plan = plan_with(acme, {"searches": 10, "storage_gb_months": "0.5", "workflow_runs": "unlimited"}, code="maker")
    Meter.objects.create(project=acme, code="euros", name="In euros", currency="eur", unit_amount="250")
    hold(dana.end_user, plan)
    report(
        acme_server, dana.user_id, event("searches", "9.5"), event("storage_gb_months", "1.25"),
        event("workflow_runs", 7), event("euros", 1),
    )  # fmt: skip
    told = summary(dana)
    assert (told["plan"], told["billable"], told["charges"]) == ("maker", True, [])
    rows = {one.pop("meter"): one for one in told["meters"]}
    assert rows["searches"] == {
        "name": "Searches", "unit": "search", "used": "9.5", "included": "10", "remaining": "0.5", "percent": 95.0,
        "block_at_percent": 110, "warning_percent": 95, "blocked": False, "overage": "0", "unit_amount": "1",
        "overage_amount_cents": 0, "currency": "usd", "late": "0", "billed_as": "invoice_item",
    }  # fmt: skip
    storage = rows["storage_gb_months"]
    # 0.75 GB-months at 10 cents are 7.5 cents, rounded half up.
    assert (storage["percent"], storage["overage"], storage["overage_amount_cents"]) == (250.0, "0.75", 8)
    assert (storage["blocked"], storage["remaining"]) == (True, "0")
    assert (rows["workflow_runs"]["included"], rows["workflow_runs"]["percent"]) == (None, None)
    assert (rows["euros"]["overage"], rows["euros"]["included"]) == ("0", None)
    assert told["overage_totals"] == [{"currency": "usd", "amount_cents": 8}]
    assert told == summary(acme_server, dana.user_id) | {"meters": told["meters"]}


def test_two_currencies_are_never_added_together(acme: Project, acme_server: AppServer, dana: AppUser) -> None:
    Meter.objects.create(project=acme, code="euros", name="In euros", currency="eur", unit_amount="250")
    hold(dana.end_user, plan_with(acme, {"searches": 0, "euros": 0}))
    report(acme_server, dana.user_id, event("searches", 3), event("euros", 2))
    assert summary(dana)["overage_totals"] == [
        {"currency": "eur", "amount_cents": 500},
        {"currency": "usd", "amount_cents": 3},
    ]


def test_nothing_used_is_an_answer_and_another_user_is_404(
    acme: Project, acme_server: AppServer, other_server: AppServer, dana: AppUser, erin: AppUser
) -> None:
    hold(dana.end_user, create_plan(acme, code="bare"))
    told = summary(dana)
    assert (told["plan"], told["meters"], told["overage_totals"]) == ("bare", [], [])
    found = other_server.client.get(f"{USAGE}/summary?user_id={dana.user_id}")
    assert (found.status_code, found.json()["plan"]) == (200, None)
    assert acme_server.client.get(f"{USAGE}/summary").status_code == 422
    assert dana.client.get(f"{USAGE}/summary?user_id={erin.user_id}").status_code == 404


def test_it_takes_few_statements(
    acme: Project, acme_server: AppServer, dana: AppUser, django_assert_max_num_queries: Any
) -> None:
    hold(dana.end_user, plan_with(acme, {"searches": 10}))
    report(acme_server, dana.user_id, event("searches", 3))
    # Who asks; periods, what is held, meters, totals, quotas, charges.
    with django_assert_max_num_queries(7):
        summary(dana)


def test_a_total_that_is_not_the_sum_of_its_events_is_a_broken_rule(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    report(acme_server, dana.user_id, event("searches", "1.5"), event("tokens", 2))
    assert differences(acme) == []
    assert check_invariants(project_id=acme.pk, only="I6") == []
    row = UsageTotal.objects.for_project(acme).get(meter__code="searches")
    UsageTotal.objects.for_project(acme).filter(pk=row.pk).update(used=Decimal("1.6"))
    (found,) = check_invariants(project_id=acme.pk, only="I6")
    assert "searches" in found.text
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM entitlements_usagetotal WHERE id = %s", [row.pk])
    (found,) = check_invariants(project_id=acme.pk, only="I6")
    assert "-1.5" in found.text
