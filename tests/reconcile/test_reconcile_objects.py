"""manage.py reconcile --kind objects: every object against its row, field by field, in both directions (D4)."""

import datetime as dt
import re
from typing import Any

import httpx
import pytest
from django.utils import timezone

from common.ids import stripe_row_id
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.mirror import mirrored
from payments.models import Invoice, Refund, StripeCredentials, StripeCustomer, Subscription, Transaction, WebhookEvent
from payments.services.leases import end_lease, take_lease
from payments.services.reconcile.objects import KINDS
from payments.services.reconcile.reconciling import Wish
from payments.services.reconcile.reconciling import reconcile as carry_out
from payments.tasks import reconcile_events, reconcile_objects
from tests.cast import AppUser
from tests.payments.deliveries import an_event, deliver, events_of, process_all, purchase, send, set_webhook_secret
from tests.payments.rows import create_payment, create_subscription
from tests.payments.shop import Shop, connect_stripe
from tests.reconcile.runs import all_rows, drifted_fields, drifts, nobody_else, reconcile, runs
from tests.scenarios.lifecycle import Life, compare_with_stripe

LONG_AGO = timezone.now() - dt.timedelta(days=400)


@pytest.fixture
def lived(life: Life) -> Life:
    """A life with a renewal and a refund, all of it delivered long enough ago to explain nothing now."""
    life.buy()
    life.renew()
    life.refund_a_part()
    deliver(life.shop, events_of(life.shop))
    WebhookEvent.objects.for_project(life.shop.project).update(received_at=timezone.now() - dt.timedelta(hours=1))
    return life


def requests_of(shop: Shop) -> int:
    """Count the requests that the account has seen."""
    rate = f"{shop.sandbox.url}/_sandbox/api/accounts/{shop.account.account_id}/rate"
    return int(httpx.get(rate, timeout=10).json()["test"]["requests"])


def drift_alerts(shop: Shop) -> Any:
    """Return the alerts about differences, oldest first."""
    rows = OutboxRow.objects.for_project(shop.project).filter(kind="alert", effect_key__startswith="alert:drift:")
    return rows.order_by("created_at", "pk")


def corrupt(shop: Shop) -> None:
    """Damage rows of every table as a bug or a hand in the database might."""
    Subscription.objects.for_project(shop.project).update(status="past_due", quantity=7)
    newest = Transaction.objects.for_project(shop.project).order_by("-created_at").first()
    assert newest is not None
    Transaction.objects.filter(pk=newest.pk).update(amount_cents=1, refunded_amount_cents=0, status="failed")
    Invoice.objects.for_project(shop.project).update(amount_paid_cents=5, number="X")
    Refund.objects.for_project(shop.project).update(status="pending")
    StripeCustomer.objects.for_project(shop.project).update(name="Somebody Else")


