"""Plans and prices through the API: what developers write, what everybody sees, and that nobody loses a plan by it."""

from typing import Any

import pytest
from django.test import Client

from entitlements.models import Plan, PlanPrice
from moderation.models import ActionLog
from payments.models import Subscription
from projects.models import Project, Role
from tests.entitlements.declaring import apply, kept
from tests.payments.actors import Developer, create_developer, create_project
from tests.payments.rows import create_plan, create_subscription, stripe_id
from tests.payments.shop import at_once

LIMITS = {
    "credits_per_day": 100,
    "credits_per_period": 0,
    "token_budget": None,
    "file_size_mb": 200,
    "requests_per_minute": 60,
    "tokens_per_minute": 500_000,
    "compute_budget_cents": 1000,
    "compute_budget_duration": "1d",
}
PRO = {
    "code": "pro",
    "name": "Pro",
    "aliases": ["professional"],
    "rank": 2,
    "trial_days": 3,
    "features": {"runs": "priority", "export": True, "seats": 3, "share": 0.5},
    "limits": LIMITS,
}


def base(project: Project, *parts: Any) -> str:
    return "/".join([f"/api/v1/projects/{project.pk}/plans", *map(str, parts)])


def public(project: Project | str, query: str = "") -> Any:
    slug = project if isinstance(project, str) else project.slug
    return Client().get(f"/api/v1/payments/plans?project={slug}{query}")


@pytest.fixture
def project(database: None) -> Project:
    """A project without plans."""
    return create_project()


@pytest.fixture
def developer(project: Project) -> Developer:
    """A member who may change plans."""
    return create_developer(project, role=Role.DEVELOPER)


def create(developer: Developer, project: Project, body: Any = None) -> dict[str, Any]:
    answer = developer.post(base(project), PRO if body is None else body)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


# Works


def test_a_plan_is_made_read_changed_and_listed(developer: Developer, project: Project) -> None:
    made = create(developer, project)
    assert {name: made[name] for name in PRO} == PRO
    assert (made["internal"], made["free"], made["archived"], made["prices"]) == (False, False, False, [])
    one = base(project, made["id"])
    changed = developer.put(one, {"limits": {"credits_per_day": 150, "file_size_mb": None}, "name": "Pro!"}).json()
    assert changed == made | {"name": "Pro!", "limits": LIMITS | {"credits_per_day": 150, "file_size_mb": None}}
    assert developer.get(one).json() == changed
    other = create(developer, project, {"code": "free", "name": "Free", "free": True})
    assert other["limits"]["token_budget"] == 0 and other["limits"]["file_size_mb"] is None
    listed = create_developer(project, role=Role.VIEWER).get(f"{base(project)}?page_size=1").json()
    assert (listed["plans"], listed["total"]) == ([other], 2)
    logged = ActionLog.objects.for_project(project).order_by("at").values_list("action", "subject", "actor_label")
    assert list(logged)[:2] == [
        ("plan.created", "pro", developer.user.email),
        ("plan.changed", "pro", developer.user.email),
    ]


def test_prices_are_added_changed_and_taken_away(developer: Developer, project: Project) -> None:
    plan = create(developer, project)
    prices, price_id = base(project, plan["id"], "prices"), stripe_id("price")
    waiting = developer.post(prices, {"amount_cents": 2499, "currency": "USD"}).json()
    facts = {"is_test_mode": True, "interval": "month", "currency": "usd", "amount_cents": 2499, "active": True}
    assert {name: waiting[name] for name in facts} == facts and waiting["price_id"] is None
    linked = developer.put(f"{prices}/{waiting['id']}", {"amount_cents": 2599, "price_id": price_id}).json()
    assert (linked["amount_cents"], linked["price_id"]) == (2599, price_id)
    yearly = {"interval": "year", "is_test_mode": False, "lookup_key": "pro_yearly", "amount_cents": 0}
    assert developer.post(prices, yearly).json()["lookup_key"] == "pro_yearly"
    assert len(developer.get(base(project, plan["id"])).json()["prices"]) == 2
    assert developer.delete(f"{prices}/{linked['id']}").status_code == 204
    assert not PlanPrice.objects.filter(pk=linked["id"]).exists()


