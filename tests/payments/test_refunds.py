"""Refunds at Stripe: rows of their own, amounts given back when one fails, access taken away and restored, told once."""

from typing import Any

import pytest

from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import BillingPolicy, Invoice, Refund, Subscription, SubscriptionChange, Transaction, WebhookEvent
from payments.services.invariants import check_invariants
from tests.cast import AppUser
from tests.payments.deliveries import (
    control,
    deliver,
    events_of,
    next_second,
    process_all,
    purchase,
    set_webhook_secret,
    stored,
)
from tests.payments.shop import Shop, get
from tests.scenarios.lifecycle import rows_of


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription for 10.00 a month, with everything that led to it processed."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Subscription.objects.for_project(shop.project).get()


def deliver_new(shop: Shop) -> None:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])


def refund(shop: Shop, payment: Transaction, **more: Any) -> dict[str, Any]:
    made = shop.api("POST", "refunds", payment_intent=payment.payment_intent_id, **more)
    deliver_new(shop)
    payment.refresh_from_db()
    return made


def paid(shop: Shop) -> Transaction:
    return Transaction.objects.for_project(shop.project).latest("created_at")


def keys(shop: Shop, prefix: str) -> list[str]:
    rows = OutboxRow.objects.for_project(shop.project).filter(effect_key__startswith=prefix)
    return sorted(rows.values_list("effect_key", flat=True))


def revoked(subscription: Subscription) -> str:
    subscription.refresh_from_db()
    assert (subscription.access_revoked_at is None) == (subscription.access_revoked_by == "")
    return subscription.access_revoked_by


# Works


def test_each_refund_is_a_row_and_is_told_once(shop: Shop, bought: Subscription) -> None:
    payment = paid(shop)
    first = refund(shop, payment, amount=400)
    assert (payment.status, payment.refunded_amount_cents) == ("partially_refunded", 400)
    assert revoked(bought) == ""
    second = refund(shop, payment, amount=600)
    assert (payment.status, payment.refunded_amount_cents) == ("refunded", 1000)
    rows = {row.stripe_refund_id: row for row in Refund.objects.for_project(shop.project)}
    assert {key: (row.amount_cents, row.status, row.transaction_id) for key, row in rows.items()} == {
        first["id"]: (400, "succeeded", payment.pk),
        second["id"]: (600, "succeeded", payment.pk),
    }
    assert keys(shop, "app:payment.refunded:") == sorted(f"app:payment.refunded:{one['id']}" for one in (first, second))
    assert keys(shop, "mail:payment_refunded:") == sorted(
        f"mail:payment_refunded:{one['id']}" for one in (first, second)
    )
    mailed = OutboxRow.objects.for_project(shop.project).get(effect_key=f"mail:payment_refunded:{first['id']}")
    context = mailed.payload["context"]
    assert (context["amount"], context["paid_amount"], mailed.end_user_id) == (
        "4.00 USD", "10.00 USD", payment.end_user_id,
    )  # fmt: skip
    told = OutboxRow.objects.for_project(shop.project).get(effect_key=f"app:payment.refunded:{second['id']}")
    assert told.payload["data"]["status"] == "refunded" and told.payload["data"]["refund"]["amount_cents"] == 600


def test_a_full_refund_takes_the_plan_away_until_something_newer_is_paid(
    shop: Shop, dana: AppUser, bought: Subscription
) -> None:
    made = refund(shop, paid(shop))
    assert revoked(bought) == made["id"] and bought.status == "active"
    shown = get(dana, "my-subscription").json()
    assert (shown["status"], shown["plan_active"]) == ("active", False)
    assert bought.access_revoked_at is not None and int(bought.access_revoked_at.timestamp()) == made["created"]
    assert SubscriptionChange.objects.for_project(shop.project).filter(kind="access").count() == 1
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="paid")
    deliver_new(shop)
    assert revoked(bought) == ""
    assert get(dana, "my-subscription").json()["plan_active"] is True


@pytest.mark.parametrize(
    ("amount", "choice", "policy", "taken"),
    [
        (None, "keep", True, False),
        (300, "revoke", True, True),
        (None, "revoke", False, True),
        (None, "", False, False),
    ],
)
def test_who_refunds_may_choose_and_the_policy_decides_the_rest(
    shop: Shop, bought: Subscription, amount: int | None, choice: str, policy: bool, taken: bool
) -> None:
    BillingPolicy.objects.update_or_create(project=shop.project, defaults={"full_refund_revokes": policy})
    more: dict[str, Any] = {"metadata[access]": choice} if choice else {}
    refund(shop, paid(shop), **more, **({"amount": amount} if amount else {}))
    row = Refund.objects.for_project(shop.project).get()
    assert row.revokes_access is taken
    assert bool(revoked(bought)) is taken