def test_nothing_differs_and_only_the_lists_are_read(lived: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = lived.shop
    # After each page instead of every other second.
    monkeypatch.setattr("payments.services.reconcile.runs.SHOW_SECONDS", -1.0)
    before = all_rows(shop, without=frozenset())
    asked = requests_of(shop)
    code, said = reconcile(shop, "--kind", "objects", "--heal")
    assert (code, drifts(shop).count()) == (0, 0), said
    assert len(re.findall(r": \d+ seen, 0 differ, \d+/s", said)) > len(KINDS), "progress is shown page by page"
    assert requests_of(shop) - asked == len(KINDS), "one page of each list and nothing else"
    assert all_rows(shop, without=frozenset()) == before, "nothing differs, so nothing is written"
    run = runs(shop).get()
    assert (
        run.status == "done" and run.seen >= 6 and not ReviewItem.objects.for_project(shop.project).filter(kind="drift")
    )


def test_damage_is_reported_by_field_and_healed(lived: Life) -> None:
    shop = lived.shop
    before = all_rows(shop)
    corrupt(shop)
    code, _ = reconcile(shop, "--kind", "objects", "--heal")
    assert code == 0 and all_rows(shop) == before
    compare_with_stripe(shop)
    assert drifted_fields(shop) >= {
        ("subscription", "status"), ("subscription", "quantity"), ("payment", "amount_cents"), ("payment", "status"),
        ("invoice", "amount_paid_cents"), ("invoice", "number"), ("refund", "status"), ("customer", "name"),
    }  # fmt: skip
    line = drifts(shop, object_type="subscription", field="quantity").get()
    assert (line.ours, line.stripes, line.healed) == (7, 1, True)
    assert line.object_id == lived.subscription["id"]
    items = ReviewItem.objects.for_project(shop.project).filter(kind="drift")
    assert items.count() == drifts(shop).count(), "each difference is an item"
    assert items.get(subject=f"subscription {line.object_id}", title__contains=" quantity ").status == "pending"
    alert = drift_alerts(shop).get()
    assert alert.payload["title"].startswith(f"{items.count()} differences"), "and all together one alert"
    assert reconcile(shop, "--kind", "objects", "--heal")[0] == 0
    assert runs(shop).last().differences == 0 and drift_alerts(shop).count() == 1


def test_a_difference_that_is_found_each_night_is_told_once(lived: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    from payments.services.reconcile import runs as bounds

    shop = lived.shop
    create_payment(shop.project, created_at=LONG_AGO)
    for _ in range(3):
        code, said = reconcile(shop, "--kind", "objects", "--heal")
        assert code == 1 and "1 differences remain" in said, "Stripe has no such payment, and money is not forgotten"
    items = ReviewItem.objects.for_project(shop.project).filter(kind="drift")
    assert (items.count(), drift_alerts(shop).count()) == (1, 1)
    Subscription.objects.for_project(shop.project).update(quantity=7)
    reconcile(shop, "--kind", "objects", "--heal")
    assert (items.count(), drift_alerts(shop).count()) == (2, 2), "another difference is told by itself"
    assert drift_alerts(shop).last().payload["title"].startswith("1 differences")
    # More than people would read one by one are told together, and once too.
    monkeypatch.setattr(bounds, "UNEXPLAINED_MAX", 1)
    for _ in range(3):
        create_payment(shop.project, created_at=LONG_AGO)
    for _ in range(2):
        reconcile(shop, "--kind", "objects", "--heal")
    assert (items.filter(title__contains="more differences").count(), drift_alerts(shop).count()) == (1, 3)


@pytest.mark.parametrize("option", [["--dry-run"], []])
def test_without_heal_rows_are_only_reported(lived: Life, option: list[str]) -> None:
    shop = lived.shop
    corrupt(shop)
    damaged = all_rows(shop, without=frozenset())
    effects = OutboxRow.objects.for_project(shop.project).exclude(kind="alert").count()
    code, said = reconcile(shop, "--kind", "objects", *option)
    assert code == 1 and "quantity: 7 → 1" in said
    assert all_rows(shop, without=frozenset()) == damaged
    assert drifts(shop, healed=True).count() == 0 and drifts(shop).count() >= 8
    assert OutboxRow.objects.for_project(shop.project).exclude(kind="alert").count() == effects


def test_objects_that_are_missing_here_are_found(life: Life) -> None:
    life.buy()
    life.renew()
    StripeCredentials.objects.for_project(life.shop.project).update(configured_at=LONG_AGO)
    code, _ = reconcile(life.shop, "--kind", "objects", "--heal")
    assert code == 0
    compare_with_stripe(life.shop)
    assert drifts(life.shop, object_type="subscription", field="", ours__isnull=True).count() == 1
    assert OutboxRow.objects.for_project(life.shop.project).filter(status="pending").exists(), (
        "what was missed happens now"
    )


def test_objects_that_stripe_has_not_are_found(lived: Life) -> None:
    shop = lived.shop
    ghost = create_subscription(shop.project, created_at=LONG_AGO)
    money = create_payment(shop.project, created_at=LONG_AGO)
    code, said = reconcile(shop, "--kind", "objects", "--heal")
    assert code == 1, said
    ghost.refresh_from_db()
    assert ghost.status == "canceled", "a subscription that Stripe has not is over"
    assert drifts(shop, object_id=ghost.stripe_subscription_id, field="status", healed=True).exists()
    line = drifts(shop, object_id=money.payment_intent_id).get()
    assert (line.field, line.stripes, line.healed) == ("", None, False)
    assert Transaction.objects.filter(pk=money.pk).exists(), "money is not forgotten by itself"


def test_what_an_event_is_about_to_write_is_no_drift(lived: Life) -> None:
    shop = lived.shop
    send(shop.project, next(event for event in events_of(shop) if event["type"] == "customer.subscription.updated"))
    lived.ask_to_end()
    newest = shop.objects("events", type="customer.subscription.updated")[0]
    send(shop.project, newest)
    reconcile(shop, "--kind", "objects", "--heal")
    assert not drifts(shop).exists()
    process_all(shop.project)
    compare_with_stripe(shop)


def test_somebody_elses_lease_is_respected(lived: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    from payments.services.reconcile import objects

    monkeypatch.setattr(objects, "LEASE_WAIT_SECONDS", 0.0)
    shop = lived.shop
    Subscription.objects.for_project(shop.project).update(quantity=7)
    lease = take_lease(project_id=shop.project.pk, mode="test", root=lived.subscription["customer"])
    code, said = reconcile(shop, "--kind", "objects", "--heal")
    assert code == 1 and "being written by somebody else" in said
    assert Subscription.objects.for_project(shop.project).get().quantity == 7 and not drifts(shop).exists()
    end_lease(lease)
    reconcile(shop, "--kind", "objects", "--heal")
    assert Subscription.objects.for_project(shop.project).get().quantity == 1


def test_foreign_objects_on_a_shared_account_are_left_alone(
    life: Life, other_project: Any, frank: AppUser, sandbox: Any
) -> None:
    """Two projects sell through one Stripe account: each sees its own customers' objects and no others."""
    connect_stripe(other_project, life.shop.account)
    other = Shop(other_project, life.shop.account, sandbox)
    set_webhook_secret(other_project)
    life.buy()
    theirs = purchase(other, frank, other.price(700))
    assert theirs
    stranger = life.shop.api("POST", "customers", name="Nobody's")
    prices = {row["items"]["data"][0]["price"]["id"]: row["id"] for row in life.shop.objects("subscriptions")}
    mine_id = prices[life.prices[0]]
    for shop in (life.shop, other):
        code, said = reconcile(shop, "--kind", "objects", "--heal")
        assert code == 0, said
    assert Subscription.objects.for_project(life.shop.project).get().stripe_subscription_id == mine_id
    assert Subscription.objects.for_project(other_project).get().stripe_subscription_id != mine_id
    assert [row.amount_cents for row in Transaction.objects.for_project(life.shop.project)] == [1000]
    assert [row.amount_cents for row in Transaction.objects.for_project(other_project)] == [700]
    assert not StripeCustomer.objects.filter(stripe_customer_id=stranger["id"]).exists()


def test_a_missing_permission_leaves_one_list_out(lived: Life) -> None:
    Subscription.objects.for_project(lived.shop.project).update(quantity=7)
    lived.shop.fault("GET /v1/disputes", "status:403", times=10)
    code, said = reconcile(lived.shop, "--kind", "objects", "--heal")
    assert code == 1 and "disputes: left out" in said and "not read: disputes" in said
    assert Subscription.objects.for_project(lived.shop.project).get().quantity == 1


def test_pages_are_walked_and_a_short_outage_is_waited_for(lived: Life, settings: Any) -> None:
    settings.RECONCILE_PAGE_SIZE = 1
    before = all_rows(lived.shop)
    corrupt(lived.shop)
    lived.shop.fault("GET /v1/invoices", "status:503", times=1)
    code, said = reconcile(lived.shop, "--kind", "objects", "--heal")
    assert code == 0 and "trying again" in said
    assert all_rows(lived.shop) == before
    assert runs(lived.shop).get().cursors["invoices"] == "done"


def test_an_object_that_was_deleted_under_the_cursor_restarts_its_list(lived: Life, settings: Any) -> None:
    settings.RECONCILE_PAGE_SIZE = 1
    shop = lived.shop
    nobody_else(shop)
    for name in ("Stays", "Soon gone"):
        gone = shop.api("POST", "customers", name=name)
    with pytest.raises(KeyboardInterrupt):
        carry_out(
            project_id=shop.project.pk, mode="test", wish=Wish(kind="objects", heals=True), tell=_stop_at_second()
        )
    run = runs(shop).get()
    assert run.cursors["customers"] == gone["id"]
    shop.api("DELETE", f"customers/{gone['id']}")
    reconcile_events()
    assert runs(shop).get(kind="objects").status == "done", "the hourly round goes on with it"


def _stop_at_second() -> Any:
    """Interrupt a run when it reports the second thing that it has found."""
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 2:
            raise KeyboardInterrupt

    return tell


def test_a_mirror_that_has_fallen_behind_is_written(lived: Life) -> None:
    shop = lived.shop
    copies = mirrored("subscription", account_ids=[shop.account.account_id])
    found = copies.get().stripe_data
    copies.update(stripe_data=found | {"status": "incomplete"})
    Subscription.objects.for_project(shop.project).update(synced_at=timezone.now() - dt.timedelta(hours=1))
    reconcile(shop, "--kind", "objects", "--heal")
    assert copies.get().stripe_data["status"] == "active" and not drifts(shop).exists()


def test_the_nightly_round_heals_and_one_projects_trouble_stops_nobody(
    lived: Life, other_project: Any, sandbox: Any
) -> None:
    shop = lived.shop
    before = all_rows(shop)
    corrupt(shop)
    broken = Shop(other_project, sandbox.create_account("Other"), sandbox)
    connect_stripe(other_project, broken.account)
    nobody_else(shop, broken)
    broken.fault("GET /v1/*", "status:401", times=100)
    reconcile_objects()
    assert all_rows(shop) == before
    assert runs(broken).filter(status="running", lease_until=None).exists()


def test_a_row_of_a_deleted_customers_mode_is_left_alone(lived: Life) -> None:
    """Rows of the other mode and of other projects are never looked at."""
    shop = lived.shop
    live = create_payment(shop.project, mode="live")
    an_event()
    reconcile(shop, "--kind", "objects", "--heal")
    assert Transaction.objects.get(pk=live.pk).status == "succeeded"
    assert not drifts(shop, object_id=live.payment_intent_id).exists()
    assert stripe_row_id(shop.project.pk, "live", live.payment_intent_id) == live.pk
