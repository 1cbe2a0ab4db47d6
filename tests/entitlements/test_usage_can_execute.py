"""POST usage/can-execute: warned from 80 and 95 % on, allowed to 110 %, refused beyond; and what a plan's quotas may say."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from common.errors import FieldError
from entitlements.models import Meter, PlanQuota
from entitlements.services.quotas import quota_in_words, read_quotas, set_quotas
from projects.models import Project
from tests.cast import AppServer, AppUser
from tests.entitlements.metering import event, hold, plan_with, post, report, rows_of
from tests.payments.rows import create_plan


def ask(caller: Any, meter: str = "searches", quantity: Any = "1", **more: Any) -> dict[str, Any]:
    answer = post(caller, "can-execute", {"meter": meter, "quantity": quantity} | more)
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def test_marks_warn_and_only_past_110_percent_is_refused(acme: Project, acme_server: AppServer, dana: AppUser) -> None:
    hold(dana.end_user, plan_with(acme, {"searches": 1000}))
    report(acme_server, dana.user_id, event("searches", "700"))
    told: dict[str, tuple[bool, list[str]]] = {}
    for quantity in ("99.999999", "100", "249.999999", "250", "300", "300.000001", "400", "400.000001"):
        answer = ask(dana, quantity=quantity)
        told[quantity] = (answer["allowed"], [one["code"] for one in answer["warnings"]])
    assert told == {
        "99.999999": (True, []),
        "100": (True, ["quota_80"]),
        "249.999999": (True, ["quota_80"]),
        "250": (True, ["quota_95"]),
        "300": (True, ["quota_95"]),
        "300.000001": (True, ["quota_exceeded"]),
        "400": (True, ["quota_exceeded"]),
        "400.000001": (False, ["quota_exceeded"]),
    }
    answer = ask(acme_server, quantity=350, user_id=dana.user_id)
    assert {name: answer[name] for name in answer if name not in ("warnings", "period_end")} == {
        "allowed": True, "reason": None, "meter": "searches", "quantity": "350", "used": "700", "included": "1000",
        "remaining": "300", "percent": 105.0, "block_at_percent": 110, "overage": "50", "overage_amount_cents": 50,
        "currency": "usd",
    }  # fmt: skip
    refused = ask(dana, quantity=500)
    assert (refused["allowed"], refused["reason"]) == (False, "quota_exceeded")
    # Asking counts nothing.
    assert rows_of(acme)[0] == 1


def test_a_quota_may_stop_hard_or_never_and_what_has_none_is_free(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    plan = plan_with(
        acme,
        {
            "searches": {"included": 10, "block_at_percent": 100},
            "tokens": {"included": 0, "block_at_percent": "never"},
            "api_calls": 0,
            "workflow_runs": "unlimited",
        },
    )
    hold(dana.end_user, plan)
    assert ask(dana, "searches", 10)["allowed"] is True
    assert ask(dana, "searches", "10.000001")["allowed"] is False
    paid = ask(dana, "tokens", 10_000)
    assert (paid["allowed"], paid["overage_amount_cents"], paid["percent"]) == (True, 60, None)
    assert ask(dana, "api_calls", 1)["allowed"] is False
    for meter in ("workflow_runs", "voice_characters"):
        free = ask(dana, meter, 10**11)
        assert (free["allowed"], free["warnings"], free["included"], free["overage"]) == (True, [], None, "0")


def test_the_free_plans_quotas_hold_where_no_plan_does_and_nothing_is_billed(
    acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    assert ask(dana, quantity=10**9)["allowed"] is True
    plan_with(acme, {"searches": 5}, free=True)
    answer = ask(dana, quantity="5.5")
    assert (answer["allowed"], answer["overage"], answer["overage_amount_cents"]) == (True, "0.5", 0)
    assert ask(dana, quantity=6)["allowed"] is False
    # A plan whose time is over holds no more.
    hold(dana.end_user, plan_with(acme, {"searches": 500}, rank=3), active=False)
    assert ask(dana, quantity=6)["allowed"] is False


def test_a_live_plan_is_not_that_of_test_mode(
    acme: Project, acme_server: AppServer, acme_live_server: AppServer, dana: AppUser
) -> None:
    plan_with(acme, {"searches": 1}, free=True)
    hold(dana.end_user, plan_with(acme, {"searches": 100}, rank=2), mode="test")
    assert ask(acme_server, quantity=100, user_id=dana.user_id)["allowed"] is True
    assert ask(acme_live_server, quantity=100, user_id=dana.user_id)["allowed"] is False


def test_refusals_name_the_field_and_strangers_are_nobody(
    acme: Project, acme_server: AppServer, dana: AppUser, erin: AppUser
) -> None:
    for body, field in (
        ({"meter": "unheard-of"}, "meter"),
        ({}, "meter"),
        ({"meter": "searches", "quantity": 0.5}, "quantity"),
        ({"meter": "searches", "quantity": "-1"}, "quantity"),
        ({"meter": "searches", "quantity": "1e9"}, "quantity"),
    ):
        answer = post(acme_server, "can-execute", {"user_id": dana.user_id} | body)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", field])
    assert post(acme_server, "can-execute", {"meter": "searches"}).json()["detail"][0]["loc"] == ["body", "user_id"]
    assert post(dana, "can-execute", {"meter": "searches", "user_id": erin.user_id}).status_code == 404


def test_quotas_are_set_as_they_are_read_and_replace_each_other(acme: Project) -> None:
    plan = create_plan(acme)
    wanted = {
        "searches": "10.50",
        "tokens": {"included": "unlimited", "block_at_percent": "never", "unit_amount": "0.004"},
    }
    set_quotas(plan=plan, quotas=wanted)
    assert read_quotas(plan=plan) == {
        "searches": {"included": "10.5", "block_at_percent": 110},
        "tokens": {"included": "unlimited", "block_at_percent": "never", "unit_amount": "0.004"},
    }
    assert read_quotas(plan=plan) == {code: quota_in_words(value) for code, value in wanted.items()}
    set_quotas(plan=plan, quotas={"searches": {"included": 20, "block_at_percent": 100}})
    assert read_quotas(plan=plan) == {"searches": {"included": "20", "block_at_percent": 100}}


BAD: list[tuple[Any, list[str]]] = [
    ({"unheard-of": 1}, ["unheard-of"]),
    ({"searches": -1}, ["searches", "included"]),
    ({"searches": 1.5}, ["searches", "included"]),
    ({"searches": True}, ["searches", "included"]),
    ({"searches": "many"}, ["searches", "included"]),
    ({"searches": "NaN"}, ["searches", "included"]),
    ({"searches": Decimal("Infinity")}, ["searches", "included"]),
    ({"searches": "0.0000001"}, ["searches", "included"]),
    ({"searches": 10**21}, ["searches", "included"]),
    ({"searches": {}}, ["searches", "included"]),
    ({"searches": {"included": 1, "block_at_percent": 99}}, ["searches", "block_at_percent"]),
    ({"searches": {"included": 1, "block_at_percent": None}}, ["searches", "block_at_percent"]),
    ({"searches": {"included": 1, "unit_amount": "-1"}}, ["searches", "unit_amount"]),
    ({"searches": {"included": 1, "price": 1}}, ["searches", "price"]),
]


def test_a_quota_that_makes_no_sense_is_named_and_changes_nothing(acme: Project) -> None:
    plan = plan_with(acme, {"searches": 7})
    for quotas, loc in BAD:
        with pytest.raises(FieldError) as refused:
            set_quotas(plan=plan, quotas={"tokens": 1, **quotas})
        assert refused.value.errors[0]["loc"] == ["quotas", *loc], quotas
    assert read_quotas(plan=plan) == {"searches": {"included": "7", "block_at_percent": 110}}


def test_a_quota_of_another_projects_meter_is_not_found(acme: Project, other_project: Project) -> None:
    Meter.objects.create(project=other_project, code="pages", name="Pages")
    plan = create_plan(acme)
    with pytest.raises(FieldError):
        set_quotas(plan=plan, quotas={"pages": 1})
    assert not PlanQuota.objects.for_project(acme).exists()


def test_the_answer_says_when_the_period_ends(acme: Project, dana: AppUser) -> None:
    entitlement = hold(dana.end_user, plan_with(acme, {"searches": 1}))
    assert entitlement.period_end is not None
    told = dt.datetime.fromisoformat(ask(dana)["period_end"])
    assert told == entitlement.period_end.replace(microsecond=0)
