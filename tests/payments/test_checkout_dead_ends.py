"""Checkouts that come to nothing: the row says so, the app is told, and the buyer gets one way back, each once."""

import datetime as dt
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone

from common.ids import uuid7
from entitlements.models import PlanPrice
from notifications.models import OutboxRow
from payments.models import CheckoutSession, Subscription, Transaction
from projects.models import EndUser
from tests.payments.deliveries import deliver, events_of, send, set_webhook_secret, stored
from tests.payments.rows import create_plan
from tests.payments.shop import CANCEL_URL, STRIPE, SUCCESS_URL, Shop, buy, get, open_checkout

PAYS, FAILS = "AT611904300234573201", "AT861904300235473202"
BUYER = {"email": "buyer@example.com", "billingName": "Dana Buyer", "billingCountry": "AT"}


@pytest.fixture(autouse=True)
def webhook_secret(shop: Shop) -> None:
    """Events of the shop can be delivered."""
    set_webhook_secret(shop.project)


def effects(shop: Shop, kind: str) -> list[OutboxRow]:
    """Return what is to leave the service because of a checkout, without what is decided against."""
    rows = OutboxRow.objects.for_project(shop.project).filter(kind=kind, effect_key__contains="checkout")
    return list(rows.exclude(error__startswith="The buyer").order_by("created_at", "id"))


def expire(shop: Shop, opened: dict[str, Any]) -> None:
    shop.api("POST", f"checkout/sessions/{opened['session_id']}/expire")


def debit_session(shop: Shop, user: Any, *, interval: str = "") -> tuple[CheckoutSession, dict[str, Any]]:
    """Open a page that takes debits, as ours do where the account has switched them on; our call's answer is on the way."""
    open_checkout(user, shop.price(100, interval=""), mode="payment")
    customer = shop.objects("customers")[0]["id"]
    mode = "subscription" if interval else "payment"
    price_id = shop.price(2500, interval=interval, currency="eur")
    row_id = uuid7()
    row = CheckoutSession.objects.create(
        id=row_id, project=shop.project, mode="test", end_user=user.end_user, purchase_key=f"debit-{row_id}",
        stripe_idempotency_key=f"checkout-{row_id}", request={"mode": mode, "cancel_url": CANCEL_URL, "customer": customer},
    )  # fmt: skip
    kinds: dict[str, Any] = {"payment_method_types[0]": "card", "payment_method_types[1]": "sepa_debit"}
    line: dict[str, Any] = {
        "line_items[0][price]": price_id,
        "line_items[0][quantity]": 1,
        "client_reference_id": str(row_id),
    }
    urls: dict[str, Any] = {"success_url": SUCCESS_URL, "cancel_url": CANCEL_URL}
    return row, shop.api("POST", "checkout/sessions", mode=mode, customer=customer, **kinds, **line, **urls)


def debit(shop: Shop, session: dict[str, Any], iban: str) -> None:
    """Fill in the page with a bank account; the session is complete, the money is on its way."""
    page = httpx.post(shop.local(session["url"]), data={**BUYER, "iban": iban}, timeout=20)
    assert page.status_code == 303, page.text


def settle(shop: Shop, outcome: str) -> None:
    """Let the bank answer."""
    intent = shop.objects("payment_intents")[0]["id"]
    path = f"{shop.sandbox.url}/_sandbox/api/payment_intents/{intent}/settle"
    assert httpx.post(path, json={"outcome": outcome}, timeout=20).status_code == 200


# Works


@pytest.mark.parametrize("seen_by", ["event", "return"])
def test_an_expired_checkout_tells_the_app_and_offers_the_buyer_a_way_back(shop: Shop, dana: Any, seen_by: str) -> None:
    price_id = shop.price(1299)
    plan = create_plan(shop.project, name="Maker")
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=price_id)
    opened = open_checkout(dana, price_id)
    expire(shop, opened)
    if seen_by == "return":
        assert get(dana, f"checkout-session/{opened['session_id']}").json()["status"] == "expired"
    deliver(shop, events_of(shop))
    assert CheckoutSession.objects.for_project(shop.project).get().status == "expired"
    (mail,) = effects(shop, "mail")
    assert (mail.effect_key, mail.status) == (f"mail:checkout_retry:{opened['session_id']}", "pending")
    assert (mail.end_user_id, mail.payload["template"]) == (dana.end_user.pk, "checkout_retry")
    assert mail.payload["context"] == {
        "url": CANCEL_URL, "reason": "expired", "plan_name": "Maker", "session_id": opened["session_id"],
    }  # fmt: skip
    (event,) = effects(shop, "app_event")
    assert event.payload["type"] == "checkout.expired"
    told = event.payload["data"]
    assert (told["session_id"], told["status"], told["payment_status"]) == (opened["session_id"], "expired", "unpaid")
    assert (told["user_id"], told["external_user_id"]) == (str(dana.end_user.pk), dana.user_id)


