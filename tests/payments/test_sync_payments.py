"""Rows of money: one per PaymentIntent, else per invoice paid outside Stripe; refunds, failures, zero invoices."""

from typing import Any

import pytest
from django.db import transaction

from payments.models import Subscription, Transaction
from payments.services.objects.invoice import payment_intents_of, write_invoice
from payments.services.objects.payment import description_of, subscription_id_of
from payments.services.objects.payment_intent import status_of, write_payment_intent
from payments.services.ownership import Scope
from tests.cast import AppUser
from tests.payments.deliveries import (
    control,
    deliver,
    events_of,
    process_all,
    purchase,
    send,
    set_webhook_secret,
    stored,
)
from tests.payments.rows import stripe_id
from tests.payments.shop import DECLINED, Shop, checkout_body, open_checkout, post


@pytest.fixture(autouse=True)
def listening(shop: Shop) -> None:
    """The shop takes webhooks."""
    set_webhook_secret(shop.project)


def deliver_new(shop: Shop) -> None:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])


def payments(shop: Shop) -> list[Transaction]:
    return list(Transaction.objects.for_project(shop.project).order_by("created_at", "id"))


def test_a_one_time_purchase_is_one_payment_with_its_receipt(shop: Shop, dana: AppUser) -> None:
    body = checkout_body(shop.price(4900, interval=""), mode="payment", quantity=2)
    opened = post(dana, "checkout-session", body).json()
    assert shop.pay(opened["checkout_url"]).status_code == 303
    deliver_new(shop)
    (payment,) = payments(shop)
    assert (payment.status, payment.amount_cents, payment.end_user) == ("succeeded", 9800, dana.end_user)
    assert payment.payment_intent_id.startswith("pi_") and payment.receipt_url
    assert payment.subscription is None and not payment.stripe_invoice_id


def test_a_refund_in_two_parts_is_counted_from_the_charge(shop: Shop, dana: AppUser) -> None:
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    (payment,) = payments(shop)
    for amount, refunded, status in ((400, 400, "partially_refunded"), (600, 1000, "refunded")):
        shop.api("POST", "refunds", payment_intent=payment.payment_intent_id, amount=amount)
        deliver_new(shop)
        payment.refresh_from_db()
        assert (payment.status, payment.refunded_amount_cents, payment.amount_cents) == (status, refunded, 1000)
    assert Subscription.objects.for_project(shop.project).get().status == "active"
    assert len(payments(shop)) == 1


def test_the_refund_event_alone_is_enough(shop: Shop, dana: AppUser) -> None:
    purchase(shop, dana, shop.price(1000))
    intent = shop.objects("payment_intents")[0]
    shop.api("POST", "refunds", payment_intent=intent["id"])
    deliver(shop, [event for event in events_of(shop) if event["type"] == "charge.refunded"])
    (payment,) = payments(shop)
    assert (payment.status, payment.amount_cents, payment.refunded_amount_cents) == ("refunded", 1000, 1000)
    assert payment.subscription is not None and payment.end_user == dana.end_user


def test_a_declined_checkout_leaves_a_failed_payment_at_most_and_no_subscription(shop: Shop, dana: AppUser) -> None:
    opened = open_checkout(dana, shop.price(1000))
    shop.pay(opened["checkout_url"], DECLINED)
    deliver_new(shop)
    assert not Subscription.objects.for_project(shop.project).exists()
    assert [payment.status for payment in payments(shop)] in ([], ["failed"])
    assert shop.pay(opened["checkout_url"]).status_code == 303
    deliver_new(shop)
    assert [payment.status for payment in payments(shop)].count("succeeded") == 1
    assert Subscription.objects.for_project(shop.project).get().status == "active"


