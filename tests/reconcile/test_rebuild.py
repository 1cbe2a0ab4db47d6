"""manage.py rebuild: the same ids and values from Stripe alone, whatever the rows said before."""

import datetime as dt
import random
from typing import Any

import pytest
from django.utils import timezone

from notifications.models import OutboxRow
from payments.models import (
    Dispute,
    Invoice,
    Refund,
    StripeCredentials,
    StripeCustomer,
    Subscription,
    SubscriptionChange,
    Transaction,
)
from payments.services.invariants import check_invariants
from tests.payments.deliveries import deliver, events_of
from tests.payments.rows import create_payment, create_plan, create_subscription
from tests.payments.shop import Shop, connect_stripe
from tests.reconcile.runs import all_rows, drifts, reconcile, run_command, runs
from tests.scenarios.lifecycle import Life, compare_with_stripe

DERIVED: tuple[Any, ...] = (Subscription, Transaction, Invoice, Refund, Dispute)
NO_CORRUPTION = {"id", "project", "mode"}


@pytest.fixture
def lived(life: Life) -> Life:
    """A life with everything in it that has a table, delivered."""
    for step in (life.buy, life.upgrade, life.renew, life.fail_to_renew, life.refund_a_part):
        step()
    first = life.shop.objects("charges")[-1]["id"]
    life.shop.api("POST", f"customers/{life.subscription['customer']}", name="Dana Buyer")
    assert first
    deliver(life.shop, events_of(life.shop))
    return life


def rebuild(shop: Shop, *options: str) -> tuple[int, str]:
    return run_command("rebuild", shop.project.slug, "--mode", "test", *options)


def corrupt(shop: Shop, rng: random.Random) -> int:
    """Put nonsense into random columns of random rows; returns how many rows were hit."""
    hit = 0
    for model in DERIVED:
        for row in model.objects.for_project(shop.project):
            if rng.random() < 0.3:
                continue
            fields = [one for one in model._meta.concrete_fields if one.name not in NO_CORRUPTION]
            values = {one.attname: nonsense(one, rng) for one in rng.sample(fields, 3)}
            if "refunded_amount_cents" in values or "amount_cents" in values:
                values |= {name: 0 for name in ("refunded_amount_cents", "amount_cents") if hasattr(row, name)}
            model.objects.filter(pk=row.pk).update(**values)
            hit += 1
    return hit


def nonsense(field: Any, rng: random.Random) -> Any:
    """Return a value of the column's type that nobody would write."""
    kind = field.get_internal_type()
    if kind in ("CharField", "TextField"):
        return f"x{rng.randrange(10**8)}"[: field.max_length or 10]
    if kind == "DateTimeField":
        return timezone.now() - dt.timedelta(days=rng.randrange(1, 5000))
    if kind == "BooleanField":
        return rng.random() < 0.5
    if kind == "JSONField":
        return {"nonsense": rng.randrange(10)}
    if field.is_relation:
        return None
    return rng.randrange(1, 1000)


def test_an_undamaged_project_is_rebuilt_to_what_it_was(lived: Life) -> None:
    shop = lived.shop
    before = all_rows(shop)
    history = list(SubscriptionChange.objects.for_project(shop.project).order_by("pk").values())
    effects = list(OutboxRow.objects.for_project(shop.project).order_by("pk").values("effect_key", "status"))
    code, said = rebuild(shop)
    assert code == 0, said
    assert all_rows(shop) == before
    assert list(SubscriptionChange.objects.for_project(shop.project).order_by("pk").values()) == history
    assert list(OutboxRow.objects.for_project(shop.project).order_by("pk").values("effect_key", "status")) == effects
    assert runs(shop).get().differences == 0
    assert check_invariants(project_id=shop.project.pk) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_random_damage_is_gone_afterwards(lived: Life, seed: int) -> None:
    shop = lived.shop
    before = all_rows(shop)
    damaged = corrupt(shop, random.Random(seed))
    assert damaged > 3 and all_rows(shop) != before
    code, said = rebuild(shop)
    assert code == 0, said
    assert all_rows(shop) == before
    compare_with_stripe(shop)
    assert check_invariants(project_id=shop.project.pk) == []
    assert not OutboxRow.objects.for_project(shop.project).filter(cause="rebuild", status="pending").exists()


