"""Credits of a period in which the plan changes, and of plans that are given by hand: by the month, and never twice."""

import datetime as dt
import itertools
import uuid
from typing import Any

import time_machine
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entitlements.models import Entitlement, Plan
from entitlements.services import ledger
from entitlements.services.credit_rounds import give_months_of_given_plans
from entitlements.services.holdings import give_plan
from entitlements.services.plan_credits import follow_plan
from payments.services.given_plans import put_on_plan
from payments.services.standing import take_plan_back
from projects.models import EndUser, Project
from tests.cast import AppUser, Developer
from tests.entitlements.credits import (
    DAY,
    NOON,
    assert_ledger_holds,
    available,
    give,
    kinds,
    spend,
    together,
    transactions_of,
    wallet_of,
)
from tests.entitlements.test_credits_periodic import MONTH, in_period
from tests.entitlements.test_holdings import pay_for
from tests.payments.actors import create_project
from tests.payments.rows import create_plan

_names = itertools.count()


def moves(user: AppUser, plan: Plan, at: dt.datetime = NOON, **fields: Any) -> int:
    """Be on a plan in the period that began at noon, told twice; returns what can be spent then."""
    for _ in range(2):
        row: Entitlement = in_period(user, plan, **fields)
        follow_plan(row, plan, at)
    return available(user, at=at)


def granted(user: AppUser) -> list[int]:
    """Return what was given anew."""
    rows = transactions_of(user, kind="grant")
    return [row.amount for row in rows if "gives_back" not in row.details]


# Works


def test_a_larger_plan_gives_the_difference_once_and_a_smaller_one_ends_what_it_does_not_give(
    acme: Project, dana: AppUser
) -> None:
    small = create_plan(acme, credits_per_period=100, rank=1, name="Small")
    large = create_plan(acme, credits_per_period=1000, rank=2, name="Large")
    give(dana, 7, at=NOON)
    assert moves(dana, small) == 107
    spend(dana, 60, at=NOON)
    assert moves(dana, large) == 7 + 940
    assert [(row.amount, row.description) for row in transactions_of(dana, kind="grant")[1:]] == [
        (100, "Small"),
        (900, "Large"),
    ]
    # Down and up again, as often as anybody likes: 60 are spent of 100, and of 1000.
    for _ in range(3):
        assert (moves(dana, small), moves(dana, large)) == (47, 947)
    assert granted(dana)[1:] == [100, 900]
    spend(dana, 500, at=NOON)
    # Only what is unspent can end.
    assert (moves(dana, small), moves(dana, large)) == (7, 447)
    # An edited plan gives nothing more within the period, neither the smaller nor the larger.
    for plan in (small, large):
        plan.credits_per_period += 5000
        moves(dana, plan)
    assert available(dana, at=NOON) == 447
    assert (moves(dana, large, at=NOON + DAY), available(dana, at=NOON + MONTH)) == (447, 7)
    assert moves(dana, small, NOON + MONTH, number=1) == 7 + 5100
    assert_ledger_holds(acme)


def test_a_plan_without_periodic_credits_comes_and_goes(acme: Project, dana: AppUser) -> None:
    bare, large = create_plan(acme), create_plan(acme, credits_per_period=1000)
    assert (moves(dana, bare), moves(dana, large), moves(dana, bare), moves(dana, large)) == (0, 1000, 0, 1000)
    # A price that is on no plan takes nothing away.
    row = in_period(dana, large)
    row.plan = None
    follow_plan(row, bare, NOON)
    assert (available(dana, at=NOON), granted(dana)) == (1000, [1000])


def test_what_ended_with_the_plan_comes_back_as_the_plan_of_then_gives_it(acme: Project, dana: AppUser) -> None:
    small, large = create_plan(acme, credits_per_period=100), create_plan(acme, credits_per_period=1000)
    moves(dana, small)
    moves(dana, large)
    held = ledger.reserve_credits(**wallet_of(dana), amount=40, key="r", at=NOON, ttl_seconds=86_400)
    spend(dana, 30, at=NOON)
    follow_plan(in_period(dana, large, active=False), None, NOON)
    assert available(dana, at=NOON) == 0
    ledger.release_reservation(**wallet_of(dana), reservation_id=held.reservation_id, key="f", at=NOON)
    assert (moves(dana, small), moves(dana, large), moves(dana, small)) == (70, 970, 70)
    assert granted(dana) == [100, 900]
    assert_ledger_holds(acme)


