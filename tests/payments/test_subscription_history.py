"""GET subscriptions/{id}/history: why a user is on a plan, from what Stripe said, each change once."""

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from entitlements.models import Plan, PlanPrice
from notifications.models import OutboxRow
from payments.models import Subscription, SubscriptionChange
from projects.models import Project, Role
from tests.cast import AppUser
from tests.payments.actors import config_path, create_developer, create_project
from tests.payments.deliveries import an_event, control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.rows import create_subscription
from tests.payments.shop import Shop


def path(row: Subscription, query: str = "") -> str:
    return config_path(row.project_id, f"subscriptions/{row.pk}/history{query}")


def fresh(shop: Shop) -> list[dict[str, Any]]:
    """Return the events that were not delivered yet, oldest first."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known]


def note(row: Subscription, **fields: Any) -> SubscriptionChange:
    values = {"kind": "status", "source": "webhook", "before": {"status": "active"}, "after": {"status": "past_due"}}
    return SubscriptionChange.objects.create(project=row.project, mode=row.mode, subscription=row, **values | fields)


def effects(shop: Shop, kind: str = "app_event") -> list[str]:
    rows = OutboxRow.objects.for_project(shop.project).filter(kind=kind).order_by("created_at", "id")
    return [row.effect_key.split(":")[1] for row in rows]


@pytest.fixture
def plan(shop: Shop) -> Plan:
    """A plan with two prices."""
    return Plan.objects.create(project=shop.project, code="maker", name="Maker")


@pytest.fixture
def bought(shop: Shop, dana: AppUser, plan: Plan) -> Subscription:
    """Dana's subscription, with everything that led to it delivered and processed."""
    set_webhook_secret(shop.project)
    price = shop.price(1000)
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=price)
    deliver(shop, purchase(shop, dana, price))
    return Subscription.objects.for_project(shop.project).get()


# Works


def test_a_life_is_told_change_by_change(shop: Shop, bought: Subscription) -> None:
    stripe_path = f"subscriptions/{bought.stripe_subscription_id}"
    first_end = bought.current_period_end
    control(shop, f"{stripe_path}/renew", outcome="paid")
    deliver(shop, fresh(shop))
    asked_to_end: dict[str, Any] = {
        "cancel_at_period_end": "true",
        "cancellation_details[feedback]": "too_expensive",
    }
    shop.api("POST", stripe_path, **asked_to_end)
    deliver(shop, fresh(shop))
    shop.api("DELETE", stripe_path)
    deliver(shop, fresh(shop))
    answer = create_developer(shop.project, role=Role.VIEWER).get(path(bought))
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert set(body) == {"history", "total", "page", "page_size"}
    ended, asked, renewed, created = body["history"]
    assert [row["kind"] for row in (created, renewed, asked, ended)] == ["created", "renewed", "cancellation", "status"]
    assert set(created) == {
        "id", "kind", "before", "after", "source", "event_id", "event_type", "happened_at", "recorded_at",
    }  # fmt: skip
    assert created["before"] == {}
    assert (created["after"]["status"], created["after"]["plan_code"], created["after"]["quantity"]) == (
        "active", "maker", 1,
    )  # fmt: skip
    assert first_end is not None
    assert renewed["after"]["current_period_start"] == first_end.isoformat().replace("+00:00", "Z")
    assert (asked["before"]["cancel_at_period_end"], asked["after"]["cancel_at_period_end"]) == (False, True)
    assert asked["after"]["cancellation_reason"] == "too_expensive"
    assert (asked["source"], asked["event_type"]) == ("webhook", "customer.subscription.updated")
    assert asked["event_id"].startswith("evt_") and asked["happened_at"].endswith("Z")
    assert (ended["before"]["status"], ended["after"]["status"]) == ("active", "canceled")
    assert ended["event_type"] == "customer.subscription.deleted"
    assert [kind for kind in effects(shop) if kind.startswith("subscription.")] == [
        "subscription.created", "subscription.renewed", "subscription.updated", "subscription.canceled",
    ]  # fmt: skip
    assert effects(shop, "mail").count("subscription_canceled") == 1


def test_what_a_request_found_has_no_event(shop: Shop, dana: AppUser) -> None:
    from tests.payments.shop import buy

    buy(shop, dana, shop.price(1000))
    (change,) = SubscriptionChange.objects.for_project(shop.project)
    assert (change.kind, change.source, change.event_id, change.happened_at) == ("created", "sync", "", None)


# Refuses


