"""The four plan sets that come with the product: one command each, with the figures that were asked for."""

from typing import Any

import pytest

from entitlements.models import Plan, PlanPrice
from entitlements.services.declared import preset_names
from projects.models import Membership, Project
from tests.cast import Developer
from tests.entitlements.declaring import NOTHING, apply, refused, set_up
from tests.entitlements.test_apply import new_slug
from tests.payments.shop import Shop

DAY = {"compute_budget_duration": "1d"}
UNLIMITED = dict.fromkeys(
    ["compute_budget_cents", "tokens_per_minute", "requests_per_minute", "token_budget", "file_size_mb"]
)
SETS: dict[str, dict[str, dict[str, Any]]] = {
    "gateway": {
        "free": DAY
        | {"free": True, "compute_budget_cents": 100, "tokens_per_minute": 100_000, "requests_per_minute": 10},
        "pro": DAY | {"prices": {"month": 2900}, "compute_budget_cents": 1000},
        "enterprise": DAY
        | {"compute_budget_cents": 5000, "tokens_per_minute": 2_000_000, "requests_per_minute": 120}
        | {"prices": {"month": 9900}},
        "sovereign": UNLIMITED | {"internal": True, "prices": {}},
    },
    "three-six-nine": {
        "starter": {"features": {"runs": "limited"}, "prices": {"month": 300}},
        "pro": {"features": {"runs": "priority"}, "prices": {"month": 600}},
        "enterprise": {"features": {"runs": "unlimited"}, "prices": {"month": 900}},
    },
    "credits": {
        "free": {"free": True, "credits_per_day": 10, "file_size_mb": 10, "trial_days": 0, "prices": {}},
        "maker": {"credits_per_day": 30, "file_size_mb": 50, "trial_days": 3, "prices": {"month": 1299, "year": 11691}},
        "pro": {"credits_per_day": 100, "file_size_mb": 200, "trial_days": 3, "prices": {"month": 2499, "year": 22491}},
        "unlimited": {
            "name": "Agency",
            "aliases": ["agency"],
            "credits_per_day": 500,
            "file_size_mb": 500,
            "trial_days": 3,
        }
        | {"prices": {"month": 3999, "year": 35991}},
    },
    "token-budget": {"standard": {"token_budget": 1_000_000, "prices": {"month": 2000}}},
}


def prices_of(plan: Plan, mode: str) -> dict[str, int]:
    rows = PlanPrice.objects.for_project(plan.project_id).filter(plan=plan, mode=mode, currency="usd", active=True)
    return dict(rows.values_list("interval", "amount_cents"))


# Works


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_plan_set_is_installed_by_one_command_and_again_changes_nothing(acme: Project, name: str) -> None:
    assert f"{acme.slug}\n  + plan" in apply("--preset", name, project=acme.slug)
    plans = {plan.code: plan for plan in Plan.objects.for_project(acme).order_by("rank")}
    assert list(plans) == list(SETS[name])
    for code, facts in SETS[name].items():
        found = {field: getattr(plans[code], field) for field in facts if field != "prices"}
        assert found == {field: value for field, value in facts.items() if field != "prices"}, code
        for mode in ("test", "live"):
            assert prices_of(plans[code], mode) == facts.get("prices", {}), code
    assert apply("--preset", name, "--prune", project=acme.slug) == f"{NOTHING}\n"


def test_pro_of_the_gateway_lies_between_its_neighbours(acme: Project) -> None:
    apply("--preset", "gateway", project=acme.slug)
    free, pro, enterprise, _ = Plan.objects.for_project(acme).order_by("rank")
    for name in ("compute_budget_cents", "tokens_per_minute", "requests_per_minute"):
        assert getattr(free, name) < getattr(pro, name) < getattr(enterprise, name)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_plan_set_is_made_at_stripe_except_what_is_never_sold(shop: Shop, name: str) -> None:
    apply("--preset", name, project=shop.project.slug)
    assert "!" not in set_up(shop.project)
    amounts = sorted(amount for facts in SETS[name].values() for amount in facts.get("prices", {}).values())
    assert sorted(price["unit_amount"] for price in shop.objects("prices")) == amounts


def test_a_new_project_is_made_for_a_plan_set_when_its_owner_is_named(alice: Developer) -> None:
    slug = new_slug()
    shown = apply("--preset", "token-budget", project=slug, owner=alice.user.email, name="Tokens")
    assert "+ project" in shown
    project = Project.objects.get(slug=slug)
    assert (project.name, Membership.objects.for_project(project).get().user) == ("Tokens", alice.user)


# Refuses


def test_what_is_missing_is_named_and_nothing_is_made(acme: Project, other_project: Project) -> None:
    assert sorted(SETS) == preset_names()
    assert "There is no preset nothing; there are credits, gateway" in refused("--preset", "nothing", project=acme.slug)
    assert "--project SLUG" in refused("--preset", "credits")
    slug = new_slug()
    assert "give its name and owner" in refused("--preset", "credits", project=slug)
    assert "or --preset NAME" in refused()
    assert "or --preset NAME" in refused("shop.toml", "--preset", "credits")
    assert "go with --preset" in refused("shop.toml", owner="a@example.com")
    assert not Project.objects.filter(slug=slug).exists() and not Plan.objects.for_project(acme).exists()
