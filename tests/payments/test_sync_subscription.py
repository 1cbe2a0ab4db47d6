"""The row of a subscription: plan, period, cancellation, and whose it is."""

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from common.clock import from_unix
from entitlements.models import Plan, PlanPrice
from payments.models import StripeCustomer, Subscription, SubscriptionChange, Transaction
from payments.services.leases import SyncBusy, end_lease, take_lease
from payments.services.objects.subscription import cancel_time, cancels_at_period_end, write_subscription
from payments.services.ownership import Scope
from payments.services.sync_subscription import sync_subscription
from payments.stripe_api import StripeNotConfigured, StripeUnavailable
from tests.cast import AppUser
from tests.payments.rows import stripe_id
from tests.payments.shop import Shop


def subscribe(shop: Shop, user: AppUser, price_id: str) -> dict[str, Any]:
    """Make a subscription at Stripe through the API, with a card that pays."""
    about: dict[str, Any] = {"email": "dana@example.com", "metadata[end_user_id]": str(user.end_user.pk)}
    customer = shop.api("POST", "customers", **about)
    card = shop.api("POST", "payment_methods/pm_card_visa/attach", customer=customer["id"])
    wanted: dict[str, Any] = {"items[0][price]": price_id, "default_payment_method": card["id"]}
    return shop.api("POST", "subscriptions", customer=customer["id"], **wanted)


def a_subscription(price_id: str = "price_1", **fields: Any) -> dict[str, Any]:
    """Write a subscription as Stripe sends it, as far as its row needs it."""
    price = {"id": price_id, "lookup_key": fields.pop("lookup_key", None)}
    item = {"price": price, "quantity": 1, "current_period_start": 1_790_000_000, "current_period_end": 1_792_000_000}
    return {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "items": {"data": [item]},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "trial_end": None,
        "pause_collection": None,
        "created": 1_790_000_000,
        "metadata": {},
    } | fields


def write(shop: Shop, found: dict[str, Any]) -> Subscription:
    with transaction.atomic():
        write_subscription(Scope(shop.project.pk, "test"), found["id"], found)
    return Subscription.objects.for_project(shop.project).get(stripe_subscription_id=found["id"])


def sell(shop: Shop, code: str, **price: Any) -> Plan:
    plan = Plan.objects.create(project=shop.project, code=code, name=code.title())
    PlanPrice.objects.create(project=shop.project, plan=plan, mode=price.pop("mode", "test"), **price)
    return plan


# Works


def test_a_subscription_is_read_and_written(shop: Shop, dana: AppUser) -> None:
    made = subscribe(shop, dana, shop.price(1000))
    row = sync_subscription(project=shop.project, mode="test", subscription_id=made["id"])
    assert row is not None
    assert (row.status, row.end_user, row.stripe_customer_id) == ("active", dana.end_user, made["customer"])
    assert row == Subscription.objects.current_for(dana.end_user, "test")
    customer = StripeCustomer.objects.for_project(shop.project).get()
    assert (customer.end_user, customer.email) == (dana.end_user, "dana@example.com")


def test_what_stripe_does_not_have_is_none(shop: Shop) -> None:
    assert sync_subscription(project=shop.project, mode="test", subscription_id="sub_none") is None


# Refuses


def test_trouble_with_stripe_writes_nothing(shop: Shop, dana: AppUser) -> None:
    made = subscribe(shop, dana, shop.price(1000))
    shop.fault(f"GET /v1/subscriptions/{made['id']}", "status:500", times=5)
    with pytest.raises(StripeUnavailable):
        sync_subscription(project=shop.project, mode="test", subscription_id=made["id"])
    assert not Subscription.objects.for_project(shop.project).exists()


def test_a_project_without_keys_is_refused(other_project: Any) -> None:
    with pytest.raises(StripeNotConfigured):
        sync_subscription(project=other_project, mode="test", subscription_id="sub_1")


def test_a_busy_customer_is_waited_for_and_then_refused(shop: Shop, dana: AppUser) -> None:
    made = subscribe(shop, dana, shop.price(1000))
    lease = take_lease(project_id=shop.project.pk, mode="test", root=made["customer"])
    with pytest.raises(SyncBusy):
        sync_subscription(project=shop.project, mode="test", subscription_id=made["id"], wait_seconds=0.1)
    end_lease(lease)
    assert (
        sync_subscription(project=shop.project, mode="test", subscription_id=made["id"], wait_seconds=0.1) is not None
    )


# Edge: plans


def test_the_plan_is_found_by_price_id_then_by_lookup_key(shop: Shop) -> None:
    by_id = sell(shop, "pro", stripe_price_id="price_1")
    by_key = sell(shop, "team", lookup_key="team_monthly")
    sell(shop, "live-only", mode="live", stripe_price_id="price_live")
    assert write(shop, a_subscription("price_1", lookup_key="team_monthly")).plan == by_id
    assert write(shop, a_subscription("price_2", lookup_key="team_monthly")).plan == by_key
    assert write(shop, a_subscription("price_live", id="sub_2")).plan is None


def test_an_unknown_price_never_takes_a_plan_away(shop: Shop) -> None:
    pro = sell(shop, "pro", stripe_price_id="price_1")
    assert write(shop, a_subscription("price_1")).plan == pro
    row = write(shop, a_subscription("price_unknown"))
    assert (row.plan, row.stripe_price_id) == (pro, "price_unknown")


