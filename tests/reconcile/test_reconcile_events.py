"""manage.py reconcile --kind events: what Stripe lists and the inbox lacks is found, stored and processed (D4, F16)."""

import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from notifications.models import OutboxRow
from payments.models import (
    Drift,
    EventCursor,
    ReconcileRun,
    StripeCredentials,
    Subscription,
    Transaction,
    WebhookEvent,
)
from payments.services.customers import user_metadata
from payments.services.reconcile.runs import EVENTS, RunInProgress, begin_run, forget_old_runs
from payments.webhooks import HANDLERS
from tests.cast import AppUser
from tests.payments.deliveries import control, deliver, events_of, keys_were_saved, process_all, stored
from tests.payments.shop import Shop, connect_stripe
from tests.reconcile.runs import drifts, nobody_else, reconcile, run_command, runs
from tests.scenarios.lifecycle import Life, compare_with_stripe

ROOT = Path(__file__).resolve().parents[2]
DAY = 24 * 3600


def of_interest(shop: Shop) -> list[dict[str, Any]]:
    """Return the account's events that something here follows."""
    return [event for event in events_of(shop) if event["type"] in HANDLERS]


def test_f16_events_that_never_came_are_found_and_processed(life: Life) -> None:
    shop = life.shop
    life.buy()
    deliver(shop, events_of(shop))
    life.renew()
    life.fail_to_renew()
    life.recover()
    life.refund_a_part()
    assert len(of_interest(shop)) > stored(shop.project).count()
    code, said = reconcile(shop, "--kind", "events")
    assert code == 0, said
    assert {row.event_id for row in stored(shop.project)} >= {event["id"] for event in of_interest(shop)}
    missed = stored(shop.project).filter(source="reconcile")
    assert missed.count() == drifts(shop, object_type="event", healed=True).count() > 5
    assert not missed.filter(without_effects=True).exists()
    process_all(shop.project)
    compare_with_stripe(shop)


def test_f16_four_days_without_a_delivery_are_made_up_for(shop: Shop, dana: AppUser, settings: Any) -> None:
    """A daily plan whose purchase, change and renewals happened while the endpoint was away."""
    settings.RECONCILE_SETTLE_SECONDS = 0
    now = int(timezone.now().timestamp())
    saved = StripeCredentials.objects.for_project(shop.project)
    saved.update(configured_at=timezone.now() - dt.timedelta(days=6))
    # Each day's draft is charged an hour later.
    began = now - 4 * DAY - 3 * 3600
    clock = shop.api("POST", "test_helpers/test_clocks", frozen_time=began)["id"]
    named: dict[str, Any] = {
        f"metadata[{key}]": value for key, value in user_metadata(shop.project, dana.end_user).items()
    }
    customer = shop.api("POST", "customers", test_clock=clock, payment_method="pm_card_visa", **named)["id"]
    (card,) = shop.objects("payment_methods", customer=customer)
    wanted: dict[str, Any] = {"customer": customer, "items[0][price]": shop.price(500, interval="day"), **named}
    bought = shop.api("POST", "subscriptions", default_payment_method=card["id"], **wanted)["id"]
    for days in (3, 2, 1, 0):
        control(shop, f"test_clocks/{clock}/advance", frozen_time=now - days * DAY)
        if days == 2:
            shop.api("POST", f"subscription_items/{item_id(shop, bought)}", quantity=2)
    assert min(event["created"] for event in of_interest(shop)) < now - 4 * DAY
    code, said = reconcile(shop, "--kind", "events")
    assert code == 0, said
    assert {row.event_id for row in stored(shop.project)} == {event["id"] for event in of_interest(shop)}
    process_all(shop.project)
    found = shop.api("GET", f"subscriptions/{bought}")
    row = Subscription.objects.for_project(shop.project).get(stripe_subscription_id=bought)
    assert (row.status, row.quantity, row.end_user) == ("active", 2, dana.end_user)
    assert row.current_period_end is not None
    assert row.current_period_end.timestamp() == found["items"]["data"][0]["current_period_end"]
    paid = Transaction.objects.for_project(shop.project).filter(status="succeeded")
    # The purchase and four renewals, each by itself.
    assert sorted(paid.values_list("stripe_charge_id", flat=True)) == sorted(
        one["id"] for one in shop.objects("charges")
    )
    assert paid.count() == 5
    receipts = OutboxRow.objects.for_project(shop.project).filter(effect_key__startswith="mail:receipt:")
    assert receipts.count() == 5
    code, said = reconcile(shop, "--kind", "events")
    assert code == 0 and runs(shop).last().differences == 0, said


