"""Twenty subscribers over a year by test clocks: in the end we have what Stripe has, object by object.

Of the deliveries 5 % are lost, 10 % come twice and all are shuffled; reconciliation closes the gap.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from payments.models import StripeCustomer, Subscription, Transaction
from payments.services.invariants import check_invariants
from payments.services.reconcile.reconciling import Wish, reconcile
from payments.webhooks import HANDLERS
from projects.models import EndUser
from tests.cast import create_app_user
from tests.payments.deliveries import control, deliver, keys_were_saved, process_all, set_webhook_secret, stored
from tests.payments.shop import Shop, open_checkout
from tests.scenarios.against_stripe import (
    KINDS,
    Side,
    check_inbox,
    check_invoices,
    check_refunds_and_disputes,
    check_revenue,
)
from tests.scenarios.lifecycle import rows_of

SUBSCRIBERS = 20
MONTHS = 12
MAKER, PRO = 1000, 2500
SEED = 20_270_101


def everything(shop: Shop, path: str, **query: Any) -> list[dict[str, Any]]:
    """Read all pages of a list, newest first."""
    found: list[dict[str, Any]] = []
    while True:
        after = {"starting_after": found[-1]["id"]} if found else {}
        page = shop.api("GET", path, limit=100, **query, **after)
        found += page["data"]
        if not page["has_more"]:
            return found


@dataclass
class Subscriber:
    """One buyer at Stripe: their subscription, their clock, and what happens to them in which month."""

    shop: Shop
    end_user: EndUser
    customer_id: str
    subscription_id: str
    plans: dict[int, Callable[["Subscriber"], None]]

    @property
    def path(self) -> str:
        """The subscription's path in the API."""
        return f"subscriptions/{self.subscription_id}"

    @property
    def subscription(self) -> dict[str, Any]:
        """The subscription as Stripe has it."""
        return self.shop.api("GET", self.path)

    def live_through(self, month: int) -> None:
        """Do what is planned for a month, then let the month pass and the renewal be charged."""
        if month in self.plans:
            self.plans[month](self)
        if self.subscription["status"] in ("active", "past_due", "trialing"):
            event = "end" if self.subscription["cancel_at_period_end"] else "payment"
            control(self.shop, f"{self.path}/advance", to=event)

    def change(self, **form: Any) -> None:
        """Update the subscription."""
        self.shop.api("POST", self.path, **form)

    def use_card(self, card: str) -> None:
        """Pay with another card from now on."""
        customer = self.subscription["customer"]
        method = self.shop.api("POST", f"payment_methods/{card}/attach", customer=customer)
        self.change(default_payment_method=method["id"])


def switch_to(price: str, **more: str) -> Callable[[Subscriber], None]:
    """Plan a change of price."""

    def change(subscriber: Subscriber) -> None:
        item = subscriber.subscription["items"]["data"][0]["id"]
        subscriber.change(**{"items[0][id]": item, "items[0][price]": price, **more})

    return change


def fail(subscriber: Subscriber) -> None:
    """Let the coming renewal be declined."""
    subscriber.use_card("pm_card_chargeCustomerFail")


def recover(subscriber: Subscriber) -> None:
    """Give a good card, which the next retry takes."""
    subscriber.use_card("pm_card_visa")
    control(subscriber.shop, f"{subscriber.path}/advance", to="retry")


def give_up(subscriber: Subscriber) -> None:
    """Let every retry fail."""
    while subscriber.subscription["status"] == "past_due":
        control(subscriber.shop, f"{subscriber.path}/advance", to="retry")


def end_now(subscriber: Subscriber) -> None:
    """Cancel at once."""
    subscriber.shop.api("DELETE", subscriber.path)


def end_later(subscriber: Subscriber) -> None:
    """Cancel with the period."""
    subscriber.change(cancel_at_period_end="true")


def stay(subscriber: Subscriber) -> None:
    """Take the cancellation back."""
    subscriber.change(cancel_at_period_end="false")


def refund_a_part(subscriber: Subscriber) -> None:
    """Give 3.00 of the latest payment back."""
    latest = subscriber.shop.objects("payment_intents", customer=subscriber.subscription["customer"])[0]
    subscriber.shop.api("POST", "refunds", payment_intent=latest["id"], amount=300)


