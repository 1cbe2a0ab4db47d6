"""What an end user holds: it follows from what was bought and paid, whichever event comes first, and from the policy."""

import datetime as dt
import threading
import time
import uuid
from importlib import import_module
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import clock
from common.clock import from_unix
from entitlements.models import Entitlement, Plan, PlanPrice
from entitlements.services.entitled import read_entitled
from entitlements.services.holdings import give_plan, plan_held
from notifications.tasks import run_outbox
from payments.models import BillingPolicy, StripeCustomer, Subscription
from payments.models.billing import STATUS_PRECEDENCE
from payments.services.invariants import check_invariants
from payments.services.ownership import Scope
from payments.services.standing import follow_standings, heal_standings, take_plan_back, write_standings
from projects.models import Project
from tests.cast import AppUser, Developer
from tests.entitlements.credits import assert_ledger_holds, available, kinds, spend, transactions_of
from tests.payments.actors import create_project
from tests.payments.deliveries import control, deliver, events_of, set_webhook_secret, stored
from tests.payments.rows import create_end_user, create_invoice, create_plan, create_subscription, follow_subscription
from tests.payments.shop import Shop, at_once
from tests.scenarios.lifecycle import Life, forget_everything

MAKER, PRO = 1000, 2500


def sell(shop: Shop, code: str, amount: int, rank: int, *, interval: str = "month", plan: Plan | None = None) -> Plan:
    """Sell a plan for an amount in test mode."""
    price_id = shop.price(amount, interval=interval)
    plan = plan or create_plan(shop.project, code=code, name=code.title(), rank=rank)
    values: dict[str, Any] = {"mode": "test", "interval": interval, "stripe_price_id": price_id, "amount_cents": amount}
    PlanPrice.objects.create(project=shop.project, plan=plan, **values)
    return plan


def price_of(plan: Plan) -> str:
    return plan.prices.filter(interval="month").get().stripe_price_id


@pytest.fixture
def life(shop: Shop, dana: AppUser) -> Life:
    """Dana buys Maker, and may move to Pro."""
    set_webhook_secret(shop.project)
    maker, pro = sell(shop, "maker", MAKER, 1), sell(shop, "pro", PRO, 2)
    return Life(shop, dana, (price_of(maker), price_of(pro)))


def fresh(shop: Shop) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known]


def after(life: Life, *steps: Any) -> Entitlement:
    """Take steps, deliver what they caused, and return what dana holds."""
    for step in steps:
        step()
    deliver(life.shop, fresh(life.shop))
    return held(life.user)


def held(user: AppUser, mode: str = "test") -> Entitlement:
    rows = Entitlement.objects.for_project(user.end_user.project_id).in_mode(mode)
    return rows.select_related("plan").get(end_user=user.end_user)


def subscribe(shop: Shop, user: AppUser, price_id: str, *, test_clock: str, **more: Any) -> dict[str, Any]:
    """Begin a subscription whose customer lives by a test clock."""
    about: dict[str, Any] = {"test_clock": test_clock, "metadata[end_user_id]": str(user.end_user.pk)}
    customer = shop.api("POST", "customers", **about)["id"]
    card = shop.api("POST", "payment_methods/pm_card_visa/attach", customer=customer)["id"]
    wanted = {"customer": customer, "default_payment_method": card, "items[0][price]": price_id}
    return shop.api("POST", "subscriptions", **wanted, **more)


def advance(shop: Shop, clock_id: str, moment: int) -> None:
    shop.api("POST", f"test_helpers/test_clocks/{clock_id}/advance", frozen_time=moment)
    for _ in range(100):
        if shop.api("GET", f"test_helpers/test_clocks/{clock_id}")["status"] == "ready":
            return
        time.sleep(0.1)
    raise AssertionError("the clock did not arrive")