def test_a_delayed_payment_is_pending_then_paid(shop: Shop, dana: Any) -> None:
    row, session = debit_session(shop, dana)
    debit(shop, session, PAYS)
    deliver(shop, events_of(shop))
    read = get(dana, f"checkout-session/{session['id']}").json()
    assert (read["status"], read["payment_status"], read["payment"]["status"]) == ("complete", "unpaid", "pending")
    settle(shop, "succeeded")
    deliver(shop, events_of(shop))
    row.refresh_from_db()
    assert (row.status, row.payment_status) == ("complete", "paid")
    assert Transaction.objects.for_project(shop.project).get().status == "succeeded"
    assert effects(shop, "mail") == []


def test_a_delayed_payment_that_fails_marks_the_checkout_and_offers_a_way_back(shop: Shop, dana: Any) -> None:
    row, session = debit_session(shop, dana)
    debit(shop, session, PAYS)
    settle(shop, "failed")
    deliver(shop, events_of(shop))
    row.refresh_from_db()
    assert (row.status, row.payment_status) == ("failed", "unpaid")
    read = get(dana, f"checkout-session/{session['id']}").json()
    assert (read["status"], read["payment"]["status"]) == ("failed", "failed")
    (mail,) = effects(shop, "mail")
    assert (mail.payload["context"]["reason"], mail.payload["context"]["url"]) == ("payment_failed", CANCEL_URL)
    assert effects(shop, "app_event") == []


def test_a_subscription_whose_delayed_first_payment_fails_is_dunned_by_its_invoice_alone(shop: Shop, dana: Any) -> None:
    row, session = debit_session(shop, dana, interval="month")
    debit(shop, session, PAYS)
    settle(shop, "failed")
    deliver(shop, events_of(shop))
    row.refresh_from_db()
    assert row.status == "failed"
    assert Subscription.objects.for_project(shop.project).get().status == "past_due"
    assert effects(shop, "mail") == []


# Refuses


def test_a_checkout_that_another_one_replaced_is_mailed_about_by_nobody(shop: Shop, dana: Any) -> None:
    first = open_checkout(dana, shop.price(1000))
    second = open_checkout(dana, shop.price(2000))
    deliver(shop, events_of(shop))
    assert effects(shop, "mail") == []
    assert [row.payload["data"]["session_id"] for row in effects(shop, "app_event")] == [first["session_id"]]
    expire(shop, second)
    deliver(shop, events_of(shop))
    assert [row.effect_key for row in effects(shop, "mail")] == [f"mail:checkout_retry:{second['session_id']}"]


def test_who_has_bought_it_since_is_left_alone(shop: Shop, dana: Any) -> None:
    price_id = shop.price(1000)
    expire(shop, open_checkout(dana, price_id))
    buy(shop, dana, price_id)
    deliver(shop, events_of(shop))
    assert effects(shop, "mail") == []


def test_who_has_subscribed_another_way_is_left_alone(shop: Shop, dana: Any) -> None:
    left = open_checkout(dana, shop.price(1000))
    buy(shop, dana, shop.price(2000), allow_existing_subscription=True)
    expire(shop, left)
    deliver(shop, events_of(shop))
    assert effects(shop, "mail") == []
    assert len(effects(shop, "app_event")) == 1


