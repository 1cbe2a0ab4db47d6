"""Events that name no customer: leased with their customer's others when anybody here knows it, and right in every other case."""

import uuid
from typing import Any

import pytest

from payments.models import Dispute, Invoice, Refund, Subscription, SyncLease, Transaction
from payments.services.inbox import EventGroup, lease_due_groups
from payments.services.processing import process_group
from payments.webhooks import HANDLERS
from tests.cast import AppUser
from tests.payments.deliveries import an_event, control, deliver, events_of, purchase, set_webhook_secret, stored
from tests.payments.rows import create_payment, stripe_id
from tests.payments.shop import Shop


@pytest.fixture
def payment(shop: Shop, dana: AppUser) -> Transaction:
    """Dana's payment of 10.00 for her subscription."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Transaction.objects.for_project(shop.project).get()


def new_events(shop: Shop, *types: str) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    found = [event for event in events_of(shop) if event["id"] not in known]
    return [event for event in found if not types or event["type"] in types]


def my_groups(shop: Shop) -> list[EventGroup]:
    return [group for group in lease_due_groups(limit=200) if group.project_id == shop.project.pk]


def reads(shop: Shop, path: str) -> int:
    return len([entry for entry in shop.requests(path) if entry["method"] == "GET"])


def refund_event(payment: Transaction, *, refund_id: str = "") -> dict[str, Any]:
    found = {"id": refund_id or stripe_id("re"), "object": "refund", "payment_intent": payment.payment_intent_id}
    return an_event("refund.updated", data={"object": found})


# Works


def test_what_happens_to_a_known_payment_is_one_group_of_its_customer(shop: Shop, payment: Transaction) -> None:
    shop.api("POST", "refunds", payment_intent=payment.payment_intent_id, amount=300)
    control(shop, f"charges/{payment.stripe_charge_id}/dispute", reason="fraudulent")
    deliver(shop, new_events(shop), process=False)
    roots = dict(stored(shop.project).unfinished().values_list("type", "root"))
    assert roots["charge.dispute.created"] == payment.payment_intent_id
    assert roots["charge.refunded"] == payment.stripe_customer_id
    before = reads(shop, f"/v1/payment_intents/{payment.payment_intent_id}")
    (group,) = my_groups(shop)
    assert group.root == payment.stripe_customer_id and len(group.events) >= 3
    process_group(group, HANDLERS)
    assert reads(shop, f"/v1/payment_intents/{payment.payment_intent_id}") == before + 1
    assert not stored(shop.project).unfinished().exists()
    assert Refund.objects.for_project(shop.project).get().amount_cents == 300
    assert Dispute.objects.for_project(shop.project).get().transaction == payment


def test_an_invoice_payment_that_comes_last_is_read_once(shop: Shop, payment: Transaction) -> None:
    subscription = Subscription.objects.for_project(shop.project).get()
    control(shop, f"subscriptions/{subscription.stripe_subscription_id}/renew", outcome="paid")
    (late,) = new_events(shop, "invoice_payment.paid")
    deliver(shop, [event for event in new_events(shop) if event != late])
    paid = late["data"]["object"]["invoice"]
    invoice = Invoice.objects.for_project(shop.project).get(stripe_invoice_id=paid)
    before = reads(shop, f"/v1/invoices/{invoice.stripe_invoice_id}")
    deliver(shop, [late], process=False)
    assert stored(shop.project).unfinished().get().root == invoice.stripe_invoice_id
    (group,) = my_groups(shop)
    process_group(group, HANDLERS)
    assert stored(shop.project).get(event_id=late["id"]).status == "processed"
    assert (group.root, reads(shop, f"/v1/invoices/{invoice.stripe_invoice_id}")) == (
        invoice.stripe_customer_id,
        before + 1,
    )


# Edge


def test_a_payment_that_turns_out_to_have_no_customer_is_written_under_its_own_root(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    intent = shop.api(
        "POST", "payment_intents", amount=700, currency="usd", confirm="true", payment_method="pm_card_visa"
    )
    refund = shop.api("POST", "refunds", payment_intent=intent["id"])
    known = create_payment(shop.project, payment_intent_id=intent["id"], stripe_customer_id=stripe_id("cus"))
    held: list[str] = []

    def watching(snapshot: Any, object_id: str) -> Any:
        held.append(SyncLease.objects.filter(project=shop.project).latest("until").root)
        return HANDLERS["refund.updated"].collect(snapshot, object_id)

    deliver(shop, [refund_event(known, refund_id=refund["id"])], process=False)
    (group,) = my_groups(shop)
    assert group.root == known.stripe_customer_id
    handler = HANDLERS["refund.updated"]
    process_group(group, HANDLERS | {"refund.updated": type(handler)(watching, "", "")})
    assert held == [known.stripe_customer_id, intent["id"]]
    assert stored(shop.project).get().status == "processed"
    row = Transaction.objects.for_project(shop.project).get()
    assert (row.status, row.stripe_customer_id, row.refunded_amount_cents) == ("refunded", "", 700)


def test_a_payment_of_another_customer_than_our_row_says_moves_there(shop: Shop, payment: Transaction) -> None:
    right = payment.stripe_customer_id
    Transaction.objects.filter(pk=payment.pk).update(stripe_customer_id=stripe_id("cus"))
    made = shop.api("POST", "refunds", payment_intent=payment.payment_intent_id, amount=300)
    deliver(shop, [refund_event(payment, refund_id=made["id"])], process=False)
    (group,) = my_groups(shop)
    process_group(group, HANDLERS)
    assert not Refund.objects.for_project(shop.project).exists(), "written under another customer's lease"
    (group,) = my_groups(shop)
    process_group(group, HANDLERS)
    payment.refresh_from_db()
    assert (group.root, payment.stripe_customer_id, payment.refunded_amount_cents) == (right, right, 300)


def test_what_another_project_knows_of_a_payment_counts_for_nothing(shop: Shop, other_project: Any) -> None:
    set_webhook_secret(shop.project)
    theirs = create_payment(other_project, stripe_customer_id=stripe_id("cus"))
    mine = create_payment(shop.project, payment_intent_id=theirs.payment_intent_id, mode="live")
    assert mine.stripe_customer_id == ""
    deliver(shop, [refund_event(theirs), refund_event(create_payment(shop.project))], process=False)
    assert sorted(group.root[:3] for group in my_groups(shop)) == ["pi_", "pi_"]


def test_a_customer_holds_one_place_however_many_of_its_payments_are_due(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    customer = stripe_id("cus")
    payments = [create_payment(shop.project, stripe_customer_id=customer) for _ in range(5)]
    deliver(shop, [refund_event(payment) for payment in payments], process=False)
    neighbour = {"id": f"sub_{uuid.uuid4().hex}", "object": "subscription", "customer": stripe_id("cus")}
    deliver(shop, [an_event(data={"object": neighbour})], process=False)
    found = {group.root: len(group.events) for group in my_groups(shop)}
    assert found == {customer: 5, neighbour["customer"]: 1}
    assert my_groups(shop) == []
