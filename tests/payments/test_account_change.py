"""A project's key is replaced by another account's: what was bought at the former account is not over for that."""

import datetime as dt
from typing import Any

import pytest
import time_machine

from common import clock
from notifications.models import OutboxRow
from payments.models import Subscription
from payments.services.stripe_config import put_stripe_config
from payments.services.sync_subscription import sync_subscription
from tests.cast import AppUser
from tests.payments.deliveries import deliver, events_of, set_webhook_secret
from tests.payments.shop import Shop, buy, get


@pytest.fixture
def moved(shop: Shop, dana: AppUser) -> Any:
    """Dana has a subscription, and the project another account."""
    set_webhook_secret(shop.project)
    buy(shop, dana, shop.price(1000))
    deliver(shop, events_of(shop))
    other = shop.sandbox.create_account("Another")
    put_stripe_config(
        project=shop.project, changes={"test_secret_key": other.test_secret_key}, confirm_account_change=True
    )
    return other


def held(shop: Shop) -> Subscription:
    return Subscription.objects.for_project(shop.project).get()


def read_again(shop: Shop) -> Subscription:
    sync_subscription(project=shop.project, mode="test", subscription_id=held(shop).stripe_subscription_id)
    return held(shop)


def mails_of_the_end(shop: Shop) -> list[str]:
    rows = OutboxRow.objects.for_project(shop.project).filter(effect_key__contains="subscription_canceled")
    return [row.status for row in rows]


def test_what_the_former_account_sold_goes_on_to_the_end_of_its_period(shop: Shop, dana: AppUser, moved: Any) -> None:
    before = held(shop)
    assert before.status == "active"
    assert read_again(shop).status == "active"
    assert get(dana, "my-subscription").json()["status"] == "active"
    assert mails_of_the_end(shop) == []


def test_it_ends_then_and_nobody_is_told_of_a_cancellation(shop: Shop, dana: AppUser, moved: Any) -> None:
    end = held(shop).current_period_end
    assert end is not None
    with time_machine.travel(end + dt.timedelta(seconds=1), tick=True):
        ended = read_again(shop)
        assert (ended.status, ended.ended_at is not None and ended.ended_at <= clock.now()) == ("canceled", True)
    assert mails_of_the_end(shop) == ["skipped"]


def test_with_the_former_key_it_is_followed_again(shop: Shop, dana: AppUser, moved: Any) -> None:
    shop.api("DELETE", f"subscriptions/{held(shop).stripe_subscription_id}")
    assert read_again(shop).status == "active", "the other account cannot know"
    put_stripe_config(
        project=shop.project, changes={"test_secret_key": shop.account.test_secret_key}, confirm_account_change=True
    )
    assert read_again(shop).status == "canceled"
    assert len(mails_of_the_end(shop)) == 1 and mails_of_the_end(shop) != ["skipped"]