def switch(life: Life, price_id: str) -> None:
    item = life.subscription["items"]["data"][0]["id"]
    change = {"items[0][id]": item, "items[0][price]": price_id, "proration_behavior": "always_invoice"}
    life.shop.api("POST", f"subscriptions/{life.subscription['id']}", **change)


def later(life: Life) -> None:
    """Wait until Stripe's clock shows another second: a period begins at a whole one."""
    begun = life.subscription["items"]["data"][0]["current_period_start"]
    while time.time() < begun + 1:
        time.sleep(0.05)


def pay_for(user: AppUser, plan: Plan) -> Subscription:
    """Put a user on a plan by a subscription whose period is paid."""
    row = create_subscription(user.end_user.project, end_user=user.end_user, plan=plan)
    invoiced = {"billing_reason": "subscription_create", "period_end": row.current_period_start}
    create_invoice(row.project, subscription=row, **invoiced)
    follow_subscription(row)
    return row


def started(life: Life) -> Any:
    return from_unix(life.subscription["items"]["data"][0]["current_period_start"])


def agree(project: Project) -> None:
    """Check what the writers decided against the same in SQL alone."""
    assert [str(one) for one in check_invariants(project_id=project.pk, only="I9")] == []


# Works


def test_a_life_is_followed_step_by_step(life: Life) -> None:
    bought = after(life, life.buy)
    assert bought.plan is not None and bought.plan.code == "maker"
    assert (bought.active, bought.active_until, bought.status, bought.epoch) == (True, None, "active", 0)
    assert bought.granted_period_start == bought.period_start == started(life)
    upgraded = after(life, life.upgrade)
    assert upgraded.plan is not None and upgraded.plan.code == "pro"
    assert (upgraded.granted_period_start, upgraded.epoch) == (bought.granted_period_start, 0)
    renewed = after(life, life.renew)
    assert renewed.granted_period_start == started(life) > bought.period_start
    failed = after(life, life.fail_to_renew)
    assert (failed.status, failed.active, failed.epoch) == ("past_due", True, 0)
    assert failed.granted_period_start == renewed.granted_period_start != failed.period_start == started(life)
    row = Subscription.objects.for_project(life.shop.project).get()
    assert row.past_due_since is not None
    assert failed.active_until == row.past_due_since + dt.timedelta(hours=72)
    agree(life.shop.project)
    recovered = after(life, life.recover)
    assert (recovered.status, recovered.active_until) == ("active", None)
    assert recovered.granted_period_start == started(life)
    ended = after(life, life.end)
    assert (ended.status, ended.active, ended.epoch) == ("canceled", False, 1)
    assert ended.granted_period_start == recovered.granted_period_start
    assert not Entitlement.objects.for_project(life.shop.project).in_mode("live").exists()
    agree(life.shop.project)


