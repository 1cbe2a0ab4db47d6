"""Plans and prices in the admin: what a developer may enter, and that deleting one takes nothing from anybody."""

from typing import Any

import pytest

from entitlements.models import Plan, PlanPrice
from moderation.models import ActionLog
from projects.models import Project, Role
from tests.admin.test_payments_pages import sign_in, url
from tests.payments.actors import create_project
from tests.payments.rows import create_plan, create_subscription


def plan_form(project: Project, **fields: Any) -> dict[str, Any]:
    return {
        "project": str(project.pk), "code": "pro", "name": "Pro", "aliases": '["agency"]', "rank": "1", "trial_days": "3",
        "features": '{"runs": "priority"}', "credits_per_day": "30", "credits_per_period": "0", "file_size_mb": "50",
        "token_budget": "", "compute_budget_cents": "0", "compute_budget_duration": "1d", "prices-TOTAL_FORMS": "1",
        "prices-INITIAL_FORMS": "0", "prices-0-mode": "test", "prices-0-interval": "month",
        "prices-0-stripe_price_id": "price_pro", "prices-0-amount_cents": "2499", "prices-0-currency": "USD",
        "prices-0-active": "on",
    } | fields  # fmt: skip


def test_a_developer_makes_a_plan_with_its_price() -> None:
    project = create_project()
    client = sign_in(project=project, role=Role.DEVELOPER)
    assert client.post(url(Plan, "add"), plan_form(project)).status_code == 302
    plan = Plan.objects.for_project(project).get()
    price = PlanPrice.objects.for_project(project).get()
    assert (plan.code, plan.aliases, plan.features) == ("pro", ["agency"], {"runs": "priority"})
    assert (plan.credits_per_day, plan.file_size_mb, plan.token_budget, plan.requests_per_minute) == (
        30,
        50,
        None,
        None,
    )
    assert (price.plan, price.amount_cents, price.currency) == (plan, 2499, "usd")
    # The page says in which unit an amount is written, and what that is.
    shown = client.get(url(PlanPrice, "change", price.pk)).content.decode()
    assert "24.99 USD" in shown and "Amount in minor units" in shown and "500 is 500 JPY" in shown
    assert "Amount in minor units" in client.get(url(Plan, "change", plan.pk)).content.decode()


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"aliases": "5"}, "Give a list of words"),
        ({"aliases": "[1]"}, "Give a list of words"),
        ({"prices-0-amount_cents": "-5"}, "Give a whole number from 0 to 99,999,999"),
        ({"prices-0-amount_cents": "100000000"}, "1299 is 12.99 USD"),
        ({"prices-0-currency": "u$d"}, "Give three lower-case letters"),
        ({"code": "taken"}, "has this code or alias"),
        ({"aliases": '["taken"]'}, "has the code or alias taken"),
        ({"features": '{"runs": []}'}, "runs: give true, false"),
        ({"credits_per_day": "-1"}, "greater than or equal to 0"),
        ({"credits_per_day": "2000000000"}, "Give a whole number from 0 to 1,000,000,000"),
        ({"trial_days": "731"}, "from 0 to 730"),
        ({"prices-0-stripe_price_id": "sk_test_pasted"}, "This looks like a key"),
        ({"prices-0-stripe_price_id": "price_taken"}, "Another price"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(fields: dict[str, str], shown: str) -> None:
    project = create_project()
    client = sign_in(project=project, role=Role.DEVELOPER)
    first = plan_form(project, code="taken") | {"prices-0-stripe_price_id": "price_taken"}
    assert client.post(url(Plan, "add"), first).status_code == 302
    refused = client.post(url(Plan, "add"), plan_form(project, **fields))
    assert refused.status_code == 200
    assert shown in refused.content.decode()
    assert Plan.objects.for_project(project).count() == 1


def test_a_plan_is_not_made_in_somebody_elses_project() -> None:
    client = sign_in(project=create_project(), role=Role.OWNER)
    other = create_project()
    assert client.post(url(Plan, "add"), plan_form(other, code="evil")).status_code == 200
    assert not Plan.objects.for_project(other).filter(code="evil").exists()


def test_a_plan_that_somebody_has_is_archived_instead_of_deleted() -> None:
    project = create_project()
    plan, unused = create_plan(project), create_plan(project)
    price = PlanPrice.objects.create(project=project, plan=plan, mode="test", stripe_price_id="price_pro")
    subscription = create_subscription(project, plan=plan, stripe_price_id="price_pro")
    client = sign_in(superuser=True)
    for model, row in ((PlanPrice, price), (Plan, plan)):
        answer = client.post(url(model, "delete", row.pk), {"post": "yes"}, follow=True)
        assert "instead: somebody" in answer.content.decode()
    assert (Plan.objects.get(pk=plan.pk).archived, PlanPrice.objects.get(pk=price.pk).active) == (True, False)
    subscription.refresh_from_db()
    assert subscription.plan == plan
    client.post(url(Plan, "delete", unused.pk), {"post": "yes"})
    assert not Plan.objects.filter(pk=unused.pk).exists()


def test_who_changed_what_of_a_plan_is_written_down() -> None:
    project = create_project()
    client = sign_in(project=project, role=Role.DEVELOPER)
    client.post(url(Plan, "add"), plan_form(project))
    plan = Plan.objects.for_project(project).get()
    kept = {"prices-TOTAL_FORMS": "0"}
    answer = client.post(url(Plan, "change", plan.pk), plan_form(project, credits_per_day="40", **kept))
    assert answer.status_code == 302
    lines = ActionLog.objects.for_project(project).order_by("at").values_list("action", "details")
    assert [action for action, _ in lines] == ["plan.created", "plan.changed"]
    assert lines[1][1] == {"credits_per_day": [30, 40]}
