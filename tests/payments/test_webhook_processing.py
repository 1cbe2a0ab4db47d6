"""What becomes of stored events: read once, written once, tried again, laid aside, replayed."""

import threading
import time
import uuid
from typing import Any

import httpx
import pytest
from django.db import connection
from django.db.models.functions import Now

from payments.models import StripeCredentials, StripeCustomer, Subscription, SyncLease, WebhookEvent
from payments.services import inbox
from payments.services.inbox import lease_due_groups, replay_event, replay_events
from payments.services.leases import Lease, LeaseLost, SyncBusy, end_lease, purge_old_leases, take_lease, writing_under
from payments.services.processing import Handler, process_group
from payments.services.stripe_config import put_stripe_config
from payments.tasks import process_due_events, sweep_events
from payments.webhooks import HANDLERS
from tests.cast import AppUser, Developer, create_project
from tests.payments.deliveries import (
    an_event,
    deliver,
    events_of,
    make_due,
    process_all,
    purchase,
    send,
    set_webhook_secret,
    stored,
)
from tests.payments.rows import create_subscription
from tests.payments.shop import Shop, connect_stripe


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription, with everything that led to it delivered and processed."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Subscription.objects.for_project(shop.project).get()


def new_events(shop: Shop, *, type: str = "") -> list[dict[str, Any]]:
    """Return the events that were not delivered yet, oldest first."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known and event["type"].startswith(type)]


def my_groups(shop: Shop) -> list[inbox.EventGroup]:
    """Lease what is due of this shop; what other tests left behind is not waited for."""
    return [group for group in lease_due_groups(limit=200) if group.project_id == shop.project.pk]


def reads(shop: Shop, path: str) -> int:
    return len([entry for entry in shop.requests(path) if entry["method"] == "GET"])


# Works


def test_one_read_serves_a_burst_of_fifty_events(shop: Shop, bought: Subscription) -> None:
    before = reads(shop, f"/v1/subscriptions/{bought.stripe_subscription_id}")
    found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    deliver(shop, [an_event(data={"object": found}) for _ in range(50)], process=False)
    process_all(shop.project)
    assert reads(shop, f"/v1/subscriptions/{bought.stripe_subscription_id}") == before + 1
    assert stored(shop.project).filter(status="processed", type="customer.subscription.updated").count() == 50


def test_a_payload_is_never_believed(shop: Shop, bought: Subscription) -> None:
    lie = shop.api("GET", f"subscriptions/{bought.stripe_subscription_id}") | {"status": "canceled"}
    lie["items"]["data"][0]["quantity"] = 99
    deliver(shop, [an_event("customer.subscription.deleted", data={"object": lie})])
    bought.refresh_from_db()
    assert (bought.status, bought.quantity) == ("active", 1)


def test_an_event_about_an_object_that_stripe_lost_ends_what_we_have(shop: Shop, bought: Subscription) -> None:
    gone = create_subscription(shop.project, stripe_customer_id=bought.stripe_customer_id)
    found = {"id": gone.stripe_subscription_id, "object": "subscription", "customer": gone.stripe_customer_id}
    deliver(shop, [an_event(data={"object": found})])
    gone.refresh_from_db()
    assert gone.status == "canceled" and gone.ended_at is not None
    bought.refresh_from_db()
    assert bought.status == "active"


def test_types_that_nobody_follows_are_kept_as_ignored(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, [an_event("topup.created", data={"object": {"id": "tu_1", "object": "topup"}})])
    row = stored(shop.project).get()
    assert row.status == "ignored" and row.error and row.handled_at is not None


# Whose event


def test_an_event_of_another_project_on_the_same_account_is_ignored(
    shop: Shop, bought: Subscription, alice: Developer
) -> None:
    neighbour = create_project(alice, "Neighbour")
    connect_stripe(neighbour, shop.account)
    set_webhook_secret(neighbour)
    foreign = new_customer_subscription(shop)
    answer = send(neighbour, foreign)
    known_here = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    mine = send(shop.project, an_event(data={"object": known_here}))
    assert answer.status_code == mine.status_code == 200
    process_all(neighbour)
    process_all(shop.project)
    assert stored(neighbour).get().status == "ignored"
    assert not Subscription.objects.for_project(neighbour).exists()
    assert not StripeCustomer.objects.for_project(neighbour).exists()
    assert not stored(shop.project).filter(status="ignored", type__startswith="customer.subscription").exists()


def new_customer_subscription(shop: Shop, **metadata: str) -> dict[str, Any]:
    """Make an event about a subscription that exists at Stripe, of a customer that nobody here knows."""
    customer = shop.api("POST", "customers", email="somebody@example.com")
    found = {"id": "sub_none", "object": "subscription", "customer": customer["id"], "metadata": metadata}
    return an_event("customer.subscription.created", data={"object": found})


def test_an_event_that_names_this_project_is_ours_even_on_a_shared_account(shop: Shop, alice: Developer) -> None:
    neighbour = create_project(alice, "Neighbour")
    connect_stripe(neighbour, shop.account)
    set_webhook_secret(neighbour)
    assert send(neighbour, new_customer_subscription(shop, project_id=str(neighbour.pk))).status_code == 200
    assert send(neighbour, new_customer_subscription(shop, project_id=str(shop.project.pk))).status_code == 200
    process_all(neighbour)
    assert sorted(stored(neighbour).values_list("status", flat=True)) == ["ignored", "processed"]


# Trouble


class Broken(Exception):
    """A handler that does not work."""


def broken(*_: Any) -> Any:
    raise Broken("the handler met sk_test_abcdefghijklmnop and failed")


BROKEN_HANDLERS = HANDLERS | {"customer.subscription.updated": Handler(broken, "nothing", "to fail")}


def run(shop: Shop, handlers: Any = HANDLERS) -> None:
    for group in my_groups(shop):
        process_group(group, handlers)


def test_a_poison_event_becomes_a_dead_letter_and_the_rest_flows(
    shop: Shop, bought: Subscription, settings: Any
) -> None:
    settings.EVENT_MAX_ATTEMPTS = 3
    shop.api("POST", f"subscriptions/{bought.stripe_subscription_id}", cancel_at_period_end="true")
    poison, *_ = new_events(shop, type="customer.subscription.updated")
    found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    healthy = an_event("customer.subscription.resumed", data={"object": found})
    deliver(shop, [poison, healthy], process=False)
    run(shop, BROKEN_HANDLERS)
    waiting = stored(shop.project).get(event_id=poison["id"])
    assert (waiting.status, waiting.attempts) == ("pending", 1)
    assert waiting.next_attempt_at > waiting.received_at
    assert stored(shop.project).get(event_id=healthy["id"]).status == "processed"
    for _ in range(2):
        make_due(shop.project)
        run(shop, BROKEN_HANDLERS)
    dead = stored(shop.project).get(event_id=poison["id"])
    assert (dead.status, dead.attempts) == ("dead", 3)
    assert "the handler met" in dead.error and "abcdefghijklmnop" not in dead.error
    make_due(shop.project)
    process_due_events()
    assert stored(shop.project).get(event_id=poison["id"]).status == "dead"


def test_a_dead_letter_is_replayed_once_however_often_it_is_pressed(shop: Shop, bought: Subscription) -> None:
    event = an_event(data={"object": {"id": bought.stripe_subscription_id, "object": "subscription"}})
    deliver(shop, [event], process=False)
    stored(shop.project).filter(event_id=event["id"]).update(status="dead", attempts=8, root=bought.stripe_customer_id)
    row = stored(shop.project).get(event_id=event["id"])
    pressed = [replay_event(event=row), replay_event(event=row)]
    assert pressed == [True, False]
    process_all(shop.project)
    row.refresh_from_db()
    assert (row.status, row.attempts, row.error) == ("processed", 0, "")
    assert replay_events(stored(shop.project)) == stored(shop.project).filter(status="pending").count()


def test_a_revoked_key_makes_events_wait_without_using_up_attempts(shop: Shop, bought: Subscription) -> None:
    row = StripeCredentials.objects.for_project(shop.project).get(mode="test")
    row.set_secret("secret_key", "sk_test_revoked0000000000000000")
    row.save()
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    deliver(shop, new_events(shop), process=False)
    for _ in range(3):
        make_due(shop.project)
        process_due_events()
    waiting = stored(shop.project).get(type="customer.subscription.deleted")
    assert (waiting.status, waiting.wait_reason, waiting.attempts) == ("pending", "config_error", 0)
    put_stripe_config(project=shop.project, changes={"test_secret_key": shop.account.test_secret_key})
    process_all(shop.project)
    bought.refresh_from_db()
    assert bought.status == "canceled"


def test_events_of_a_deactivated_project_wait(shop: Shop, bought: Subscription) -> None:
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    deliver(shop, new_events(shop), process=False)
    bought.project.stripe_config.is_active = False
    bought.project.stripe_config.save()
    process_due_events()
    assert stored(shop.project).get(type="customer.subscription.deleted").wait_reason == "config_error"
    bought.refresh_from_db()
    assert bought.status == "active"


@pytest.mark.parametrize("do", ["status:500", "status:429", "reset"])
def test_trouble_at_stripe_is_tried_again_and_never_becomes_a_dead_letter(
    shop: Shop, bought: Subscription, settings: Any, do: str
) -> None:
    settings.EVENT_MAX_ATTEMPTS = 2
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    shop.fault(f"GET /v1/subscriptions/{bought.stripe_subscription_id}", do, times=3)
    deliver(shop, new_events(shop), process=False)
    for attempt in range(1, 4):
        make_due(shop.project)
        process_due_events()
        row = stored(shop.project).get(type="customer.subscription.deleted")
        assert (row.status, row.attempts) == ("pending", attempt)
    make_due(shop.project)
    process_all(shop.project)
    bought.refresh_from_db()
    assert bought.status == "canceled"


def test_a_pause_grows_and_is_bounded_and_jittered() -> None:
    pauses = [inbox.pause_seconds(attempts, transient=False) for attempts in range(1, 40)]
    assert pauses[0] <= 2 and pauses[3] > pauses[0] and max(pauses) <= 600
    assert max(inbox.pause_seconds(30, transient=True) for _ in range(20)) <= 30
    assert len({inbox.pause_seconds(5, transient=False) for _ in range(20)}) > 1


# Leases


def lease_of(shop: Shop, mode: str = "test", root: str = "cus_1") -> Lease:
    return take_lease(project_id=shop.project.pk, mode=mode, root=root)


def test_a_lost_lease_writes_nothing(shop: Shop, bought: Subscription) -> None:
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    deliver(shop, new_events(shop), process=False)

    def slow(snapshot: Any, object_id: str) -> Any:
        found = HANDLERS["customer.subscription.deleted"].collect(snapshot, object_id)
        SyncLease.objects.filter(project=shop.project, root=bought.stripe_customer_id).update(token=uuid.uuid4())
        return found

    run(shop, HANDLERS | {"customer.subscription.deleted": Handler(slow, "", "")})
    bought.refresh_from_db()
    assert bought.status == "active"
    row = stored(shop.project).get(type="customer.subscription.deleted")
    assert (row.status, row.attempts) == ("pending", 0)


def test_a_root_is_held_by_one_writer_at_a_time(shop: Shop) -> None:
    lease = lease_of(shop)
    with pytest.raises(SyncBusy):
        lease_of(shop)
    other = lease_of(shop, "live")
    with writing_under(lease), writing_under(other):
        pass
    end_lease(lease)
    again = lease_of(shop)
    with pytest.raises(LeaseLost), writing_under(lease):
        raise AssertionError("nothing may be written under a lost lease")
    end_lease(again)


def test_a_lease_that_ran_out_is_taken_over(shop: Shop, settings: Any) -> None:
    settings.EVENT_LEASE_SECONDS = 0
    first = lease_of(shop)
    second = lease_of(shop)
    with pytest.raises(LeaseLost), writing_under(first):
        raise AssertionError("nothing may be written under a lost lease")
    with writing_under(second):
        pass


def test_events_of_a_dead_worker_come_back_when_their_lease_ends(
    shop: Shop, bought: Subscription, settings: Any
) -> None:
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    deliver(shop, new_events(shop), process=False)
    settings.EVENT_LEASE_SECONDS = 1
    assert my_groups(shop)
    assert not my_groups(shop), "leased events are not due"
    time.sleep(1.1)
    sweep_events()
    bought.refresh_from_db()
    assert bought.status == "canceled"


def test_a_read_that_takes_longer_than_a_lease_keeps_it(shop: Shop, bought: Subscription, settings: Any) -> None:
    path = f"/v1/subscriptions/{bought.stripe_subscription_id}"
    before = reads(shop, path)
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    # Long enough that a busy machine renews it in time, and half of how long the read takes.
    settings.EVENT_LEASE_SECONDS = 4
    shop.fault(f"GET {path}", "hang", seconds=8)
    deliver(shop, new_events(shop), process=False)
    running = threading.Thread(target=run_and_close)
    running.start()
    taken_over: list[inbox.EventGroup] = []
    for _ in range(28):
        time.sleep(0.25)
        taken_over += my_groups(shop)
    running.join(timeout=60)
    assert taken_over == [] and reads(shop, path) == before + 1


def test_two_workers_never_lease_the_same_event(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, [an_event() for _ in range(30)], process=False)
    start = threading.Barrier(4)
    seen: list[uuid.UUID] = []

    def worker() -> None:
        start.wait()
        for _ in range(4):
            for group in my_groups(shop):
                seen.extend(event.pk for event in group.events)
        connection.close()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == inbox.GROUPS_PER_ACCOUNT_MAX


def test_one_account_cannot_hold_every_worker(shop: Shop, other_project: Any) -> None:
    for project in (shop.project, other_project):
        set_webhook_secret(project)
    for _ in range(20):
        send(shop.project, an_event())
    send(other_project, an_event())
    leased = [group.project_id for group in lease_due_groups(limit=200)]
    assert leased.count(shop.project.pk) == inbox.GROUPS_PER_ACCOUNT_MAX
    assert leased.count(other_project.pk) == 1
    assert shop.project.pk not in [group.project_id for group in lease_due_groups(limit=200)]


def test_no_transaction_is_open_while_stripe_is_read(shop: Shop, bought: Subscription) -> None:
    open_transactions: list[bool] = []

    def watching(snapshot: Any, object_id: str) -> Any:
        open_transactions.append(connection.in_atomic_block)
        return HANDLERS["customer.subscription.updated"].collect(snapshot, object_id)

    found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    deliver(shop, [an_event(data={"object": found})], process=False)
    run(shop, HANDLERS | {"customer.subscription.updated": Handler(watching, "", "")})
    assert open_transactions == [False]


def test_events_under_the_wrong_root_move_to_their_customers(shop: Shop, bought: Subscription) -> None:
    thin = {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "v2.core.event",
        "type": "v1.customer.subscription.updated",
        "livemode": False,
        "created": "2026-11-21T10:00:00Z",
        "related_object": {"id": bought.stripe_subscription_id, "type": "subscription"},
    }
    assert send(shop.project, thin).status_code == 200
    assert stored(shop.project).get(event_id=thin["id"]).root == bought.stripe_subscription_id
    shop.api("DELETE", f"subscriptions/{bought.stripe_subscription_id}")
    same_root = {"id": "sub_none", "object": "subscription", "customer": bought.stripe_subscription_id}
    send(shop.project, an_event(data={"object": same_root}))
    run(shop)
    bought.refresh_from_db()
    assert bought.status == "active", "a customer's subscription was written under another lease"
    process_all(shop.project)
    bought.refresh_from_db()
    assert bought.status == "canceled"
    row = stored(shop.project).get(event_id=thin["id"])
    assert (row.status, row.root) == ("processed", bought.stripe_customer_id)


def test_stripe_being_slow_for_one_account_does_not_hold_another(
    shop: Shop, bought: Subscription, sandbox: Any, other_project: Any, frank: AppUser
) -> None:
    account = sandbox.create_account("Other")
    connect_stripe(other_project, account)
    set_webhook_secret(other_project)
    shop.fault("GET /v1/subscriptions/*", "hang", seconds=4, times=10)
    for _ in range(10):
        found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": f"cus_{uuid.uuid4().hex}"}
        send(shop.project, an_event(data={"object": found}))
    running = threading.Thread(target=run_and_close)
    running.start()
    time.sleep(0.5)
    begun = time.monotonic()
    send(other_project, an_event())
    while stored(other_project).unfinished().exists() and time.monotonic() - begun < 10:
        time.sleep(0.05)
    took = time.monotonic() - begun
    httpx.delete(f"{sandbox.url}/_sandbox/api/faults", timeout=10)
    running.join(timeout=60)
    assert took < 2, took


def run_and_close() -> None:
    process_due_events()
    connection.close()


def test_the_sweep_deletes_leases_of_the_past(shop: Shop) -> None:
    lease_of(shop, root="cus_old")
    old = SyncLease.objects.filter(project=shop.project, root="cus_old")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_synclease SET until = now() - interval '2 days' WHERE root = 'cus_old'")
    purge_old_leases()
    assert not old.exists()


def test_events_that_arrive_while_their_root_is_read_are_processed_too(shop: Shop, bought: Subscription) -> None:
    found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    lease = lease_of(shop, root=bought.stripe_customer_id)
    deliver(shop, [an_event(data={"object": found})], process=False)
    run(shop)
    waiting = stored(shop.project).unfinished().get()
    assert (waiting.status, waiting.attempts) == ("pending", 0)
    end_lease(lease)
    WebhookEvent.objects.for_project(shop.project).filter(pk=waiting.pk).update(next_attempt_at=Now())
    process_all(shop.project)
    waiting.refresh_from_db()
    assert waiting.status == "processed"


def test_a_lease_that_was_given_back_cannot_be_prolonged(acme: Any) -> None:
    lease = take_lease(project_id=acme.pk, mode="test", root="cus_prolonged")
    end_lease(lease)
    # As a renewal sees it that read the row before the end and waited for it: the time still lies ahead.
    rows = SyncLease.objects.filter(project=acme, root="cus_prolonged")
    soon = inbox.Now() + inbox.dt.timedelta(seconds=1)
    rows.update(until=soon)
    before = rows.get().until
    inbox.renew_leases(tokens=[lease.token])
    assert rows.get().until == before