def test_everybody_sees_what_is_sold_and_nothing_else(developer: Developer, project: Project) -> None:
    apply("--preset", "credits", project=project.slug)
    PlanPrice.objects.for_project(project).filter(plan__code="pro", mode="test", interval="year").update(
        stripe_price_id=stripe_id("price")
    )
    month = PlanPrice.objects.for_project(project).get(plan__code="pro", mode="test", interval="month")
    PlanPrice.objects.filter(pk=month.pk).update(lookup_key="pro_monthly")
    PlanPrice.objects.for_project(project).filter(plan__code="maker").update(lookup_key="", active=False)
    unasked = PlanPrice.objects.for_project(project).get(plan__code="unlimited", mode="test", interval="month")
    PlanPrice.objects.filter(pk=unasked.pk).update(stripe_price_id=stripe_id("price"), amount_cents=0)
    create(developer, project, {"code": "secret", "name": "Secret", "internal": True})
    create(developer, project, {"code": "old", "name": "Old", "archived": True})
    answer = public(project)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["project"], body["is_test_mode"]) == (project.slug, True)
    assert [plan["code"] for plan in body["plans"]] == ["free", "maker", "pro", "unlimited"]
    free, maker, pro, unlimited = body["plans"]
    assert unlimited["prices"] == [], "what it costs is not known yet"
    assert (free["free"], free["limits"]["credits_per_day"], free["limits"]["file_size_mb"]) == (True, 10, 10)
    assert maker["prices"] == [] and maker["trial_days"] == 3
    assert [(price["interval"], price["amount_cents"], bool(price["price_id"])) for price in pro["prices"]] == [
        ("month", 2499, False),
        ("year", 22491, True),
    ]
    live = public(project, "&test_mode=false").json()
    assert not live["is_test_mode"] and all(plan["prices"] == [] for plan in live["plans"])


# Refuses


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"code": "a b"}, ["code"]),
        ({"code": ""}, ["code"]),
        ({"name": ""}, ["name"]),
        ({"name": "\u0000"}, ["name"]),
        ({"aliases": ["x", "x"]}, ["aliases"]),
        ({"aliases": ["pro"]}, ["aliases"]),
        ({"aliases": ["taken"]}, ["aliases"]),
        ({"code": "taken"}, ["code"]),
        ({"code": "also-taken"}, ["code"]),
        ({"free": True}, ["free"]),
        ({"free": "yes"}, ["free"]),
        ({"rank": 1.5}, ["rank"]),
        ({"trial_days": 731}, ["trial_days"]),
        ({"features": {"runs": None}}, ["features"]),
        ({"features": {"runs": {"a": 1}}}, ["features"]),
        ({"features": {"runs": "x" * 256}}, ["features"]),
        ({"features": {"1runs": 1}}, ["features"]),
        ({"features": {f"f{number}": 1 for number in range(51)}}, ["features"]),
        ({"features": [1]}, ["features"]),
        ({"limits": {"credits_per_day": -1}}, ["limits", "credits_per_day"]),
        ({"limits": {"credits_per_day": None}}, ["limits", "credits_per_day"]),
        ({"limits": {"token_budget": 2**53}}, ["limits", "token_budget"]),
        ({"limits": {"token_budget": "unlimited"}}, ["limits", "token_budget"]),
        ({"limits": {"compute_budget_duration": "2d"}}, ["limits", "compute_budget_duration"]),
        ({"limits": {"credits": 5}}, ["limits", "credits"]),
        ({"limits": {"\ud800": 5}}, ["limits", "\ud800"]),
        ({"limits": 5}, ["limits"]),
    ],
    ids=range(27),
)
def test_a_plan_that_cannot_be_is_refused_by_the_fields_name(
    developer: Developer, project: Project, body: dict[str, Any], loc: list[str]
) -> None:
    taken = create_plan(project, code="taken", aliases=["also-taken"], free=True)
    before = kept(project)
    answers = [developer.post(base(project), PRO | body)]
    if "code" not in body and body != {"aliases": ["pro"]} and "also-taken" not in str(body):
        mine = Plan.objects.create(project=project, code="mine", name="Mine")
        before = kept(project)
        answers.append(developer.put(base(project, mine.pk), body))
    for answer in answers:
        assert answer.status_code == 422, answer.content
        assert answer.json()["detail"][0]["loc"][: 1 + len(loc)] == ["body", *loc]
    assert kept(project) == before and Plan.objects.get(pk=taken.pk).free