def pause(subscriber: Subscriber) -> None:
    """Collect nothing for now."""
    subscriber.change(**{"pause_collection[behavior]": "void"})


def collect_again(subscriber: Subscriber) -> None:
    """Collect again."""
    subscriber.change(pause_collection="")


def take_two(subscriber: Subscriber) -> None:
    """Double the quantity, billed with the next month."""
    item = subscriber.subscription["items"]["data"][0]["id"]
    subscriber.change(**{"items[0][id]": item, "items[0][quantity]": 2})


def try_a_trial(subscriber: Subscriber) -> None:
    """Be given ten free days."""
    now = control(subscriber.shop, f"{subscriber.path}/advance", to="next")["frozen_time"]
    subscriber.change(trial_end=now + 10 * 86_400)


def plans_for(number: int, maker: str, pro: str) -> dict[int, Callable[[Subscriber], None]]:
    """Say what happens to which subscriber in which month; the first eight just pay."""
    upgrade = switch_to(pro, proration_behavior="always_invoice")
    downgrade = switch_to(maker, proration_behavior="create_prorations")
    plans: dict[int, dict[int, Callable[[Subscriber], None]]] = {
        8: {3: upgrade},
        9: {3: upgrade, 7: downgrade},
        10: {2: fail, 3: recover},
        11: {4: fail, 5: recover, 8: upgrade},
        12: {5: fail, 6: give_up},
        13: {6: end_now},
        14: {4: end_later},
        15: {7: end_later},
        16: {2: refund_a_part, 9: refund_a_part},
        17: {3: pause, 5: collect_again},
        18: {2: take_two, 6: upgrade},
        19: {5: try_a_trial},
    }
    return plans.get(number, {})


def subscribe(shop: Shop, number: int, maker: str, pro: str) -> Subscriber:
    """Let a new user of the app buy, on a clock of their own from then on."""
    user = create_app_user(shop.project, f"user{number}")
    opened = open_checkout(user, maker)
    assert shop.pay(opened["checkout_url"]).status_code == 303
    session = shop.api("GET", f"checkout/sessions/{opened['session_id']}")
    control(shop, f"customers/{session['customer']}/test_clock")
    plans = plans_for(number, maker, pro)
    return Subscriber(shop, user.end_user, session["customer"], session["subscription"], plans)


def compare_subscriptions(shop: Shop, subscribers: list[Subscriber]) -> None:
    """Check every subscription of ours against Stripe's, field by field."""
    rows = {row.stripe_subscription_id: row for row in Subscription.objects.for_project(shop.project)}
    assert set(rows) == {subscriber.subscription_id for subscriber in subscribers}
    for subscriber in subscribers:
        found, row = subscriber.subscription, rows[subscriber.subscription_id]
        item = found["items"]["data"][0]
        assert (row.status, row.stripe_customer_id) == (found["status"], found["customer"])
        assert (row.stripe_price_id, row.quantity) == (item["price"]["id"], item["quantity"])
        assert row.current_period_start is not None and row.current_period_end is not None
        assert int(row.current_period_start.timestamp()) == item["current_period_start"]
        assert int(row.current_period_end.timestamp()) == item["current_period_end"]
        assert row.cancel_at_period_end == found["cancel_at_period_end"]
        for ours, theirs in ((row.canceled_at, found["canceled_at"]), (row.cancel_at, found["cancel_at"])):
            assert (int(ours.timestamp()) if ours else None) == theirs


def status_of_payment(intent: dict[str, Any], charge: dict[str, Any]) -> str:
    """Say what the contract calls a payment that was tried."""
    if intent["status"] != "succeeded":
        # Nobody is asked for a confirmation here: what did not arrive was declined, or withdrawn with its invoice.
        return {"requires_payment_method": "failed", "canceled": "canceled"}[intent["status"]]
    if charge["amount_refunded"] == intent["amount"]:
        return "refunded"
    return "partially_refunded" if charge["amount_refunded"] else "succeeded"