def item_id(shop: Shop, subscription_id: str) -> str:
    """Name the one item of a subscription."""
    return str(shop.api("GET", f"subscriptions/{subscription_id}")["items"]["data"][0]["id"])


def test_what_was_delivered_already_is_not_stored_again(life: Life) -> None:
    life.buy()
    deliver(life.shop, events_of(life.shop))
    before = list(stored(life.shop.project).values("event_id", "status", "source"))
    effects = OutboxRow.objects.for_project(life.shop.project).count()
    code, _ = reconcile(life.shop, "--kind", "events")
    process_all(life.shop.project)
    assert code == 0 and not drifts(life.shop).exists()
    assert list(stored(life.shop.project).values("event_id", "status", "source")) == before
    assert OutboxRow.objects.for_project(life.shop.project).count() == effects


def test_the_next_run_reads_on_from_the_cursor(life: Life) -> None:
    shop = life.shop
    life.buy()
    reconcile(shop, "--kind", "events")
    cursor = EventCursor.objects.get(project=shop.project, mode="test")
    assert cursor.last_event_id == shop.objects("events")[0]["id"]
    life.renew()
    newer = len(events_of(shop))
    reconcile(shop, "--kind", "events")
    assert runs(shop).last().seen < newer
    assert {row.event_id for row in stored(shop.project)} == {event["id"] for event in of_interest(shop)}
    cursor.refresh_from_db()
    assert cursor.last_event_id == shop.objects("events")[0]["id"]


def test_a_cursor_that_stripe_no_longer_knows_is_replaced_by_a_search_from_its_time(life: Life) -> None:
    life.buy()
    EventCursor.objects.create(
        project=life.shop.project,
        mode="test",
        last_event_id="evt_long_gone",
        last_event_created_at=timezone.now() - dt.timedelta(hours=2),
    )
    code, _ = reconcile(life.shop, "--kind", "events")
    assert code == 0
    assert stored(life.shop.project).count() == len(of_interest(life.shop))


def test_f16_what_stripe_counts_as_undelivered_is_found_behind_the_cursor_too(life: Life) -> None:
    """The endpoint was down; a bug had moved the cursor past what was lost."""
    shop = life.shop
    everything: dict[str, Any] = {"enabled_events[0]": "*"}
    shop.api("POST", "webhook_endpoints", url="https://app.example/nobody-listens", **everything)
    control(shop, f"accounts/{shop.account.account_id}/disorder", drop=1.0)
    life.buy()
    newest = shop.objects("events")[0]
    EventCursor.objects.create(
        project=shop.project,
        mode="test",
        last_event_id=newest["id"],
        last_event_created_at=timezone.now(),
    )
    reconcile(shop, "--kind", "events")
    missed = {event["id"] for event in shop.objects("events", delivery_success="false") if event["type"] in HANDLERS}
    assert len(missed) > 5
    assert {row.event_id for row in stored(shop.project)} == missed
    process_all(shop.project)
    compare_with_stripe(shop)


