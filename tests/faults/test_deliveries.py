"""Deliveries on a bad day: doubled, at once, shuffled, old, after the return, while a secret is rolled (F12 to F15, F26, F31)."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from django.db.models.functions import Now

from payments.models import StripeCredentials
from payments.services.stripe_config import put_stripe_config
from tests.cast import AppUser
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService, wait_until
from tests.payments.deliveries import SECRET, an_event, deliver, events_of, set_webhook_secret, stored
from tests.payments.shop import Shop, buy
from tests.scenarios.lifecycle import Life, rows_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CONNECTIONS = 8
COPIES = 5
NEW_SECRET = "whsec_" + "fedcba9876543210" * 2  # pragma: allowlist secret
# How long a process may go by a secret that was replaced, and a moment.
KNOWN_SECONDS = 8


def test_f12_f13_every_event_five_times_on_eight_connections_in_any_order_counts_once(
    live_service: LiveService, sender: Sender, life: Life, rng: Random
) -> None:
    live_a_whole_life(life)
    events = events_of(life.shop)
    deliveries = events * COPIES
    rng.shuffle(deliveries)
    start = threading.Barrier(CONNECTIONS)

    def send_part(number: int) -> set[int]:
        start.wait(10)
        return {sender.send(event) for event in deliveries[number::CONNECTIONS]}

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = set().union(*pool.map(send_part, range(CONNECTIONS)))
    assert answers == {200}
    sender.wait_drained()
    sender.check_effects_once()
    assert stored(life.shop.project).count() == len(events)
    # All of it once more, three days late under ids that were never seen: nothing comes back to life.
    before = rows_of(life.shop)
    late = [event | {"id": an_event()["id"], "created": event["created"] - 3 * 86_400} for event in events]
    assert {sender.send(event) for event in rng.sample(late, len(late))} == {200}
    sender.wait_drained()
    sender.check_effects_once()
    assert rows_of(life.shop) == before


def test_f26_the_paid_state_is_there_on_return_and_the_webhooks_after_it_change_nothing(
    shop: Shop, dana: AppUser, rng: Random
) -> None:
    set_webhook_secret(shop.project)
    told = buy(shop, dana, shop.price(1000))
    assert (told["status"], told["payment_status"]) == ("complete", "paid")
    before = bought_rows(shop)
    assert before["Subscription"][0]["status"] == "active"
    events = events_of(shop)
    deliver(shop, rng.sample(events, len(events)))
    assert bought_rows(shop) == before


def bought_rows(shop: Shop) -> dict[str, Any]:
    """Return what was bought; a customer's address and card come with the customer's own events."""
    return {name: rows for name, rows in rows_of(shop).items() if name != "StripeCustomer"}


@pytest.mark.live(parts=("web",))
def test_f31_no_delivery_is_refused_while_a_secret_is_rolled_and_the_old_one_ends(
    live_service: LiveService, sender: Sender, life: Life
) -> None:
    # Stripe signs with both while its endpoint's secret is being rolled.
    stop = threading.Event()
    answers: list[int] = []

    def keep_sending() -> None:
        while not stop.is_set():
            answers.append(sender.send(an_event(), secrets=signing_now))

    signing_now = [SECRET]
    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        wait_until(lambda: len(answers) > 20, seconds=20, what="deliveries before")
        signing_now = [SECRET, NEW_SECRET]
        put_stripe_config(project=life.shop.project, changes={"test_webhook_secret": NEW_SECRET})
        known = lambda: sender.send(an_event(), secrets=[NEW_SECRET]) == 200  # noqa: E731
        wait_until(known, seconds=KNOWN_SECONDS, what="the new secret verifies")
        signing_now = [NEW_SECRET]
        assert sender.send(an_event(), secrets=[SECRET]) == 200, "the old secret ended too early"
        sent = len(answers)
        wait_until(lambda: len(answers) > sent + 20, seconds=20, what="deliveries after")
    finally:
        stop.set()
        thread.join()
    assert set(answers) == {200}, sender.broken
    sender.check_nothing_lost()
    row = StripeCredentials.objects.for_project(life.shop.project).get(mode="test")
    assert row.previous_webhook_secret_expires_at is not None
    left = row.previous_webhook_secret_expires_at - dt.datetime.now(tz=dt.UTC)
    assert dt.timedelta(hours=23) < left <= dt.timedelta(hours=24)
    StripeCredentials.objects.filter(pk=row.pk).update(previous_webhook_secret_expires_at=Now())
    ended = lambda: sender.send(an_event(), secrets=[SECRET]) == 400  # noqa: E731
    wait_until(ended, seconds=KNOWN_SECONDS, what="the old secret is refused")
    assert sender.send(an_event(), secrets=[NEW_SECRET]) == 200