def test_a_renewal_counts_when_its_invoice_is_paid_and_not_while_it_is_a_draft(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    plan = sell(shop, "maker", MAKER, 1)
    clock_id = shop.api("POST", "test_helpers/test_clocks", frozen_time=int(time.time()))["id"]
    subscription = subscribe(shop, dana, price_of(plan), test_clock=clock_id)
    deliver(shop, fresh(shop))
    first = held(dana).granted_period_start
    end = subscription["items"]["data"][0]["current_period_end"]
    advance(shop, clock_id, end + 60)
    deliver(shop, fresh(shop))
    begun = held(dana)
    assert (begun.period_start, begun.granted_period_start) == (from_unix(end), first)
    advance(shop, clock_id, end + 2 * 3600)
    deliver(shop, fresh(shop))
    assert held(dana).granted_period_start == from_unix(end)
    agree(shop.project)


def test_a_trial_is_granted_and_its_first_paid_period_once_more(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    plan = sell(shop, "maker", MAKER, 1)
    clock_id = shop.api("POST", "test_helpers/test_clocks", frozen_time=int(time.time()))["id"]
    made = subscribe(shop, dana, price_of(plan), test_clock=clock_id, trial_period_days=3)
    deliver(shop, fresh(shop))
    trial = held(dana)
    assert (trial.status, trial.active, trial.granted_period_start) == ("trialing", True, trial.period_start)
    advance(shop, clock_id, made["trial_end"] + 2 * 3600)
    deliver(shop, fresh(shop))
    paid = held(dana)
    assert (paid.status, paid.granted_period_start) == ("active", from_unix(made["trial_end"]))
    agree(shop.project)


def test_a_change_of_interval_grants_when_money_was_paid_for_it_and_not_on_the_way_back(life: Life) -> None:
    bought = after(life, life.buy)
    maker = life.shop.project.plans.get(code="maker")
    sell(life.shop, "maker", 10 * MAKER, 1, interval="year", plan=maker)
    yearly = maker.prices.get(interval="year").stripe_price_id
    later(life)
    year = after(life, lambda: switch(life, yearly))
    assert year.granted_period_start == year.period_start == started(life) > bought.period_start
    later(life)
    month = after(life, lambda: switch(life, life.prices[0]))
    assert month.period_start == started(life) > year.period_start
    assert month.granted_period_start == year.granted_period_start
    agree(life.shop.project)


def test_a_grace_ends_by_the_clock_alone(acme: Project, dana: AppUser, time_machine: Any) -> None:
    free, maker = create_plan(acme, code="free", free=True), create_plan(acme, code="maker", rank=1)
    failed_at = clock.now()
    create_subscription(acme, end_user=dana.end_user, plan=maker, status="past_due", past_due_since=failed_at)
    before = held(dana)
    assert plan_held(before, clock.now()) == maker
    time_machine.move_to(failed_at + dt.timedelta(hours=71, minutes=59))
    assert read_entitled(project_id=acme.pk, mode="test", end_user_id=dana.end_user.pk).tier == "maker"
    time_machine.move_to(failed_at + dt.timedelta(hours=72))
    now = read_entitled(project_id=acme.pk, mode="test", end_user_id=dana.end_user.pk)
    assert (now.tier, now.plan_active, plan_held(held(dana), clock.now())) == ("free", False, free)
    assert held(dana).changed_at == before.changed_at


def test_what_was_bought_before_the_user_was_known_becomes_theirs(acme: Project, dana: AppUser) -> None:
    row = create_subscription(acme, plan=create_plan(acme, code="maker"))
    scope = Scope(acme.pk, "test")
    StripeCustomer.objects.create(
        id=scope.row_id(row.stripe_customer_id), project=acme, mode="test", stripe_customer_id=row.stripe_customer_id
    )
    with transaction.atomic():
        scope.bind({"id": row.stripe_customer_id}, dana.end_user.pk)
        follow_standings(scope)
    assert held(dana).subscription_id == row.stripe_subscription_id


def test_a_refund_that_takes_access_away_ends_the_plan_and_its_tokens(life: Life) -> None:
    after(life, life.buy)
    intent = life.shop.objects("payment_intents")[0]["id"]
    refunded = after(life, lambda: life.shop.api("POST", "refunds", payment_intent=intent))
    assert (refunded.status, refunded.active, refunded.epoch) == ("active", False, 1)
    agree(life.shop.project)


def test_a_dispute_that_is_won_gives_the_periods_credits_back_as_they_were_left(life: Life) -> None:
    project, user = life.shop.project, life.user
    project.plans.filter(code="maker").update(credits_per_period=1000)
    BillingPolicy.objects.create(project=project, dispute_revokes="opened")
    after(life, life.buy)
    spend(user, 300)
    charge = life.shop.objects("charges")[0]["id"]
    assert not after(life, lambda: control(life.shop, f"charges/{charge}/dispute", reason="fraudulent")).active
    assert available(user) == 0
    dispute = life.shop.objects("disputes")[0]["id"]
    assert after(life, lambda: control(life.shop, f"disputes/{dispute}/close", outcome="won")).active
    assert available(user) == 700
    deliver(life.shop, [event | {"id": f"evt_{uuid.uuid4().hex}"} for event in events_of(life.shop)[-4:]])
    assert kinds(transactions_of(user)) == [("grant", 1000), ("spend", -300), ("expire", -700), ("grant", 700)]
    assert_ledger_holds(project)


def test_a_change_of_policy_is_followed_in_the_background(acme: Project, alice: Developer, dana: AppUser) -> None:
    failed_at = clock.now() - dt.timedelta(hours=80)
    create_subscription(
        acme, end_user=dana.end_user, plan=create_plan(acme), status="past_due", past_due_since=failed_at
    )
    assert held(dana).active_until == failed_at + dt.timedelta(hours=72)
    path = f"/api/v1/payments/stripe/projects/{acme.pk}/billing-policy"
    assert alice.client.put(path, {"grace_hours": 96}, content_type="application/json").status_code == 200
    run_outbox()
    assert held(dana).active_until == failed_at + dt.timedelta(hours=96)
    agree(acme)


def test_a_plan_given_by_hand_stays_until_it_is_taken_back(acme: Project, dana: AppUser) -> None:
    maker, staff = create_plan(acme, code="maker", rank=1), create_plan(acme, code="staff", rank=9, internal=True)
    whose: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk, "cause": "test"}
    with transaction.atomic():
        assert give_plan(plan=staff, **whose).plan == staff
    row = create_subscription(acme, end_user=dana.end_user, plan=maker)
    assert held(dana).plan == staff
    agree(acme)
    take_plan_back(**whose)
    assert (held(dana).plan, held(dana).subscription_id) == (maker, row.stripe_subscription_id)
    assert held(dana).epoch > 0
    agree(acme)


def test_taking_a_given_plan_back_leaves_the_credits_that_were_paid_for(acme: Project, dana: AppUser) -> None:
    maker = create_plan(acme, code="maker", rank=1, credits_per_period=1000)
    staff = create_plan(acme, code="staff", rank=0, internal=True)
    whose: dict[str, Any] = {"project_id": acme.pk, "mode": "test", "end_user_id": dana.end_user.pk, "cause": "test"}
    bought = pay_for(dana, maker)
    spend(dana, 100)
    with transaction.atomic():
        give_plan(plan=staff, **whose)
    take_plan_back(**whose)
    assert (held(dana).plan, available(dana)) == (maker, 900)
    assert kinds(transactions_of(dana)) == [("grant", 1000), ("spend", -100)]
    # Once, for the plan that was given: what takes its place ranks higher.
    assert held(dana).epoch == 1
    with transaction.atomic():
        give_plan(plan=staff, **whose)
    Subscription.objects.filter(pk=bought.pk).update(status="canceled", ended_at=clock.now())
    take_plan_back(**whose)
    assert (held(dana).active, available(dana)) == (False, 0)
    agree(acme)
    assert_ledger_holds(acme)


# Refuses, and changes nothing


def test_an_unpaid_subscription_is_not_active(acme: Project, dana: AppUser) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme), status="unpaid")
    assert not held(dana).active