def test_a_dry_run_stores_no_event_and_moves_no_cursor(life: Life) -> None:
    life.buy()
    code, said = reconcile(life.shop, "--kind", "events", "--dry-run")
    assert code == 1 and "differences remain" in said
    assert not stored(life.shop.project).exists() and not EventCursor.objects.filter(project=life.shop.project).exists()
    assert drifts(life.shop, healed=False).count() == len(of_interest(life.shop))


def test_events_that_stripe_may_still_deliver_are_left_to_it(life: Life, settings: Any) -> None:
    keys_were_saved(life.shop.project, "test")
    life.buy()
    first, *others = of_interest(life.shop)
    deliver(life.shop, [first], process=False)
    settings.RECONCILE_SETTLE_SECONDS = 300
    _, said = reconcile(life.shop, "--kind", "events")
    assert f"{len(others)} events younger than 300 s left to Stripe's own delivery" in said
    assert stored(life.shop.project).count() == 1
    settings.RECONCILE_SETTLE_SECONDS = 0
    _, said = reconcile(life.shop, "--kind", "events")
    assert stored(life.shop.project).count() == len(of_interest(life.shop)) and "younger" not in said


def test_the_cursor_does_not_pass_an_event_that_is_too_young(life: Life, settings: Any) -> None:
    reconcile(life.shop, "--kind", "events")
    assert EventCursor.objects.filter(project=life.shop.project).exists(), "the prices' events"
    settings.RECONCILE_SETTLE_SECONDS = 300
    life.buy()
    reconcile(life.shop, "--kind", "events")
    settings.RECONCILE_SETTLE_SECONDS = 0
    reconcile(life.shop, "--kind", "events")
    assert {row.event_id for row in stored(life.shop.project)} >= {event["id"] for event in of_interest(life.shop)}


def test_since_and_no_effects(life: Life) -> None:
    life.buy()
    later = (timezone.now() + dt.timedelta(hours=1)).isoformat()
    reconcile(life.shop, "--kind", "events", "--since", later)
    assert not stored(life.shop.project).exists()
    reconcile(life.shop, "--kind", "events", "--since", "2d", "--no-effects")
    assert stored(life.shop.project).count() == len(of_interest(life.shop))
    process_all(life.shop.project)
    compare_with_stripe(life.shop)
    effects = OutboxRow.objects.for_project(life.shop.project).exclude(kind="stripe_customer")
    assert set(effects.values_list("status", flat=True)) == {"skipped"}


def test_what_happened_before_the_account_was_connected_causes_nothing(life: Life) -> None:
    life.buy()
    connected = timezone.now() + dt.timedelta(minutes=5)
    StripeCredentials.objects.for_project(life.shop.project).update(configured_at=connected)
    reconcile(life.shop, "--kind", "events", "--since", "2d")
    assert set(stored(life.shop.project).values_list("without_effects", flat=True)) == {True}


def test_modes_are_apart(life: Life) -> None:
    life.buy()
    code, _ = reconcile(life.shop, "--kind", "events", mode="live")
    assert code == 0 and not stored(life.shop.project).exists()


def test_other_projects_go_on_when_one_account_is_in_trouble(life: Life, other_project: Any, sandbox: Any) -> None:
    other = Shop(other_project, sandbox.create_account("Other"), sandbox)
    connect_stripe(other_project, other.account)
    other.price(500)
    life.buy()
    nobody_else(life.shop, other)
    other.fault("GET /v1/events", "status:401", times=10)
    code, said = run_command("reconcile", "--kind", "events", "--mode", "test")
    assert code == 2 and "runs failed" in said
    assert stored(life.shop.project).count() == len(of_interest(life.shop))
    assert runs(other).get().status == "running", "it is gone on with when the key is mended"
    assert runs(other).get().lease_until is None


def test_refuses_what_makes_no_sense(life: Life) -> None:
    assert reconcile(life.shop, "--heal", "--dry-run")[0] == 1
    assert reconcile(life.shop, "--since", "yesterday")[0] == 1
    assert run_command("reconcile", "--project", "no-such-project")[0] == 1
    assert not runs(life.shop).exists()