def compare_payments(shop: Shop) -> int:
    """Check every payment of ours against Stripe's, field by field; returns how many there are."""
    rows = {row.payment_intent_id: row for row in Transaction.objects.for_project(shop.project)}
    intents = everything(shop, "payment_intents")
    charges = {charge["id"]: charge for charge in everything(shop, "charges")}
    invoices = {payment["payment"]["payment_intent"]: payment for payment in everything(shop, "invoice_payments")}
    assert set(rows) == {intent["id"] for intent in intents}
    for intent in intents:
        row, charge = rows[intent["id"]], charges[intent["latest_charge"]]
        assert (row.amount_cents, row.currency) == (intent["amount"], intent["currency"])
        assert row.refunded_amount_cents == charge["amount_refunded"]
        assert row.status == status_of_payment(intent, charge)
        invoice = shop.api("GET", f"invoices/{invoices[intent['id']]['invoice']}")
        details = invoice["parent"]["subscription_details"]
        assert row.subscription is not None and row.subscription.stripe_subscription_id == details["subscription"]
        assert (invoice["status"] == "paid") == (intent["status"] == "succeeded")
    return len(rows)


def compare_bills(shop: Shop, subscribers: list[Subscriber]) -> None:
    """Check every invoice, refund and sum of ours against Stripe's."""
    found = {kind: everything(shop, kind) for kind in KINDS}
    for kind, more in (("subscriptions", {"status": "all"}), ("invoices", {})):
        # Lists hide what is on a clock, unless they are asked for its customer's.
        found[kind] = [
            one for buyer in subscribers for one in everything(shop, kind, customer=buyer.customer_id, **more)
        ]
    side = Side(shop.project, "test", subscribers, **found)
    assert len(side.invoices) > 200 and len(side.refunds) == 2
    for check in (check_invoices, check_refunds_and_disputes, check_revenue, check_inbox):
        check(side)
    assert [str(one) for one in check_invariants(project_id=shop.project.pk)] == []


def close_the_gap(shop: Shop, handled: int) -> None:
    """Let reconciliation find what never arrived; afterwards the inbox holds every event that something follows."""
    reconcile(project_id=shop.project.pk, mode="test", wish=Wish("events", types=tuple(HANDLERS)))
    process_all(shop.project)
    assert stored(shop.project).filter(type__in=HANDLERS).count() == handled
    assert stored(shop.project).filter(source="reconcile").count() > 50


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_subscribers_over_a_year_end_as_stripe_has_them(shop: Shop, settings: Any) -> None:
    settings.RECONCILE_SETTLE_SECONDS = 0
    keys_were_saved(shop.project, "test")
    set_webhook_secret(shop.project)
    chance = random.Random(SEED)
    maker, pro = shop.price(MAKER), shop.price(PRO)
    subscribers = [subscribe(shop, number, maker, pro) for number in range(SUBSCRIBERS)]
    delivered: set[str] = set()
    never = 0
    for month in range(1, MONTHS + 1):
        for subscriber in subscribers:
            subscriber.live_through(month)
        fresh = [event for event in everything(shop, "events") if event["id"] not in delivered]
        delivered |= {event["id"] for event in fresh}
        # Stripe promises no order, sends some twice, and a network loses some for good.
        lost = {event["id"] for event in chance.sample(fresh, k=len(fresh) // 20)}
        arriving = [event for event in fresh if event["id"] not in lost]
        arriving += chance.sample(arriving, k=len(arriving) // 10)
        chance.shuffle(arriving)
        deliver(shop, arriving)
        never += len(lost)
    assert stored(shop.project).count() == len(delivered) - never
    close_the_gap(shop, sum(event["type"] in HANDLERS for event in everything(shop, "events")))
    compare_subscriptions(shop, subscribers)
    statuses = [subscriber.subscription["status"] for subscriber in subscribers]
    assert statuses.count("canceled") == 4 and statuses.count("active") == 16
    # Eight who just pay: the purchase and twelve renewals each.
    plain = [
        Transaction.objects.for_project(shop.project).filter(
            subscription__stripe_subscription_id=subscriber.subscription_id, status="succeeded", amount_cents=MAKER
        )
        for subscriber in subscribers[:8]
    ]
    assert [payments.count() for payments in plain] == [MONTHS + 1] * 8
    assert compare_payments(shop) > 200
    compare_bills(shop, subscribers)
    assert StripeCustomer.objects.for_project(shop.project).count() == SUBSCRIBERS
    before = rows_of(shop)
    deliver(shop, chance.sample(everything(shop, "events"), k=200))
    assert rows_of(shop) == before, "what was delivered long ago changes nothing when it comes again"
