"""The events of subscriptions: what each brings about, once, in the shapes of two API versions."""

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from common.clock import from_unix
from entitlements.models import PlanPrice
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import Subscription, SubscriptionChange, WebhookEvent
from tests.cast import AppUser
from tests.payments.deliveries import (
    an_event,
    control,
    deliver,
    events_of,
    process_all,
    purchase,
    send,
    set_webhook_secret,
    stored,
)
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, buy, get, post

FIXTURES = Path(__file__).parent / "fixtures"
SHAPES = ["2024-06-20", "2026-08-26.dahlia"]
TYPES = [
    "created", "updated", "deleted", "paused", "resumed", "pending_update_applied", "pending_update_expired",
    "trial_will_end",
]  # fmt: skip


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription, with everything that led to it processed."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Subscription.objects.for_project(shop.project).get()


def fresh(shop: Shop, *, type: str = "") -> list[dict[str, Any]]:
    """Return the events that were not delivered yet, oldest first."""
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known and event["type"].startswith(type)]


def again(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same events under other ids, as no replay of ours but Stripe's own doubles would look."""
    return [event | {"id": f"evt_{uuid.uuid4().hex}"} for event in events]


def outbox(shop: Shop, what: str) -> list[OutboxRow]:
    rows = OutboxRow.objects.for_project(shop.project).filter(effect_key__startswith=what)
    return list(rows.order_by("created_at", "effect_key"))


def start_trial(shop: Shop, user: AppUser, **more: Any) -> dict[str, Any]:
    """Begin two seats at 12.99 with a trial of two days, of whose end Stripe tells at once."""
    about: dict[str, Any] = {"email": "dana@example.com", "metadata[end_user_id]": str(user.end_user.pk)}
    customer = shop.api("POST", "customers", **about)
    card = shop.api("POST", "payment_methods/pm_card_visa/attach", customer=customer["id"])
    wanted: dict[str, Any] = {"items[0][price]": shop.price(1299), "items[0][quantity]": 2, "trial_period_days": 2}
    wanted |= {"customer": customer["id"], "default_payment_method": card["id"]} | more
    return shop.api("POST", "subscriptions", **wanted)


# Works


def test_every_type_brings_the_row_up_to_what_stripe_has(shop: Shop, bought: Subscription) -> None:
    found = {"id": bought.stripe_subscription_id, "object": "subscription", "customer": bought.stripe_customer_id}
    for quantity, name in enumerate(TYPES, start=2):
        item = shop.api("GET", f"subscriptions/{bought.stripe_subscription_id}")["items"]["data"][0]["id"]
        change: dict[str, Any] = {"items[0][id]": item, "items[0][quantity]": quantity, "proration_behavior": "none"}
        shop.api("POST", f"subscriptions/{bought.stripe_subscription_id}", **change)
        deliver(shop, [an_event(f"customer.subscription.{name}", data={"object": found})])
        bought.refresh_from_db()
        assert bought.quantity == quantity, name
    changes = SubscriptionChange.objects.for_project(shop.project).filter(kind="quantity").order_by("recorded_at")
    assert [row.event_type.rpartition(".")[2] for row in changes] == TYPES


def test_a_trials_end_is_told_once(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    made = start_trial(shop, dana)
    told = fresh(shop, type="customer.subscription.trial_will_end")
    assert len(told) == 1
    deliver(shop, fresh(shop))
    deliver(shop, again(told) * 2)
    (mail,) = outbox(shop, "mail:trial_ending:")
    assert mail.effect_key == f"mail:trial_ending:{made['id']}:{made['trial_end']}"
    context = mail.payload["context"]
    assert (mail.end_user, mail.status, context["amount"]) == (dana.end_user, "pending", "25.98 USD")
    assert context["trial_end"] == str(from_unix(made["trial_end"])).replace(" ", "T").replace("+00:00", "Z")
    (event,) = outbox(shop, "app:subscription.trial_will_end:")
    assert event.payload["data"]["status"] == "trialing"
    # That it has begun was told once too, with the day until which it costs nothing.
    (begun,) = outbox(shop, "mail:payment_confirmed:")
    assert begun.effect_key == f"mail:payment_confirmed:{made['id']}"
    assert begun.payload["context"]["trial_end"] == context["trial_end"]


def test_a_moved_end_is_told_anew_and_the_old_notice_no_more(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    made = start_trial(shop, dana)
    late = fresh(shop, type="customer.subscription.trial_will_end")
    new_end = made["trial_end"] + 3600
    shop.api("POST", f"subscriptions/{made['id']}", trial_end=new_end, proration_behavior="none")
    deliver(shop, late)
    assert outbox(shop, "mail:trial_ending:") == []
    found = shop.api("GET", f"subscriptions/{made['id']}")
    deliver(shop, [an_event("customer.subscription.trial_will_end", data={"object": found})])
    assert [row.effect_key.rpartition(":")[2] for row in outbox(shop, "mail:trial_ending:")] == [str(new_end)]


def test_no_mail_says_that_something_will_be_charged_when_it_will_not(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    made = start_trial(shop, dana)
    shop.api("POST", f"subscriptions/{made['id']}", cancel_at_period_end="true")
    deliver(shop, fresh(shop))
    (mail,) = outbox(shop, "mail:trial_ending:")
    assert (mail.status, "nothing will be charged" in mail.error) == ("skipped", True)


def test_a_pause_takes_access_and_its_end_gives_it_back(shop: Shop, dana: AppUser, bought: Subscription) -> None:
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/pause")
    deliver(shop, fresh(shop))
    assert (get(dana, "my-subscription").json()["status"], get(dana, "my-subscription").json()["plan_active"]) == (
        "paused", False,
    )  # fmt: skip
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/resume")
    deliver(shop, fresh(shop))
    assert get(dana, "my-subscription").json()["plan_active"] is True
    changes = SubscriptionChange.objects.for_project(shop.project).filter(kind="status").order_by("recorded_at")
    assert [(row.before["status"], row.after["status"]) for row in changes] == [
        ("active", "paused"), ("paused", "active"),
    ]  # fmt: skip


def test_the_end_is_mailed_once_and_the_reason_is_kept(shop: Shop, dana: AppUser, bought: Subscription) -> None:
    answer = post(
        dana, "cancel-subscription", {"cancel_immediately": True, "reason": "too_expensive", "comment": "Maybe later"}
    )
    assert answer.status_code == 200, answer.content
    ended = fresh(shop)
    deliver(shop, ended)
    deliver(shop, again(ended))
    (mail,) = outbox(shop, "mail:subscription_canceled:")
    assert (mail.end_user, mail.payload["template"]) == (dana.end_user, "subscription_canceled")
    assert len(outbox(shop, "app:subscription.canceled:")) == 1
    bought.refresh_from_db()
    assert (bought.cancellation_reason, bought.cancellation_comment) == ("too_expensive", "Maybe later")


# Edge: a price that no plan sells


def test_an_unknown_price_is_put_before_a_person_once_and_takes_nothing_away(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    known, unknown = shop.price(1000), shop.price(2000)
    plan = create_plan(shop.project, code="pro")
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=known)
    buy(shop, dana, known)
    subscription = shop.objects("subscriptions")[0]
    change: dict[str, Any] = {"items[0][id]": subscription["items"]["data"][0]["id"], "items[0][price]": unknown}
    shop.api("POST", f"subscriptions/{subscription['id']}", **change)
    events = fresh(shop)
    deliver(shop, events)
    deliver(shop, again(events))
    mine = get(dana, "my-subscription").json()
    assert (mine["price_id"], mine["plan_code"], mine["plan_active"]) == (unknown, "pro", True)
    (item,) = ReviewItem.objects.for_project(shop.project).filter(kind="unknown_price")
    assert (item.subject, item.status, item.details["plan_kept"]) == (unknown, "pending", "pro")


# Edge: found again after a restore


def test_what_is_found_after_a_restore_is_noted_and_causes_nothing(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    start_trial(shop, dana)
    for event in fresh(shop):
        send(shop.project, event)
    WebhookEvent.objects.for_project(shop.project).update(without_effects=True, source="reconcile")
    process_all(shop.project)
    (change,) = SubscriptionChange.objects.for_project(shop.project)
    assert (change.kind, change.source) == ("created", "reconcile")
    rows = outbox(shop, "mail:trial_ending:") + outbox(shop, "app:subscription.")
    assert {row.status for row in rows} == {"skipped"}
    assert all("restore" in row.error for row in rows)


# Edge: shapes of two API versions, from the delivery to the row


@pytest.fixture
def stripe_of_a_version(settings: Any) -> Iterator[dict[str, Any]]:
    """Stand in for Stripe with the objects of this dict, by path."""
    answers: dict[str, Any] = {}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            body = json.dumps(
                found or {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{server.server_address[1]}"
    yield answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("version", SHAPES)
def test_both_shapes_give_the_same_row_and_history(
    shop: Shop, stripe_of_a_version: dict[str, Any], version: str
) -> None:
    set_webhook_secret(shop.project)
    plan = create_plan(shop.project, code="maker")
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", lookup_key="maker_monthly")
    fixture = json.loads((FIXTURES / f"subscription-{version}.json").read_text())
    found = fixture["subscription"]
    stripe_of_a_version[f"/v1/subscriptions/{found['id']}"] = found
    slim = found | {"customer": found["customer"]["id"], "latest_invoice": found["latest_invoice"]["id"]}
    deliver(shop, [an_event(api_version=version, data={"object": slim})])
    assert stored(shop.project).get().status == "processed"
    row = Subscription.objects.for_project(shop.project).get()
    start, end = from_unix(1788220800), from_unix(1790812800)
    assert (row.current_period_start, row.current_period_end) == (start, end)
    assert (row.cancel_at, row.cancel_at_period_end, row.quantity, row.plan) == (end, True, 2, plan)
    assert (row.cancellation_reason, row.cancellation_comment) == ("low_quality", "too slow")
    changes = SubscriptionChange.objects.for_project(shop.project).order_by("change_key")
    assert [(one.kind, one.change_key) for one in changes] == [
        ("created", "created"),
        ("renewed", "renewed:1788220800"),
    ]
    assert changes[0].after["current_period_end"] == "2026-10-01T00:00:00Z"