@pytest.mark.parametrize("why", ["banned", "days_later"])
def test_who_is_banned_or_would_hear_of_it_days_later_is_left_alone(
    shop: Shop, dana: Any, settings: Any, tmp_path: Path, why: str
) -> None:
    expire(shop, open_checkout(dana, shop.price(1000)))
    if why == "banned":
        EndUser.objects.for_project(shop.project).filter(pk=dana.end_user.pk).update(is_active=False)
    else:
        settings.CLOCK_FILE = str(tmp_path / "now")
        Path(settings.CLOCK_FILE).write_text((timezone.now() + dt.timedelta(days=5)).isoformat())
    deliver(shop, events_of(shop))
    assert effects(shop, "mail") == []
    assert len(effects(shop, "app_event")) == 1


@pytest.mark.parametrize("kind", ["credit_purchase", "lifetime_license", "subscription", "something_else"])
def test_sessions_that_were_not_opened_here_leave_their_payment_and_nothing_else(
    shop: Shop, dana: Any, kind: str
) -> None:
    open_checkout(dana, shop.price(100, interval=""), mode="payment")
    mine = CheckoutSession.objects.for_project(shop.project).get()
    customer = shop.objects("customers")[0]["id"]
    form: dict[str, Any] = {
        "mode": "payment", "customer": customer, "success_url": SUCCESS_URL, "metadata[type]": kind,
        "line_items[0][price]": shop.price(4900, interval=""), "line_items[0][quantity]": 1,
    }  # fmt: skip
    paid, left = shop.api("POST", "checkout/sessions", **form), shop.api("POST", "checkout/sessions", **form)
    assert shop.pay(paid["url"]).status_code == 303
    shop.api("POST", f"checkout/sessions/{left['id']}/expire")
    deliver(shop, events_of(shop))
    payment = Transaction.objects.for_project(shop.project).get()
    assert (payment.amount_cents, payment.status, payment.end_user_id) == (4900, "succeeded", dana.end_user.pk)
    assert not Subscription.objects.for_project(shop.project).exists()
    assert list(CheckoutSession.objects.for_project(shop.project)) == [mine]
    assert effects(shop, "mail") == effects(shop, "app_event") == []
    assert "dead" not in set(stored(shop.project).values_list("status", flat=True))


# Edge


def test_the_link_is_stripes_own_page_to_recover_where_there_is_one(shop: Shop, dana: Any) -> None:
    from payments.services.checkout_effects import retry_url

    row = CheckoutSession(project=shop.project, request={"cancel_url": CANCEL_URL})
    recovery = {"after_expiration": {"recovery": {"enabled": True, "url": "https://buy.stripe.com/r/1"}}}
    assert retry_url(row, recovery) == "https://buy.stripe.com/r/1"
    assert retry_url(row, {"after_expiration": None}) == CANCEL_URL
    shop.project.default_cancel_url = "https://app.example/plans"
    assert retry_url(CheckoutSession(project=shop.project), {}) == "https://app.example/plans"


def test_an_event_that_says_expired_of_a_session_that_was_paid_is_not_believed(shop: Shop, dana: Any) -> None:
    bought = buy(shop, dana, shop.price(1000))
    false = next(event for event in events_of(shop) if event["type"] == "checkout.session.completed")
    false |= {"id": "evt_false1", "type": "checkout.session.expired"}
    false["data"]["object"]["status"] = "expired"
    deliver(shop, [false])
    assert CheckoutSession.objects.for_project(shop.project).get().status == "complete"
    assert effects(shop, "mail") == effects(shop, "app_event") == []
    assert get(dana, "my-subscription").json() == bought["subscription"]


# Replay


def test_delivered_five_times_and_read_again_it_is_told_once(shop: Shop, dana: Any) -> None:
    opened = open_checkout(dana, shop.price(1000, interval=""), mode="payment")
    expire(shop, opened)
    events = events_of(shop)
    for _ in range(5):
        deliver(shop, events)
    # Stripe's own way to send an event again is a new delivery of the same id; a new id about the same state is another event.
    again = next(event for event in events if event["type"] == "checkout.session.expired")
    assert send(shop.project, again | {"id": "evt_again1"}).status_code == 200
    deliver(shop, [])
    assert dana.client.get(f"{STRIPE}/checkout-session/{opened['session_id']}").json()["status"] == "expired"
    assert (len(effects(shop, "mail")), len(effects(shop, "app_event"))) == (1, 1)