def test_a_failed_renewal_is_a_failed_payment_and_grace_begins_once(shop: Shop, dana: AppUser) -> None:
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    subscription = Subscription.objects.for_project(shop.project).get()
    path = f"subscriptions/{subscription.stripe_subscription_id}"
    control(shop, f"{path}/renew", outcome="declined")
    deliver_new(shop)
    subscription.refresh_from_db()
    # Both may be of the same second.
    first, failed = sorted(payments(shop), key=lambda payment: payment.status == "failed")
    assert (subscription.status, first.status, failed.status) == ("past_due", "succeeded", "failed")
    assert failed.failure_code == "generic_decline" and failed.failure_message == "Your card was declined."
    assert failed.refunded_amount_cents == 0 and failed.subscription == subscription
    began = subscription.past_due_since
    invoice = shop.api("GET", f"invoices/{shop.api('GET', path)['latest_invoice']}")
    assert began is not None and int(began.timestamp()) == invoice["status_transitions"]["finalized_at"]
    shop.api("POST", f"invoices/{invoice['id']}/pay")
    deliver_new(shop)
    subscription.refresh_from_db()
    failed.refresh_from_db()
    assert (subscription.status, subscription.past_due_since) == ("active", None)
    assert (failed.status, failed.failure_code, failed.failure_message) == ("succeeded", "", "")
    assert len(payments(shop)) == 2


def test_a_trial_invoice_of_zero_makes_no_payment(shop: Shop, dana: AppUser) -> None:
    about: dict[str, Any] = {"metadata[end_user_id]": str(dana.end_user.pk)}
    customer = shop.api("POST", "customers", **about)
    trial: dict[str, Any] = {"items[0][price]": shop.price(1000), "customer": customer["id"], "trial_period_days": 7}
    shop.api("POST", "subscriptions", **trial)
    deliver_new(shop)
    subscription = Subscription.objects.for_project(shop.project).get()
    assert (subscription.status, subscription.end_user) == ("trialing", dana.end_user)
    assert subscription.trial_end is not None and payments(shop) == []


# Shapes that the sandbox does not make


def intent(**fields: Any) -> dict[str, Any]:
    """Write a PaymentIntent as Stripe sends it, as far as a payment needs it."""
    return {
        "id": stripe_id("pi"),
        "object": "payment_intent",
        "amount": 500,
        "amount_received": 500,
        "currency": "usd",
        "customer": None,
        "created": 1_790_000_000,
        "status": "succeeded",
        "latest_charge": None,
        "last_payment_error": None,
        "metadata": {},
    } | fields


def invoice(**fields: Any) -> dict[str, Any]:
    """Write an invoice as Stripe sends it."""
    return {
        "id": stripe_id("in"),
        "object": "invoice",
        "amount_paid": 500,
        "currency": "eur",
        "customer": None,
        "created": 1_790_000_000,
        "status": "paid",
        "metadata": {},
    } | fields


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "requires_payment_method"}, None),
        ({"status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}, "failed"),
        ({"status": "requires_payment_method", "latest_charge": "ch_1"}, "failed"),
        ({"status": "requires_action"}, "pending"),
        ({"status": "processing"}, "pending"),
        ({"status": "requires_capture"}, "pending"),
        ({"status": "canceled"}, "canceled"),
        ({"status": "something_new"}, "pending"),
        ({}, "succeeded"),
        ({"latest_charge": {"id": "ch_1", "amount_refunded": 499}}, "partially_refunded"),
        ({"latest_charge": {"id": "ch_1", "amount_refunded": 500}}, "refunded"),
    ],
)
def test_every_status_of_a_payment_intent_has_one_of_ours(fields: dict[str, Any], status: str | None) -> None:
    assert status_of(intent(**fields)) == status


def test_both_shapes_of_an_invoice_are_read() -> None:
    new = {
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
        "payments": {"data": [{"payment": {"type": "payment_intent", "payment_intent": "pi_1"}}]},
    }
    old = {"subscription": "sub_1", "payment_intent": {"id": "pi_1"}}
    for shape in (new, old):
        assert (subscription_id_of(shape), payment_intents_of(shape)) == ("sub_1", ["pi_1"])
    assert (subscription_id_of({"parent": None}), payment_intents_of({"payments": None})) == ("", [])
    assert description_of({"lines": {"data": [{"description": "1 × Pro"}]}}) == "1 × Pro"


def test_an_invoice_paid_outside_stripe_is_a_payment_under_its_own_id(shop: Shop) -> None:
    scope = Scope(shop.project.pk, "test")
    paid = invoice()
    for found in (paid, invoice(amount_paid=0), invoice(status="open"), paid):
        with transaction.atomic():
            write_invoice(scope, found["id"], found)
    (payment,) = payments(shop)
    assert (payment.payment_intent_id, payment.stripe_invoice_id) == (paid["id"], paid["id"])
    assert (payment.status, payment.amount_cents, payment.currency) == ("succeeded", 500, "eur")