def test_nothing_is_decided_outside_a_transaction(acme: Project, dana: AppUser) -> None:
    with pytest.raises(RuntimeError):
        write_standings(project_id=acme.pk, mode="test", end_user_ids=[dana.end_user.pk], cause="test")
    assert not Entitlement.objects.for_project(acme).exists()


def test_test_mode_gives_nothing_in_live_mode(acme: Project, dana: AppUser) -> None:
    maker = create_plan(acme, code="maker", rank=1)
    create_subscription(acme, end_user=dana.end_user, plan=maker)
    live = read_entitled(project_id=acme.pk, mode="live", end_user_id=dana.end_user.pk)
    assert (live.tier, live.plan_active, live.features) == ("free", False, {})


# Edge: the same in SQL alone


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(STATUS_PRECEDENCE),
            st.booleans(),
            st.sampled_from([None, -100, -50, -1, 5]),
            st.sampled_from([None, -60, 0]),
            st.integers(-3, 3),
        ),
        min_size=1,
        max_size=3,
    ),
    statuses=st.sampled_from([["active", "trialing"], ["active"], ["active", "incomplete"]]),
    grace=st.sampled_from([0, 72, 240]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_writers_the_check_and_the_first_filling_agree(rows: Any, statuses: Any, grace: int) -> None:
    project = create_project()
    user, plan = create_end_user(project), create_plan(project)
    BillingPolicy.objects.create(project=project, entitled_statuses=statuses, grace_hours=grace)
    now = clock.now()
    for status, revoked, since, cancel, age in rows:
        values: dict[str, Any] = {"status": status, "plan": plan if age else None, "end_user": user}
        values |= {"created_at": now + dt.timedelta(days=age), "cancel_at": _at(now, cancel)}
        values |= {"access_revoked_at": now if revoked else None, "past_due_since": _at(now, since)}
        row = create_subscription(project, **values)
        create_invoice(
            project, subscription=row, billing_reason="subscription_cycle", period_end=row.current_period_start
        )
    follow_subscription(row)
    decided = state_of(project)
    agree(project)
    Entitlement.objects.for_project(project).delete()
    assert check_invariants(project_id=project.pk, only="I9") != []
    with connection.cursor() as cursor:
        cursor.execute(import_module("payments.migrations.0012_entitlements_of_before").BACKFILL)
    agree(project)
    assert state_of(project) == decided
    Entitlement.objects.for_project(project).update(subscription_id="sub_of_nobody", status="wrong")
    heal_standings(project_id=project.pk, cause="test")
    agree(project)


def _at(now: dt.datetime, hours: int | None) -> dt.datetime | None:
    return None if hours is None else now + dt.timedelta(hours=hours)


def state_of(project: Project) -> list[dict[str, Any]]:
    rows = Entitlement.objects.for_project(project).values()
    own = {"id", "epoch", "epoch_raised_at", "changed_at", "created_at"}
    return [{name: value for name, value in row.items() if name not in own} for row in rows]


# Race


def test_two_subscriptions_of_one_user_that_change_at_once_end_right(acme: Project, dana: AppUser) -> None:
    old, new = create_plan(acme, code="old", rank=1), create_plan(acme, code="new", rank=2)
    now = clock.now()
    first = create_subscription(acme, end_user=dana.end_user, plan=old, created_at=now - dt.timedelta(days=2))
    second = create_subscription(acme, end_user=dana.end_user, plan=new, status="incomplete")
    decided = threading.Event()

    def change(number: int) -> None:
        row, status = ((second, "active"), (first, "canceled"))[number]
        with transaction.atomic():
            Subscription.objects.filter(pk=row.pk).update(status=status)
            if number:
                # The other has decided, and nobody sees it yet.
                assert decided.wait(10)
            write_standings(project_id=acme.pk, mode="test", end_user_ids=[dana.end_user.pk], cause="race")
            decided.set()
            time.sleep(0 if number else 0.2)

    at_once(2, change)
    assert (held(dana).plan, held(dana).active) == (new, True)
    agree(acme)


# Replay


def test_events_in_any_order_and_twice_end_in_the_same_holding(life: Life) -> None:
    for step in (life.buy, life.upgrade, life.renew, life.fail_to_renew, life.recover):
        step()
    events = events_of(life.shop)
    deliver(life.shop, list(reversed(events)))
    backwards = state_of(life.shop.project)
    forget_everything(life.shop)
    deliver(life.shop, events)
    assert state_of(life.shop.project) == backwards
    agree(life.shop.project)
    epoch = held(life.user).epoch
    deliver(life.shop, [event | {"id": f"evt_{uuid.uuid4().hex}"} for event in events[-4:]])
    assert (state_of(life.shop.project), held(life.user).epoch) == (backwards, epoch)
