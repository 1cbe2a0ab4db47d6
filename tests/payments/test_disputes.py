"""Disputes and fraud warnings: rows, review items and alerts once, access by the project's policy, in every order."""

from typing import Any

import pytest

from moderation.models import ReviewItem
from notifications.models import OutboxRow
from notifications.tasks import run_outbox
from payments.models import BillingPolicy, Dispute, Subscription, SubscriptionChange, Transaction
from tests.cast import AppUser
from tests.payments.actors import config_path, create_developer
from tests.payments.deliveries import control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.shop import Shop


@pytest.fixture
def payment(shop: Shop, dana: AppUser) -> Transaction:
    """Dana's payment of 10.00 for her subscription."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Transaction.objects.for_project(shop.project).get()


def dispute(shop: Shop, payment: Transaction, **more: Any) -> dict[str, Any]:
    """Dispute the payment; nothing is delivered."""
    control(shop, f"charges/{payment.stripe_charge_id}/dispute", **{"reason": "fraudulent"} | more)
    return shop.objects("disputes")[0]


def new_events(shop: Shop) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known]


def revoked_by(shop: Shop) -> str:
    return Subscription.objects.for_project(shop.project).get().access_revoked_by


def keys(shop: Shop, *prefixes: str) -> list[str]:
    rows = OutboxRow.objects.for_project(shop.project).values_list("effect_key", flat=True)
    return sorted(key for key in rows if key.startswith(prefixes))


# Works


def test_a_dispute_is_a_row_a_review_item_and_an_alert_once(shop: Shop, payment: Transaction) -> None:
    opened = dispute(shop, payment)
    deliver(shop, new_events(shop))
    row = Dispute.objects.for_project(shop.project).get()
    assert (row.stripe_dispute_id, row.status, row.reason) == (opened["id"], "needs_response", "fraudulent")
    assert (row.amount_cents, row.currency, row.transaction) == (1000, "usd", payment)
    assert row.evidence_due_by is not None
    assert int(row.evidence_due_by.timestamp()) == opened["evidence_details"]["due_by"]
    payment.refresh_from_db()
    assert (payment.disputed, payment.status, revoked_by(shop)) == (True, "succeeded", "")
    evidence: dict[str, Any] = {"evidence[uncategorized_text]": "We did deliver.", "submit": "true"}
    shop.api("POST", f"disputes/{opened['id']}", **evidence)
    deliver(shop, new_events(shop))
    row.refresh_from_db()
    assert row.status == "under_review"
    (item,) = ReviewItem.objects.for_project(shop.project).filter(kind="dispute")
    assert (item.subject, item.end_user, item.details["amount_cents"]) == (opened["id"], payment.end_user, 1000)
    assert keys(shop, "alert:", "app:dispute") == [
        f"alert:dispute:{opened['id']}",
        f"app:dispute.opened:{opened['id']}",
    ]


@pytest.mark.parametrize(
    ("policy", "while_open", "after_loss"),
    [("lost", False, True), ("opened", True, True), ("never", False, False)],
)
def test_the_policy_says_when_a_dispute_takes_the_plan_away(
    shop: Shop, payment: Transaction, policy: str, while_open: bool, after_loss: bool
) -> None:
    BillingPolicy.objects.update_or_create(project=shop.project, defaults={"dispute_revokes": policy})
    opened = dispute(shop, payment)
    deliver(shop, new_events(shop))
    assert bool(revoked_by(shop)) is while_open
    control(shop, f"disputes/{opened['id']}/close", outcome="lost")
    deliver(shop, new_events(shop))
    assert revoked_by(shop) == (opened["id"] if after_loss else "")
    assert keys(shop, "app:dispute.closed") == [f"app:dispute.closed:{opened['id']}"]


def test_what_an_open_dispute_took_away_comes_back_when_it_is_won(shop: Shop, payment: Transaction) -> None:
    BillingPolicy.objects.update_or_create(project=shop.project, defaults={"dispute_revokes": "opened"})
    opened = dispute(shop, payment)
    deliver(shop, new_events(shop))
    assert revoked_by(shop) == opened["id"]
    control(shop, f"disputes/{opened['id']}/close", outcome="won")
    deliver(shop, new_events(shop))
    assert (revoked_by(shop), Dispute.objects.for_project(shop.project).get().status) == ("", "won")


def test_a_change_of_the_policy_is_carried_out_on_disputes_of_before(shop: Shop, payment: Transaction) -> None:
    opened = dispute(shop, payment)
    deliver(shop, new_events(shop))
    developer = create_developer(shop.project)
    revoked = [revoked_by(shop)]
    for choice in ("opened", "lost"):
        developer.put(config_path(shop.project, "billing-policy"), {"dispute_revokes": choice})
        run_outbox()
        revoked.append(revoked_by(shop))
    assert revoked == ["", opened["id"], ""]
    rows = OutboxRow.objects.for_project(shop.project).filter(kind="revocations", mode="test").order_by("created_at")
    assert [(row.status, row.result) for row in rows] == [("done", {"subscriptions": 1})] * 2
    changes = SubscriptionChange.objects.for_project(shop.project).filter(kind="access").order_by("recorded_at")
    assert [(change.source, change.after["access_revoked_by"]) for change in changes] == [
        ("staff", opened["id"]),
        ("staff", None),
    ]


def test_a_fraud_warning_is_put_before_the_staff_once(shop: Shop, payment: Transaction) -> None:
    control(shop, f"charges/{payment.stripe_charge_id}/fraud_warning")
    (warning,) = shop.objects("radar/early_fraud_warnings")
    events = new_events(shop)
    deliver(shop, events)
    deliver(shop, [event | {"id": f"{event['id']}again"} for event in events])
    (item,) = ReviewItem.objects.for_project(shop.project).filter(kind="fraud_warning")
    assert (item.subject, item.details["payment_intent_id"]) == (warning["id"], payment.payment_intent_id)
    assert "10.00 USD" in item.title and item.end_user == payment.end_user
    assert keys(shop, "alert:") == [f"alert:fraud_warning:{warning['id']}"]


# Edge


def test_an_inquiry_takes_nothing_away(shop: Shop, payment: Transaction) -> None:
    BillingPolicy.objects.update_or_create(project=shop.project, defaults={"dispute_revokes": "opened"})
    dispute(shop, payment, inquiry=True)
    deliver(shop, new_events(shop))
    assert Dispute.objects.for_project(shop.project).get().status == "warning_needs_response"
    assert revoked_by(shop) == "" and ReviewItem.objects.for_project(shop.project).filter(kind="dispute").count() == 1


def test_the_next_paid_period_makes_good_for_a_lost_dispute(shop: Shop, payment: Transaction) -> None:
    opened = dispute(shop, payment)
    control(shop, f"disputes/{opened['id']}/close", outcome="lost")
    deliver(shop, new_events(shop))
    subscription = Subscription.objects.for_project(shop.project).get()
    assert revoked_by(shop) == opened["id"]
    control(shop, f"subscriptions/{subscription.stripe_subscription_id}/renew", outcome="paid")
    deliver(shop, new_events(shop))
    assert revoked_by(shop) == ""


# Order


def test_a_dispute_known_before_its_payment_ends_in_the_same_rows(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    purchase(shop, dana, shop.price(1000))
    charge = shop.objects("charges")[0]
    control(shop, f"charges/{charge['id']}/dispute", reason="general")
    (opened,) = shop.objects("disputes")
    control(shop, f"disputes/{opened['id']}/close", outcome="lost")
    events = events_of(shop)
    closed = [event for event in events if event["type"] == "charge.dispute.closed"]
    deliver(shop, closed)
    payment = Transaction.objects.for_project(shop.project).get()
    assert (payment.disputed, payment.end_user, revoked_by(shop)) == (True, dana.end_user, opened["id"])
    told = keys(shop, "alert:", "app:")
    assert {f"app:dispute.opened:{opened['id']}", f"app:dispute.closed:{opened['id']}"} <= set(told)
    deliver(shop, list(reversed(events)))
    assert Dispute.objects.for_project(shop.project).get().status == "lost"
    assert revoked_by(shop) == opened["id"]
    assert keys(shop, "alert:", "app:") == told
    assert ReviewItem.objects.for_project(shop.project).filter(kind="dispute").count() == 1