def test_a_refund_that_fails_afterwards_gives_everything_back(shop: Shop, bought: Subscription) -> None:
    payment = paid(shop)
    made = refund(shop, payment)
    assert revoked(bought) == made["id"]
    control(shop, f"refunds/{made['id']}/settle", outcome="failed")
    deliver_new(shop)
    payment.refresh_from_db()
    assert (payment.status, payment.refunded_amount_cents) == ("succeeded", 0)
    assert revoked(bought) == ""
    row = Refund.objects.for_project(shop.project).get()
    assert (row.status, row.revokes_access) == ("failed", False) and row.failure_reason
    items = ReviewItem.objects.for_project(shop.project).filter(kind="failed_refund")
    assert [item.subject for item in items] == [made["id"]]
    assert keys(shop, "alert:") == [f"alert:failed_refund:{made['id']}"]


# Edge


def test_who_chooses_so_takes_the_plan_away_with_an_older_payment_until_something_newer_is_paid(
    shop: Shop, dana: AppUser, bought: Subscription
) -> None:
    first = paid(shop)
    item = shop.api("GET", f"subscriptions/{bought.stripe_subscription_id}")["items"]["data"][0]["id"]
    change = {"items[0][id]": item, "items[0][price]": shop.price(2500), "proration_behavior": "always_invoice"}
    shop.api("POST", f"subscriptions/{bought.stripe_subscription_id}", **change)
    deliver_new(shop)
    made = refund(shop, first, amount=300, **{"metadata[access]": "revoke"})
    assert revoked(bought) == made["id"] and get(dana, "my-subscription").json()["plan_active"] is False
    assert check_invariants(project_id=shop.project.pk) == []
    next_second()
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="paid")
    deliver_new(shop)
    assert revoked(bought) == "" and get(dana, "my-subscription").json()["plan_active"] is True


def test_the_refund_of_an_older_period_takes_nothing_away(shop: Shop, bought: Subscription) -> None:
    first = paid(shop)
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="paid")
    deliver_new(shop)
    refund(shop, first)
    assert first.status == "refunded" and Refund.objects.for_project(shop.project).get().revokes_access
    assert revoked(bought) == ""


def test_more_refunds_than_one_page_of_them_are_all_counted(shop: Shop, bought: Subscription) -> None:
    payment = paid(shop)
    for _ in range(12):
        shop.api("POST", "refunds", payment_intent=payment.payment_intent_id, amount=50)
    deliver_new(shop)
    payment.refresh_from_db()
    assert (payment.status, payment.refunded_amount_cents) == ("partially_refunded", 600)
    assert Refund.objects.for_project(shop.project).count() == 12
    assert len(keys(shop, "app:payment.refunded:")) == 12


def test_a_pending_refund_counts_and_is_told_when_it_succeeds(shop: Shop, bought: Subscription) -> None:
    customer = bought.stripe_customer_id
    attached = shop.api("POST", "payment_methods/pm_card_pendingRefund/attach", customer=customer)
    about: dict[str, Any] = {"amount": 700, "currency": "usd", "customer": customer, "confirm": "true"}
    about |= {"payment_method": attached["id"], "payment_method_types[0]": "card"}
    intent = shop.api("POST", "payment_intents", **about)
    deliver_new(shop)
    payment = Transaction.objects.for_project(shop.project).get(payment_intent_id=intent["id"])
    assert (payment.method_type, payment.method_brand, payment.method_last4) == ("card", "visa", "7726")
    made = refund(shop, payment)
    assert made["status"] == "pending" and payment.status == "refunded" and keys(shop, "app:payment.refunded:") == []
    control(shop, f"refunds/{made['id']}/settle", outcome="succeeded")
    deliver_new(shop)
    assert keys(shop, "app:payment.refunded:") == [f"app:payment.refunded:{made['id']}"]
    assert payment.subscription is None


def test_an_amount_without_cents_is_kept_as_it_is(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1200, currency="jpy")))
    payment = paid(shop)
    refund(shop, payment, amount=200)
    assert (payment.amount_cents, payment.refunded_amount_cents, payment.currency) == (1200, 200, "jpy")
    receipt = OutboxRow.objects.for_project(shop.project).get(effect_key=f"mail:receipt:{payment.payment_intent_id}")
    assert receipt.payload["context"]["amount"] == "1,200 JPY"


# Order and replay


def test_a_refund_known_before_its_payment_ends_in_the_same_rows(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    purchase(shop, dana, shop.price(1000))
    intent = shop.objects("payment_intents")[0]
    shop.api("POST", "refunds", payment_intent=intent["id"])
    events = events_of(shop)
    backwards = [event for event in events if event["type"].startswith(("refund.", "charge.refunded"))]
    deliver(shop, backwards)
    payment = paid(shop)
    assert (payment.status, payment.end_user) == ("refunded", dana.end_user)
    assert revoked(Subscription.objects.for_project(shop.project).get()).startswith("re_")
    deliver(shop, list(reversed(events)))
    before = rows_of(shop), keys(shop, "")
    for event in events:
        deliver(shop, [event | {"id": f"{event['id']}again"}], process=False)
    process_all(shop.project)
    assert (rows_of(shop), keys(shop, "")) == before
    assert keys(shop, "mail:receipt:") == [f"mail:receipt:{intent['id']}"]
    assert keys(shop, "app:payment.succeeded:") == [f"app:payment.succeeded:{intent['id']}"]
    assert Invoice.objects.for_project(shop.project).count() == 1
    assert not WebhookEvent.objects.for_project(shop.project).filter(status="dead").exists()