def test_one_run_of_a_kind_at_a_time(life: Life) -> None:
    held = begin_run(
        project_id=life.shop.project.pk, mode="test", kind=EVENTS, dry_run=False, since=None, tell=lambda text: None
    )
    with pytest.raises(RunInProgress):
        begin_run(
            project_id=life.shop.project.pk, mode="test", kind=EVENTS, dry_run=False, since=None, tell=lambda text: None
        )
    assert reconcile(life.shop, "--kind", "events")[0] == 2
    assert reconcile(life.shop, "--kind", "events", "--dry-run")[0] in (0, 1), "one that only looks disturbs nobody"
    assert held.run.status == "running"


def test_f16_a_killed_run_goes_on_from_its_last_page(life: Life, tmp_path: Path) -> None:
    shop = life.shop
    life.buy()
    life.renew()
    once = tmp_path / "killed-once"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DEMO": "true",
        "ALLOWED_HOSTS": "127.0.0.1",
        "STRIPE_API_BASE": shop.sandbox.url,
        "RECONCILE_SETTLE_SECONDS": "0",
        "RECONCILE_PAGE_SIZE": "5",
        "FAILPOINTS": "true",
        "FAIL_AT": "reconcile.after_page",
        "FAIL_ONCE_FILE": str(once),
    }
    environment.pop("PYTEST_VERSION", None)
    command = [
        sys.executable,
        "manage.py",
        "reconcile",
        "--project",
        shop.project.slug,
        "--mode",
        "test",
        "--kind",
        "events",
    ]
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    run = runs(shop).get()
    assert (run.status, run.seen) == ("running", 5)
    first_page = [event["id"] for event in shop.objects("events")[:5]]
    assert run.cursors["walk"]["at"] == first_page[-1]
    # Its lease ends by itself; nobody has to clean up.
    assert reconcile(shop, "--kind", "events")[0] == 2
    runs(shop).update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    asked = len(shop.requests("/v1/events"))
    code, said = reconcile(shop, "--kind", "events")
    assert code == 0 and "Going on with the run" in said
    run.refresh_from_db()
    assert run.status == "done" and run.seen == len(events_of(shop))
    assert WebhookEvent.objects.for_project(shop.project).count() == len(of_interest(shop))
    assert len(shop.requests("/v1/events")) - asked <= 4, "it began anew"


def test_old_reports_are_forgotten_and_a_dead_look_is_closed(life: Life) -> None:
    def made(days: int, **fields: Any) -> ReconcileRun:
        values = {"project": life.shop.project, "mode": "test", "kind": "events", "status": "done", **fields}
        run = ReconcileRun.objects.create(**values)
        ReconcileRun.objects.filter(pk=run.pk).update(started_at=timezone.now() - dt.timedelta(days=days))
        return run

    gone = [made(100, differences=3), made(4)]
    kept = [made(4, differences=3), made(1), made(100, status="running")]
    lapsed = made(1, status="running", dry_run=True, lease_until=timezone.now() - dt.timedelta(minutes=1))
    Drift.objects.create(project=life.shop.project, mode="test", run=gone[0], object_type="event", object_id="evt_1")
    forget_old_runs()
    assert set(runs(life.shop).values_list("pk", flat=True)) == {run.pk for run in [*kept, lapsed]}
    lapsed.refresh_from_db()
    assert lapsed.status == "failed" and not drifts(life.shop).exists()


def test_a_key_that_may_not_read_events_is_told_and_fails_nothing(life: Life) -> None:
    life.shop.fault("GET /v1/events", "status:403", times=10)
    code, said = reconcile(life.shop, "--kind", "events")
    assert code == 1 and "events: left out" in said and "not read: events" in said
    assert runs(life.shop).get().cursors["left_out"] == ["events"]
    assert not EventCursor.objects.filter(project=life.shop.project).exists()
