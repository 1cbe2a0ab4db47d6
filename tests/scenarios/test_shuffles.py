"""Events come in any order, twice, and late: every order ends in the state that Stripe has."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payments.models import Subscription
from tests.cast import AppUser
from tests.payments.deliveries import (
    an_event,
    deliver,
    events_of,
    process_all,
    purchase,
    send,
    set_webhook_secret,
    stored,
)
from tests.payments.shop import Shop
from tests.scenarios.lifecycle import Life, compare_with_stripe, forget_everything, rows_of
from tests.scenarios.soaking import SHARES, SOAKING, examples_of

LIVES = 25 if SOAKING else 3


@dataclass(frozen=True)
class Recording:
    """A whole life, its events, and the rows that they lead to in their own order."""

    shop: Shop
    events: list[dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]]


@pytest.fixture
def life(shop: Shop, dana: AppUser) -> Life:
    """A buyer who has not bought yet, and two prices."""
    set_webhook_secret(shop.project)
    return Life(shop, dana, (shop.price(1000), shop.price(2500)))


@pytest.fixture
def recording(life: Life) -> Recording:
    """The life from the purchase to the end, delivered in order once."""
    for step in life.steps():
        step()
    events = events_of(life.shop)
    deliver(life.shop, events)
    compare_with_stripe(life.shop)
    return Recording(life.shop, events, rows_of(life.shop))


def test_a_life_in_order_ends_as_stripe_has_it(recording: Recording) -> None:
    (subscription,) = recording.rows["Subscription"]
    assert subscription["status"] == "canceled" and subscription["end_user_id"] is not None
    payments = recording.rows["Transaction"]
    assert {row["subscription_id"] for row in payments} == {subscription["id"]}
    assert [row["refunded_amount_cents"] for row in payments if row["refunded_amount_cents"]] == [300]
    assert len(recording.events) > 40


@pytest.mark.slow
@pytest.mark.timeout(3600 if SOAKING else 300)
@pytest.mark.parametrize("share", SHARES)
def test_every_order_with_duplicates_ends_in_one_state(recording: Recording, share: int) -> None:
    orders = examples_of(share, soaking=500, otherwise=50)
    shop, events = recording.shop, recording.events
    seen: set[str] = set()

    @settings(
        max_examples=orders,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(seed=st.randoms(use_true_random=False), repeats=st.integers(0, 10), batches=st.integers(1, 4))
    def shuffled(seed: random.Random, repeats: int, batches: int) -> None:
        order = events + [seed.choice(events) for _ in range(repeats)]
        seed.shuffle(order)
        seen.add(order[0]["id"])
        forget_everything(shop)
        size = -(-len(order) // batches)
        for start in range(0, len(order), size):
            deliver(shop, order[start : start + size])
        assert stored(shop.project).count() == len(events)
        assert rows_of(shop) == recording.rows

    shuffled()
    assert len(seen) > min(5, orders // 4), "the shuffles do not differ"
    compare_with_stripe(shop)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(LIVES))
def test_events_that_come_while_the_life_goes_on_end_in_one_state(life: Life, seed: int) -> None:
    chance = random.Random(seed)
    shop = life.shop
    delivered: set[str] = set()
    for step in life.steps():
        step()
        for event in chance.sample(events := events_of(shop), k=chance.randint(0, min(8, len(events)))):
            deliver(shop, [event], process=chance.random() < 0.5)
            delivered.add(event["id"])
    late = [event for event in events_of(shop) if event["id"] not in delivered]
    chance.shuffle(late)
    deliver(shop, late)
    compare_with_stripe(shop)
    shuffled = rows_of(shop)
    forget_everything(shop)
    deliver(shop, events_of(shop))
    assert shuffled == rows_of(shop)


@pytest.mark.parametrize("turned", [False, True])
def test_two_changes_in_the_same_second_end_in_the_newer_state_in_both_orders(
    shop: Shop, dana: AppUser, turned: bool
) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    subscription = Subscription.objects.for_project(shop.project).get()
    known = set(stored(shop.project).values_list("event_id", flat=True))
    for ends in ("true", "false"):
        shop.api("POST", f"subscriptions/{subscription.stripe_subscription_id}", cancel_at_period_end=ends)
    pair = [event for event in events_of(shop) if event["id"] not in known]
    assert len(pair) == 2
    same_second = [event | {"created": pair[0]["created"]} for event in pair]
    for event in reversed(same_second) if turned else same_second:
        deliver(shop, [event])
    subscription.refresh_from_db()
    assert (subscription.cancel_at, subscription.cancel_at_period_end) == (None, False)


def test_an_old_event_sent_again_after_the_end_brings_nothing_back(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    first = purchase(shop, dana, shop.price(1000))
    deliver(shop, first)
    subscription = Subscription.objects.for_project(shop.project).get()
    shop.api("DELETE", f"subscriptions/{subscription.stripe_subscription_id}")
    deliver(shop, [event for event in events_of(shop) if event["type"] == "customer.subscription.deleted"])
    before = rows_of(shop)
    created = next(event for event in first if event["type"] == "customer.subscription.created")
    assert send(shop.project, created).status_code == 200
    process_all(shop.project)
    assert rows_of(shop) == before
    # The same body under an id that was never seen, as a resend from a copied account would be.
    deliver(shop, [created | {"id": an_event()["id"], "created": created["created"] - 3 * 86_400}])
    assert rows_of(shop) == before
    subscription.refresh_from_db()
    assert subscription.status == "canceled"