def test_rows_that_are_gone_come_back_and_rows_of_nothing_go(lived: Life) -> None:
    shop = lived.shop
    before = all_rows(shop)
    for model in (Refund, Invoice, Transaction):
        model.objects.for_project(shop.project).delete()
    ghost = create_subscription(shop.project)
    create_payment(shop.project)
    out_of_band = create_payment(shop.project, payment_intent_id="in_never_there")
    SubscriptionChange.objects.create(
        project=shop.project, mode="test", subscription=ghost, kind="other", source="sync"
    )
    code, said = rebuild(shop)
    assert code == 0, said
    assert all_rows(shop) == before
    assert not Transaction.objects.filter(pk=out_of_band.pk).exists()
    assert check_invariants(project_id=shop.project.pk) == []


def test_grace_over_two_unpaid_invoices_is_derived_anew(lived: Life) -> None:
    shop = lived.shop
    lived.fail_to_renew()
    deliver(shop, events_of(shop))
    (row,) = Subscription.objects.for_project(shop.project)
    unpaid = Invoice.objects.for_project(shop.project).filter(status="open").order_by("finalized_at")
    assert unpaid.count() == 2 and row.past_due_since is not None
    assert row.past_due_since == unpaid[0].finalized_at
    rebuild(shop)
    assert runs(shop).get().differences == 0
    for wrong in (row.past_due_since + dt.timedelta(days=9), row.past_due_since - dt.timedelta(days=9)):
        Subscription.objects.filter(pk=row.pk).update(past_due_since=wrong)
        reconcile(shop, "--kind", "objects", "--heal")
        assert Subscription.objects.get(pk=row.pk).past_due_since == row.past_due_since
    assert {one.field for one in drifts(shop)} == {"past_due_since"} and drifts(shop).count() == 2


def test_a_real_difference_is_one_line_of_history(lived: Life) -> None:
    shop = lived.shop
    lines = SubscriptionChange.objects.for_project(shop.project).count()
    Subscription.objects.for_project(shop.project).update(quantity=7)
    rebuild(shop)
    assert SubscriptionChange.objects.for_project(shop.project).count() == lines + 1
    line = SubscriptionChange.objects.for_project(shop.project).latest("recorded_at")
    assert (line.source, line.before, line.after) == ("rebuild", {"quantity": 7}, {"quantity": 1})


def test_a_plan_whose_price_is_not_sold_any_more_is_kept(lived: Life) -> None:
    plan = create_plan(lived.shop.project)
    Subscription.objects.for_project(lived.shop.project).update(plan=plan)
    rebuild(lived.shop)
    assert Subscription.objects.for_project(lived.shop.project).get().plan_id == plan.pk


def test_another_project_and_the_other_mode_are_left_alone(lived: Life, other_project: Any, sandbox: Any) -> None:
    connect_stripe(other_project, sandbox.create_account("Other"))
    theirs, live = create_payment(other_project), create_payment(lived.shop.project, mode="live")
    rebuild(lived.shop)
    for row in (theirs, live):
        assert Transaction.objects.filter(pk=row.pk).exists()


def test_an_interrupted_rebuild_goes_on(lived: Life, settings: Any) -> None:
    shop = lived.shop
    settings.RECONCILE_PAGE_SIZE = 1
    before = all_rows(shop)
    corrupt(shop, random.Random(3))
    shop.fault("GET /v1/invoices/*", "status:401", times=1)
    code, said = rebuild(shop)
    assert code == 1 and "goes on where it was" in said
    run = runs(shop).get()
    assert run.status == "running" and run.cursors["customers"] == "done"
    assert rebuild(shop)[0] == 0
    assert all_rows(shop) == before and runs(shop).count() == 1


def test_refuses_an_unknown_project_and_one_without_a_key(lived: Life) -> None:
    before = all_rows(lived.shop)
    assert run_command("rebuild", "no-such-project")[0] == 1
    StripeCredentials.objects.for_project(lived.shop.project).update(secret_key="")
    assert rebuild(lived.shop)[0] == 1
    assert all_rows(lived.shop) == before and StripeCustomer.objects.for_project(lived.shop.project).count() == 1