def test_a_price_that_cannot_be_is_refused_by_the_fields_name(developer: Developer, project: Project) -> None:
    plan, taken = create(developer, project), stripe_id("price")
    prices = base(project, plan["id"], "prices")
    sold = developer.post(prices, {"amount_cents": 100, "price_id": taken, "lookup_key": "taken"}).json()
    before = kept(project)
    for body, field in (
        ({}, "amount_cents"),
        ({"amount_cents": -1}, "amount_cents"),
        ({"amount_cents": 100_000_000}, "amount_cents"),
        ({"amount_cents": 1, "interval": "week"}, "interval"),
        ({"amount_cents": 1, "currency": "12$"}, "currency"),
        ({"price_id": taken}, "price_id"),
        ({"lookup_key": "taken"}, "lookup_key"),
        ({"price_id": "sk_test_pasted"}, "price_id"),
        ({"lookup_key": "with space"}, "lookup_key"),
    ):
        answer = developer.post(prices, body)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field]), answer.content
    for body, field in (({"amount_cents": 200}, "amount_cents"), ({"interval": "year"}, "interval")):
        answer = developer.put(f"{prices}/{sold['id']}", body)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
        assert "add another one" in answer.json()["detail"][0]["msg"]
    assert kept(project) == before


def test_another_projects_plans_and_unknown_ones_are_404(developer: Developer, project: Project) -> None:
    other = create_project()
    theirs = create_plan(other)
    price = PlanPrice.objects.create(project=other, plan=theirs, mode="test", amount_cents=5)
    mine = create(developer, project)
    before = kept(other)
    for path in (base(project, theirs.pk), base(project, theirs.pk, "prices", price.pk)):
        assert developer.put(path, {}).status_code == developer.delete(path).status_code == 404
    assert developer.delete(base(project, mine["id"], "prices", price.pk)).status_code == 404
    assert developer.post(base(project, theirs.pk, "prices"), {"amount_cents": 5}).status_code == 404
    assert kept(other) == before
    Project.objects.filter(pk=other.pk).update(is_active=False)
    for slug in (other.slug, "no-such", "%00", "A b"):
        assert (public(slug).status_code, public(slug).json()["code"]) == (404, "project_not_found")
    assert Client().get("/api/v1/payments/plans").json()["detail"][0]["loc"] == ["query", "project"]


# Edge


def test_a_plan_that_somebody_has_or_had_is_archived_and_never_deleted(developer: Developer, project: Project) -> None:
    plan = create(developer, project)
    one, price_id = base(project, plan["id"]), stripe_id("price")
    price = developer.post(f"{one}/prices", {"amount_cents": 100, "price_id": price_id}).json()
    row = create_subscription(
        project, plan=Plan.objects.get(pk=plan["id"]), stripe_price_id=price_id, status="canceled"
    )
    assert developer.delete(f"{one}/prices/{price['id']}").status_code == 204
    assert developer.delete(one).status_code == 204
    found = developer.get(one).json()
    assert (found["archived"], [kept["active"] for kept in found["prices"]]) == (True, [False])
    assert Subscription.objects.get(pk=row.pk).plan_id == row.plan_id
    assert public(project).json()["plans"] == []
    assert developer.delete(one).status_code == 204, "again"
    assert developer.put(one, {"archived": False}).json()["archived"] is False
    Subscription.objects.filter(pk=row.pk).delete()
    assert developer.delete(one).status_code == 204 and developer.get(one).status_code == 404


# Race and replay


def test_of_many_at_once_one_gets_the_code_and_being_free(developer: Developer, project: Project) -> None:
    answers = at_once(6, lambda _: developer.post(base(project), {"code": "free", "name": "Free", "free": True}))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 5
    answers = at_once(
        6, lambda number: developer.post(base(project), {"code": f"f{number}", "name": "F", "aliases": ["one"]})
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 5
    assert Plan.objects.for_project(project).count() == 2


def test_the_same_request_with_its_key_makes_one_plan(developer: Developer, project: Project) -> None:
    made = [developer.request("post", base(project), PRO, **{"Idempotency-Key": "once"}) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201] and made[0].json() == made[1].json()
    assert Plan.objects.for_project(project).count() == 1