def test_a_given_plan_gives_its_credits_by_the_month_from_its_day_on(
    acme: Project, alice: Developer, dana: AppUser
) -> None:
    create_plan(acme, code="staff", internal=True, credits_per_period=300)
    create_plan(acme, code="chief", internal=True, credits_per_period=500)
    given_at = dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC)

    def put(code: str | None, at: dt.datetime = given_at) -> int:
        with time_machine.travel(at, tick=False):
            end_user = EndUser.objects.get(pk=dana.end_user.pk)
            put_on_plan(project=acme, mode="test", end_user=end_user, code=code, reason="Works here.", actor=alice.user)
        return available(dana, at=at)

    assert (put("staff"), put("staff", given_at + DAY)) == (300, 300)
    spend(dana, 50, at=given_at + DAY)
    # The month ends with February, and the next one with the 31st again.
    february, march = (dt.datetime(2026, month, day, 9, tzinfo=dt.UTC) for month, day in ((2, 28), (3, 31)))
    give_months_of_given_plans(at=february - DAY)
    assert (available(dana, at=february - DAY), available(dana, at=february)) == (250, 0)
    for _ in range(2):
        give_months_of_given_plans(at=february)
    assert (available(dana, at=february), available(dana, at=march)) == (300, 0)
    give_months_of_given_plans(at=march)
    assert put("chief", march + DAY) == 500
    assert put("staff", march + 2 * DAY) == 300
    assert put(None, march + 3 * DAY) == 0
    give_months_of_given_plans(at=march + 40 * DAY)
    assert available(dana, at=march + 40 * DAY) == 0
    assert_ledger_holds(acme)


def test_a_given_plan_leaves_the_credits_that_were_paid_for(acme: Project, dana: AppUser) -> None:
    staff = create_plan(acme, code="staff", internal=True, credits_per_period=300)
    bought = create_plan(acme, credits_per_period=1000)
    whose: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk, "cause": "test"}
    pay_for(dana, bought)
    spend(dana, 100)
    for _ in range(2):
        with transaction.atomic():
            give_plan(plan=staff, **whose)
        assert available(dana) == 900 + 300
        take_plan_back(**whose)
        assert available(dana) == 900
    assert_ledger_holds(acme)


# Race


def test_upgrades_at_once_give_the_difference_once(acme: Project, dana: AppUser) -> None:
    small, large = create_plan(acme, credits_per_period=100), create_plan(acme, credits_per_period=1000)
    moves(dana, small)
    row = in_period(dana, large)
    assert together(*[lambda: follow_plan(row, large, NOON)] * 6) == [None] * 6
    assert kinds(transactions_of(dana)) == [("grant", 100), ("grant", 900)]
    assert_ledger_holds(acme)


def test_rounds_at_once_give_a_month_once(acme: Project, dana: AppUser) -> None:
    staff = create_plan(acme, code="staff", internal=True, credits_per_period=300)
    whose: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk, "cause": "test"}
    with time_machine.travel(NOON, tick=False), transaction.atomic():
        give_plan(plan=staff, **whose)
    later = NOON + 32 * DAY
    together(*[lambda: give_months_of_given_plans(at=later)] * 4)
    assert (available(dana, at=later), granted(dana)) == (300, [300, 300])


# Any order


STEP = st.tuples(st.sampled_from(["plan", "plan", "plan", "stop", "spend", "reserve", "finish"]), st.integers(0, 3))


@given(sizes=st.lists(st.integers(0, 200), min_size=4, max_size=4), steps=st.lists(STEP, min_size=2, max_size=12))
@settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_no_sequence_of_plans_within_a_period_gives_more_than_the_largest(
    run_database: str, django_db_blocker: Any, sizes: list[int], steps: list[tuple[str, int]]
) -> None:
    with django_db_blocker.unblock():
        project = create_project()
        plans = [create_plan(project, credits_per_period=size) for size in sizes]
        end_user = EndUser.objects.create(project=project, external_id=f"user-{next(_names)}-{uuid.uuid4().hex}")
        user = AppUser(end_user, "")
        largest, plan, used = 0, None, 0
        held: list[ledger.Reservation] = []
        for number, (what, which) in enumerate(steps):
            left = available(user, at=NOON)
            if what == "plan":
                plan = plans[which]
                largest = max(largest, plan.credits_per_period)
                expected = max(0, plan.credits_per_period - used - sum(one.amount for one in held))
                assert moves(user, plan) == expected, "what it gives, less what was spent and is set aside"
            elif what == "stop" and plan is not None:
                follow_plan(in_period(user, plan, active=False), None, NOON)
            elif what == "spend" and left:
                used -= spend(user, 1 + left * which // 4, at=NOON).amount
            elif what == "reserve" and left:
                amount = 1 + left * which // 4
                held.append(
                    ledger.reserve_credits(
                        **wallet_of(user), amount=amount, key=f"{user.user_id}:{number}", at=NOON, ttl_seconds=86_400
                    )
                )
            elif what == "finish" and held:
                one = held.pop()
                key = f"{user.user_id}:{number}"
                finished: dict[str, Any] = {"reservation_id": one.reservation_id, "key": key, "at": NOON}
                amount = one.amount * which // 3
                if amount:
                    used += ledger.commit_reservation(**wallet_of(user), **finished, amount=amount).spent
                else:
                    ledger.release_reservation(**wallet_of(user), **finished)
        assert sum(granted(user)) <= largest
        assert available(user, at=NOON) + sum(one.amount for one in held) + used <= largest
        assert_ledger_holds(project)
