"""Runs that were interrupted, cursors behind a search, and accounts that may be shared: what a run may never take for granted."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from notifications.models import OutboxRow
from payments.models import EventCursor, ReconcileRun, StripeConfig, StripeCredentials, StripeCustomer
from payments.services.reconcile.accounts import follow_account
from payments.services.reconcile.reconciling import Wish
from payments.services.reconcile.reconciling import reconcile as carry_out
from payments.tasks import reconcile_events
from payments.webhooks import HANDLERS
from tests.payments.deliveries import events_of, process_all, send, stored
from tests.payments.shop import Shop, connect_stripe
from tests.reconcile.runs import nobody_else, reconcile, run_command, runs
from tests.scenarios.lifecycle import Life

MINE, THEIRS = "acct_of_the_first", "acct_of_the_second"


def test_what_after_restore_could_not_finish_the_hourly_round_finishes_without_effects(life: Life) -> None:
    shop = life.shop
    nobody_else(shop)
    StripeCredentials.objects.for_project(shop.project).filter(mode="live").update(secret_key="")
    life.buy()
    shop.fault("GET /v1/*", "status:401", times=2)
    code, said = run_command("after_restore", "--since", "6h", "--project", shop.project.slug)
    assert code == 2 and "run this again" in said
    assert set(runs(shop).values_list("kind", "status")) == {("events", "running"), ("objects", "running")}
    reconcile_events()
    assert not runs(shop).filter(status="running").exists()
    assert stored(shop.project).exists() and not stored(shop.project).filter(without_effects=False).exists()
    process_all(shop.project)
    effects = OutboxRow.objects.for_project(shop.project).exclude(kind="stripe_customer")
    assert set(effects.values_list("status", flat=True)) == {"skipped"}, "it was sent before the loss"


def test_another_wish_comes_after_what_was_interrupted(life: Life, settings: Any) -> None:
    shop = life.shop
    settings.RECONCILE_PAGE_SIZE = 5
    life.buy()
    quiet = Wish("events", types=HANDLERS, since=timezone.now() - dt.timedelta(days=2), without_effects=True)

    def stop(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(project_id=shop.project.pk, mode="test", wish=quiet, tell=stop)
    code, said = reconcile(shop, "--kind", "events")
    assert code == 0 and "started with other options" in said
    first, second = runs(shop)
    assert (first.status, first.without_effects, first.since) == ("done", True, quiet.since)
    assert (second.status, second.without_effects, second.since) == ("done", False, None)
    assert stored(shop.project).count() > 5 and not stored(shop.project).filter(without_effects=False).exists()


def test_an_interrupted_search_whose_place_stripe_has_forgotten_begins_anew(life: Life) -> None:
    shop = life.shop
    life.buy()
    walk = {"way": "backward", "at": "evt_long_gone", "newest": {"id": "evt_gone_too", "created": 1}}
    ReconcileRun.objects.create(project=shop.project, mode="test", kind="events", cursors={"walk": walk})
    code, said = reconcile(shop, "--kind", "events")
    assert code == 0 and "Going on with the run" in said, said
    assert runs(shop).get().status == "done"
    assert {row.event_id for row in stored(shop.project)} == {
        event["id"] for event in events_of(shop) if event["type"] in HANDLERS
    }
    assert EventCursor.objects.get(project=shop.project).last_event_id == shop.objects("events")[0]["id"]
    # What Stripe refuses whatever is asked for is no reason to begin anew.
    EventCursor.objects.filter(project=shop.project).delete()
    asked = len(shop.requests("/v1/events"))
    shop.fault("GET /v1/events", "status:400", times=5)
    assert reconcile(shop, "--kind", "events")[0] == 2
    assert len(shop.requests("/v1/events")) == asked + 1


def test_a_search_since_a_time_moves_no_cursor_past_what_was_not_read(life: Life) -> None:
    shop = life.shop
    life.buy()
    oldest, newest = events_of(shop)[0]["id"], shop.objects("events")[0]["id"]
    read_at = timezone.now() - dt.timedelta(days=2)
    cursor = EventCursor.objects.create(
        project=shop.project, mode="test", last_event_id=oldest, last_event_created_at=read_at
    )
    assert reconcile(shop, "--kind", "events", "--since", "1h")[0] == 0
    cursor.refresh_from_db()
    assert (cursor.last_event_id, cursor.last_event_created_at) == (oldest, read_at), "two days were not looked at"
    assert reconcile(shop, "--kind", "events", "--since", "3d")[0] == 0
    cursor.refresh_from_db()
    assert cursor.last_event_id == newest


def test_a_first_search_since_a_time_makes_a_cursor_only_from_the_beginning_on(life: Life) -> None:
    shop = life.shop
    life.buy()
    StripeCredentials.objects.for_project(shop.project).update(followed_since=timezone.now() - dt.timedelta(days=2))
    reconcile(shop, "--kind", "events", "--since", "1d")
    assert not EventCursor.objects.filter(project=shop.project).exists()
    reconcile(shop, "--kind", "events", "--since", "3d")
    assert EventCursor.objects.get(project=shop.project).last_event_id == shop.objects("events")[0]["id"]


@pytest.mark.parametrize(
    ("mine", "theirs", "is_shared"),
    [("", "", True), (MINE, "", True), ("", THEIRS, True), (MINE, MINE, True), (MINE, THEIRS, False)],
    ids=["both-unknown", "theirs-unknown", "mine-unknown", "equal", "different"],
)
def test_an_account_without_a_name_may_be_anybodys(
    life: Life, other_project: Any, sandbox: Any, mine: str, theirs: str, is_shared: bool
) -> None:
    connect_stripe(other_project, life.shop.account)
    nobody_else(life.shop, Shop(other_project, life.shop.account, sandbox))
    rows = StripeCredentials.objects
    rows.for_project(life.shop.project).update(stripe_account_id=mine)
    rows.for_project(other_project).update(stripe_account_id=theirs)
    stranger = life.shop.api("POST", "customers", name="Nobody's")
    assert follow_account(project_id=life.shop.project.pk, mode="test").is_shared is is_shared
    created = next(event for event in events_of(life.shop) if event["data"]["object"]["id"] == stranger["id"])
    send(life.shop.project, created)
    process_all(life.shop.project)
    assert stored(life.shop.project).get().status == ("ignored" if is_shared else "processed")
    taken = StripeCustomer.objects.for_project(life.shop.project).filter(stripe_customer_id=stranger["id"])
    assert taken.exists() is not is_shared
    # Alone, or beside one that takes no payments, it is nobody else's.
    StripeConfig.objects.for_project(other_project).update(is_active=False)
    assert not follow_account(project_id=life.shop.project.pk, mode="test").is_shared