def paid_with(*entries: tuple[str, int | None, str]) -> dict[str, Any]:
    """Write the payments of an invoice: the status, the amount that was paid and what paid it."""
    kinds = {"pi": "payment_intent", "pr": "payment_record"}
    found = [
        {"status": status, "amount_paid": amount, "amount_requested": 500, "payment": {kinds[by[:2]]: by}}
        for status, amount, by in entries
    ]
    return {"payments": {"data": found, "has_more": False}}


INTENTS = {"pi_paid": intent(id="pi_paid"), "pi_failed": intent(id="pi_failed", status="canceled", amount_received=0)}


@pytest.mark.parametrize(
    ("fields", "outside"),
    [
        (paid_with(("paid", 500, "pi_paid")), 0),
        # Stripe notes the payment of an invoice some seconds after the invoice itself.
        (paid_with(("open", None, "pi_paid")), 0),
        (paid_with(("canceled", None, "pi_failed")), 500),
        (paid_with(("open", None, "pi_failed")), 500),
        (paid_with(("canceled", None, "pi_failed"), ("paid", 500, "pr_1")), 500),
        (paid_with(("paid", 200, "pi_other"), ("paid", 100, "pi_paid"), ("canceled", None, "pi_failed")), 200),
        ({"payment_intent": "pi_paid"}, 0),
        ({"payment_intent": "pi_not_read"}, 0),
        ({"payment_intent": "pi_failed"}, 500),
        ({"payment_intent": "pi_paid", "paid_out_of_band": True}, 500),
    ],
)
def test_what_no_intent_brought_is_the_invoices_own_payment(shop: Shop, fields: dict[str, Any], outside: int) -> None:
    found = invoice(charge="ch_of_the_intent", **fields)
    for _ in range(2):
        with transaction.atomic():
            write_invoice(Scope(shop.project.pk, "test"), found["id"], found, INTENTS)
    told = [(payment.payment_intent_id, payment.amount_cents, payment.stripe_charge_id) for payment in payments(shop)]
    assert told == ([(found["id"], outside, "")] if outside else [])


def test_only_what_was_received_counts(shop: Shop) -> None:
    found = intent(
        amount=900, amount_received=700, currency="JPY", latest_charge={"id": "ch_1", "amount_refunded": 900}
    )
    with transaction.atomic():
        write_payment_intent(Scope(shop.project.pk, "test"), found["id"], found, None)
    (payment,) = payments(shop)
    assert (payment.amount_cents, payment.refunded_amount_cents, payment.currency) == (700, 700, "jpy")
    assert payment.status == "refunded"


def test_a_later_read_without_the_invoice_keeps_what_the_invoice_said(shop: Shop) -> None:
    scope = Scope(shop.project.pk, "test")
    found, paid = intent(), invoice(invoice_pdf="https://pay.example/in.pdf", description="Pro, monthly")
    with transaction.atomic():
        write_payment_intent(scope, found["id"], found, paid)
        write_payment_intent(scope, found["id"], found | {"description": "Subscription update"}, None)
    (payment,) = payments(shop)
    assert (payment.stripe_invoice_id, payment.description) == (paid["id"], "Pro, monthly")
    assert payment.invoice_pdf == "https://pay.example/in.pdf"


def test_a_payment_that_stripe_lost_is_not_left_pending(shop: Shop) -> None:
    scope = Scope(shop.project.pk, "test")
    found = intent(status="processing")
    write_payment_intent(scope, found["id"], found, None)
    write_payment_intent(scope, found["id"], None, None)
    assert [payment.status for payment in payments(shop)] == ["canceled"]


def test_modes_never_mix(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project, "live")
    opened = open_checkout(dana, shop.price(1000, live=True), query="?test_mode=false")
    assert shop.pay(opened["checkout_url"]).status_code == 303
    live_events = list(reversed(shop.objects("events", live=True)))
    assert {send(shop.project, event).status_code for event in live_events} == {400}
    assert {send(shop.project, event, mode="live").status_code for event in live_events} == {200}
    process_all(shop.project)
    (payment,) = payments(shop)
    assert payment.mode == Subscription.objects.for_project(shop.project).get().mode == "live"
    assert Subscription.objects.current_for(dana.end_user, "test") is None
