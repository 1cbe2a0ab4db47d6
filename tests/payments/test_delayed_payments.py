"""Payments that take a while: debits that settle days later, and cards whose bank asks first. One row, one receipt."""

from typing import Any

import pytest

from notifications.models import OutboxRow
from payments.models import Transaction
from tests.cast import AppUser
from tests.payments.deliveries import control, deliver, events_of, set_webhook_secret, stored
from tests.payments.shop import Shop

IBAN = "AT611904300234573201"


def pay(shop: Shop, user: AppUser, **about: Any) -> dict[str, Any]:
    """Charge a new customer of the user once; what became of it is not delivered yet."""
    named: dict[str, Any] = {"metadata[end_user_id]": str(user.end_user.pk)}
    customer = shop.api("POST", "customers", **named)
    fields: dict[str, Any] = {"amount": 2500, "customer": customer["id"], "confirm": "true"}
    return shop.api("POST", "payment_intents", **fields, **about)


def debit(shop: Shop) -> dict[str, Any]:
    """Name a bank account to debit."""
    method: dict[str, Any] = {"type": "sepa_debit", "sepa_debit[iban]": IBAN, "billing_details[name]": "Dana"}
    method |= {"billing_details[email]": "dana@example.com"}
    made = shop.api("POST", "payment_methods", **method)
    return {"payment_method": made["id"], "payment_method_types[0]": "sepa_debit", "currency": "eur"}


def deliver_new(shop: Shop) -> None:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    deliver(shop, [event for event in events_of(shop) if event["id"] not in known])


def told(shop: Shop) -> list[str]:
    rows = OutboxRow.objects.for_project(shop.project).values_list("effect_key", flat=True)
    return sorted(key.rsplit(":", 1)[0] if "failed" in key else key for key in rows)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_debit_is_pending_until_the_bank_has_answered(shop: Shop, dana: AppUser, outcome: str) -> None:
    set_webhook_secret(shop.project)
    intent = pay(shop, dana, **debit(shop))
    deliver_new(shop)
    payment = Transaction.objects.for_project(shop.project).get()
    assert (payment.status, payment.amount_cents, payment.currency) == ("pending", 2500, "eur")
    assert told(shop) == []
    control(shop, f"payment_intents/{intent['id']}/settle", outcome=outcome)
    deliver_new(shop)
    payment.refresh_from_db()
    assert (payment.status, payment.end_user, payment.method_type) == (outcome, dana.end_user, "sepa_debit")
    if outcome == "succeeded":
        assert told(shop) == [f"app:payment.succeeded:{intent['id']}", f"mail:receipt:{intent['id']}"]
    else:
        assert told(shop) == [f"app:payment.failed:{intent['id']}"] and payment.failure_code


def test_a_bank_that_asks_first_leaves_one_payment_and_one_receipt(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    card = {"payment_method": "pm_card_threeDSecure2Required", "payment_method_types[0]": "card", "currency": "usd"}
    intent = pay(shop, dana, **card)
    deliver_new(shop)
    assert [row.status for row in Transaction.objects.for_project(shop.project)] in ([], ["pending"])
    control(shop, f"payment_intents/{intent['id']}/authenticate", success=True)
    deliver_new(shop)
    payment = Transaction.objects.for_project(shop.project).get()
    assert (payment.status, payment.method_last4) == ("succeeded", "3220")
    assert told(shop) == [f"app:payment.succeeded:{intent['id']}", f"mail:receipt:{intent['id']}"]