def test_another_projects_subscription_answers_like_one_that_does_not_exist() -> None:
    mine, theirs = create_project(), create_project()
    owner = create_developer(mine)
    row = create_subscription(theirs)
    note(row)
    answers = [
        owner.get(config_path(mine, f"subscriptions/{wanted}/history"))
        for wanted in (row.pk, uuid.uuid4(), "sub_1", row.stripe_subscription_id)
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert owner.get(path(row)).status_code == 404


def test_the_modes_are_apart() -> None:
    project = create_project()
    row = create_subscription(project, mode="live")
    note(row)
    owner = create_developer(project)
    assert owner.get(path(row)).status_code == 404
    assert owner.get(path(row, "?test_mode=false")).json()["total"] == 1
    assert owner.get(path(row, "?test_mode=often")).status_code == 422


# Edge: paging


def test_pages_and_cursors_walk_the_whole_history_in_constant_queries() -> None:
    project = create_project()
    owner = create_developer(project)
    row = create_subscription(project)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    rows = [note(row, recorded_at=start + dt.timedelta(days=number)) for number in range(5)]
    note(create_subscription(project))
    newest_first = [str(one.pk) for one in reversed(rows)]
    paged = [owner.get(path(row, f"?page={page}&page_size=2")).json() for page in (1, 2, 3)]
    assert [one["id"] for page in paged for one in page["history"]] == newest_first
    assert [page["total"] for page in paged] == [5, 5, 5]
    found, cursor = [], ""
    while cursor is not None:
        page = owner.get(path(row, f"?cursor={cursor}&page_size=2")).json()
        found += [one["id"] for one in page["history"]]
        cursor = page["next_cursor"]
    assert found == newest_first

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.get(path(row)).status_code == 200
        return len(captured)

    few = queries()
    for _ in range(10):
        note(row)
    assert queries() == few <= 5


# Edge: each renewal once


def test_a_renewal_is_noted_once_whichever_event_brings_it(shop: Shop, bought: Subscription) -> None:
    for _ in range(2):
        control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="paid")
    events = fresh(shop)
    # One by one and backwards: every event is processed for itself, the subscription's own ones last.
    for event in reversed(events):
        deliver(shop, [event])
    # Each of them once more, under another event id.
    deliver(shop, [event | {"id": f"evt_{uuid.uuid4().hex}"} for event in events])
    renewals = SubscriptionChange.objects.for_project(shop.project).filter(kind="renewed")
    assert len({row.change_key for row in renewals}) == renewals.count() == 2
    assert effects(shop).count("subscription.renewed") == 2
    paid_periods = {
        f"renewed:{invoice['lines']['data'][0]['period']['start']}"
        for invoice in shop.objects("invoices")
        if invoice["billing_reason"] == "subscription_cycle"
    }
    assert {row.change_key for row in renewals} == paid_periods


def test_a_period_that_is_not_paid_is_not_a_renewal_until_it_is(shop: Shop, bought: Subscription) -> None:
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="declined")
    deliver(shop, fresh(shop))
    bought.refresh_from_db()
    assert bought.status == "past_due"
    assert "subscription.renewed" not in effects(shop)
    shop.api("POST", f"invoices/{shop.objects('invoices')[0]['id']}/pay")
    deliver(shop, fresh(shop))
    assert effects(shop).count("subscription.renewed") == 1
    kinds = list(
        SubscriptionChange.objects.for_project(shop.project).order_by("recorded_at").values_list("kind", flat=True)
    )
    assert kinds.count("renewed") == 1 and kinds[0] == "created"


# Replay


def test_a_state_that_is_known_is_not_noted_again(shop: Shop, bought: Subscription) -> None:
    before = SubscriptionChange.objects.for_project(shop.project).count()
    found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    deliver(shop, [an_event(data={"object": found}) for _ in range(3)])
    assert SubscriptionChange.objects.for_project(shop.project).count() == before == 1
    assert effects(shop).count("subscription.created") == 1


def test_a_subscription_that_stripe_lost_ends_with_a_line(shop: Shop, bought: Subscription) -> None:
    gone = create_subscription(shop.project, stripe_customer_id=bought.stripe_customer_id)
    found = {"id": gone.stripe_subscription_id, "object": "subscription", "customer": gone.stripe_customer_id}
    deliver(shop, [an_event(data={"object": found})])
    (change,) = SubscriptionChange.objects.filter(subscription=gone)
    assert (change.kind, change.after["status"], change.event_type) == (
        "status", "canceled", "customer.subscription.updated",
    )  # fmt: skip


def test_history_of_a_deleted_project_goes_with_it() -> None:
    project: Project = create_project()
    note(create_subscription(project))
    project.delete()
    assert not SubscriptionChange.objects.filter(project_id=project.pk).exists()
