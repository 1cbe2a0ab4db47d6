"""POST /api/v1/projects/{id}/users/{end_user_id}/plan: a plan by hand stands above what was bought, and says who gave it."""

import uuid
from typing import Any

import pytest

from entitlements.models import Entitlement, Plan, PlanPrice
from moderation.models import ActionLog
from tests.cast import AppUser, Developer, set_role
from tests.payments.deliveries import deliver, events_of, set_webhook_secret
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, buy


@pytest.fixture
def sovereign(acme: Any) -> Plan:
    return create_plan(acme, code="sovereign", name="Sovereign", internal=True, aliases=["staff"], rank=9)


def give(who: Developer, user: AppUser, plan: str | None, *, reason: str = "works here", query: str = "") -> Any:
    path = f"/api/v1/projects/{user.end_user.project_id}/users/{user.end_user.pk}/plan{query}"
    return who.client.post(path, data={"plan": plan, "reason": reason}, content_type="application/json")


def held(user: AppUser, mode: str = "test") -> Entitlement:
    rows = Entitlement.objects.for_project(user.end_user.project_id).in_mode(mode)
    return rows.select_related("plan").get(end_user=user.end_user)


def test_an_internal_plan_is_given_stands_above_what_is_bought_and_is_taken_back(
    alice: Developer, dana: AppUser, shop: Shop, sovereign: Plan
) -> None:
    given = give(alice, dana, "staff")
    assert (given.status_code, given.json()) == (
        200,
        {
            "end_user_id": str(dana.end_user.pk), "user_id": dana.user_id, "is_test_mode": True, "plan": "sovereign",
            "given": True,
        },
    )  # fmt: skip
    set_webhook_secret(shop.project)
    price = shop.price(1000)
    maker = create_plan(shop.project, code="maker", rank=1)
    PlanPrice.objects.create(project=shop.project, plan=maker, mode="test", stripe_price_id=price, amount_cents=1000)
    buy(shop, dana, price)
    deliver(shop, events_of(shop))
    assert held(dana).plan == sovereign
    taken = give(alice, dana, None, reason="left us").json()
    assert (taken["plan"], taken["given"]) == ("maker", False)
    row = held(dana)
    assert row.plan == maker and row.subscription_id and row.active
    log = ActionLog.objects.for_project(shop.project).filter(action__startswith="plan.").order_by("at")
    assert list(log.values_list("action", "reason", "actor_label", "mode")) == [
        ("plan.give", "works here", alice.user.email, "test"),
        ("plan.take_back", "left us", alice.user.email, "test"),
    ]


def test_each_mode_by_itself_and_nothing_bought_is_nothing(alice: Developer, dana: AppUser, sovereign: Plan) -> None:
    assert give(alice, dana, "sovereign", query="?test_mode=false").json()["is_test_mode"] is False
    assert held(dana, "live").plan == sovereign
    assert not Entitlement.objects.for_project(dana.end_user.project_id).in_mode("test").exists()
    assert give(alice, dana, None).json()["plan"] is None
    assert give(alice, dana, None, query="?test_mode=false").json() | {"user_id": ""} == {
        "end_user_id": str(dana.end_user.pk), "user_id": "", "is_test_mode": False, "plan": None, "given": False,
    }  # fmt: skip


def test_who_may_not_and_what_is_wrong_changes_nothing(
    alice: Developer, bob: Developer, charlie: Developer, dana: AppUser, frank: AppUser, sovereign: Plan
) -> None:
    archived = create_plan(sovereign.project, code="old", archived=True)
    for plan, reason, field in (
        ("nothing", "x", "plan"), (archived.code, "x", "plan"), ("sovereign", " ", "reason"), ("sovereign", "x" * 1001, "reason"),
    ):  # fmt: skip
        answer = give(alice, dana, plan, reason=reason)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field]), answer.content
    set_role(sovereign.project, bob, "viewer")
    assert give(bob, dana, "sovereign").status_code == 403
    assert give(charlie, dana, "sovereign").json()["code"] == "project_not_found"
    path = f"/api/v1/projects/{sovereign.project_id}/users/{{}}/plan"
    for stranger in (frank.end_user.pk, uuid.uuid4()):
        answer = alice.client.post(
            path.format(stranger), data={"plan": "sovereign", "reason": "x"}, content_type="application/json"
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "end_user_not_found")
    assert not Entitlement.objects.for_project(sovereign.project).exists()
    assert not ActionLog.objects.for_project(sovereign.project).filter(action__startswith="plan.").exists()