def test_another_projects_plan_is_never_given(shop: Shop, other_project: Any) -> None:
    theirs = Plan.objects.create(project=other_project, code="pro", name="Pro")
    PlanPrice.objects.create(project=other_project, plan=theirs, mode="test", stripe_price_id="price_1")
    assert write(shop, a_subscription("price_1")).plan is None


# Edge: shapes from before and after 2025-03-31


def test_the_period_is_read_from_the_item_or_from_the_top(shop: Shop) -> None:
    new = write(shop, a_subscription())
    old_item = {"price": {"id": "price_1"}, "quantity": 3}
    old = write(
        shop,
        a_subscription(
            id="sub_2",
            items={"data": [old_item]},
            current_period_start=1_790_000_000,
            current_period_end=1_792_000_000,
        ),
    )
    assert new.current_period_end == old.current_period_end is not None
    assert (new.current_period_start, old.quantity) == (old.current_period_start, 3)


def test_what_is_used_beside_the_plan_does_not_stand_for_it(shop: Shop) -> None:
    pro = sell(shop, "pro", stripe_price_id="price_pro")
    metered = {"price": {"id": "price_calls", "recurring": {"usage_type": "metered"}}}
    plan = {"price": {"id": "price_pro", "recurring": {"usage_type": "licensed"}}, "quantity": 3}
    edges = [{"current_period_start": at, "current_period_end": at + 1_000} for at in (1_790_000_000, 1_791_000_000)]
    beside = write(shop, a_subscription(items={"data": [metered | edges[0], plan | edges[1]]}))
    told = (beside.plan, beside.stripe_price_id, beside.quantity, beside.current_period_end)
    assert told == (pro, "price_pro", 3, from_unix(1_791_001_000))
    # By itself it is what was bought.
    alone = write(shop, a_subscription(id="sub_2", items={"data": [metered | edges[0]]}))
    assert (alone.stripe_price_id, alone.current_period_end) == ("price_calls", from_unix(1_790_001_000))


@pytest.mark.parametrize(
    ("fields", "ends_at", "with_the_period"),
    [
        ({}, None, False),
        ({"cancel_at": 1_792_000_000}, 1_792_000_000, True),
        ({"cancel_at": 1_792_000_000, "cancel_at_period_end": True}, 1_792_000_000, True),
        ({"cancel_at_period_end": True}, 1_792_000_000, True),
        ({"cancel_at": 1_791_000_000}, 1_791_000_000, False),
        ({"status": "canceled", "cancel_at_period_end": True}, None, True),
        ({"status": "canceled"}, None, False),
    ],
)
def test_a_cancellation_is_read_in_both_shapes(
    fields: dict[str, Any], ends_at: int | None, with_the_period: bool
) -> None:
    found = a_subscription(**fields)
    assert (cancel_time(found), cancels_at_period_end(found)) == (ends_at, with_the_period)


# Edge: whose it is


def test_what_was_written_before_the_user_was_known_becomes_theirs(shop: Shop, dana: AppUser) -> None:
    unknown = write(shop, a_subscription())
    payment = Transaction.objects.create(
        id=Scope(shop.project.pk, "test").row_id("pi_1"),
        project=shop.project,
        mode="test",
        payment_intent_id="pi_1",
        stripe_customer_id="cus_1",
        status="succeeded",
        amount_cents=1,
        currency="usd",
        created_at=unknown.created_at,
    )
    assert unknown.end_user is None
    Scope(shop.project.pk, "test").bind("cus_1", dana.end_user.pk)
    unknown.refresh_from_db()
    payment.refresh_from_db()
    assert unknown.end_user == payment.end_user == dana.end_user


def test_metadata_cannot_name_another_projects_user(shop: Shop, frank: AppUser) -> None:
    for named in (str(frank.end_user.pk), "nobody", "", stripe_id("x")):
        row = write(shop, a_subscription(metadata={"end_user_id": named}))
        assert row.end_user is None


def test_a_second_customer_of_a_user_keeps_what_it_bought_with_the_user(shop: Shop, dana: AppUser) -> None:
    mine = {"end_user_id": str(dana.end_user.pk)}
    first = write(shop, a_subscription(metadata=mine))
    second = write(shop, a_subscription(id="sub_2", customer="cus_2", metadata=mine))
    assert first.end_user == second.end_user == dana.end_user
    bound = StripeCustomer.objects.for_project(shop.project).filter(end_user=dana.end_user)
    assert [row.stripe_customer_id for row in bound] == ["cus_1"]


# Race


def test_four_readers_at_once_write_one_row(shop: Shop, dana: AppUser) -> None:
    made = subscribe(shop, dana, shop.price(1000))
    start = threading.Barrier(4)
    found: list[str] = []

    def reader() -> None:
        start.wait()
        row = sync_subscription(project=shop.project, mode="test", subscription_id=made["id"], wait_seconds=20)
        found.append(row.status if row else "")
        connection.close()

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["active"] * 4
    assert Subscription.objects.for_project(shop.project).count() == 1
    assert SubscriptionChange.objects.for_project(shop.project).count() == 1
