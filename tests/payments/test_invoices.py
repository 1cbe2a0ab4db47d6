"""Invoices: rows in both of Stripe's shapes, dunning that begins and ends, and mails that go out once per cause."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.models import Invoice, Refund, Subscription, Transaction
from payments.services.invariants import check_invariants
from payments.services.leases import end_lease, take_lease, writing_under
from payments.services.objects.invoice import collect_invoice
from payments.services.ownership import Scope
from payments.services.rollups import read_revenue
from payments.services.snapshot import Snapshot
from payments.services.sync import write_snapshot
from payments.stripe_api import stripe_account
from tests.cast import AppUser
from tests.payments.deliveries import (
    an_event,
    control,
    deliver,
    events_of,
    next_second,
    purchase,
    set_webhook_secret,
    stored,
)
from tests.payments.shop import Shop

FIXTURES = Path(__file__).parent / "fixtures"
SHAPES = ["2024-06-20", "2026-08-26.dahlia"]
OWN_TIMES = {"synced_at", "id", "project_id", "subscription_id", "transaction_id"}


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription for 10.00 a month, with everything that led to it processed."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    return Subscription.objects.for_project(shop.project).get()


def new_events(shop: Shop) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known]


def mails(shop: Shop, template: str) -> list[OutboxRow]:
    rows = OutboxRow.objects.for_project(shop.project).filter(effect_key__startswith=f"mail:{template}:")
    return list(rows.order_by("effect_key"))


def invoice_of(shop: Shop, subscription: Subscription) -> dict[str, Any]:
    found = shop.api("GET", f"subscriptions/{subscription.stripe_subscription_id}")
    return shop.api("GET", f"invoices/{found['latest_invoice']}")


def fail_renewal(shop: Shop, subscription: Subscription, outcome: str = "declined") -> dict[str, Any]:
    control(shop, f"subscriptions/{subscription.stripe_subscription_id}/renew", outcome=outcome)
    deliver(shop, new_events(shop))
    return invoice_of(shop, subscription)


def use_card(shop: Shop, subscription: Subscription, card: str) -> None:
    attached = shop.api("POST", f"payment_methods/{card}/attach", customer=subscription.stripe_customer_id)
    path = f"subscriptions/{subscription.stripe_subscription_id}"
    shop.api("POST", path, default_payment_method=attached["id"])


def as_written(shop: Shop, version: str) -> dict[str, list[dict[str, Any]]]:
    """Write what one API version answers about a paid invoice, and return the rows that it leads to."""
    found = json.loads((FIXTURES / f"paid_invoice-{version}.json").read_text())
    read = Snapshot(stripe_account(shop.project.pk, "test"))
    for kind in ("invoice", "payment_intent", "subscription"):
        read.note(f"{kind}s", found[kind])
    snapshot = read.part()
    collect_invoice(snapshot, found["invoice"]["id"])
    lease = take_lease(project_id=shop.project.pk, mode="test", root="cus_FixtureCustomer")
    with writing_under(lease):
        write_snapshot(Scope(shop.project.pk, "test"), snapshot)
    end_lease(lease)
    rows: dict[str, list[dict[str, Any]]] = {}
    for model in (Invoice, Transaction, Refund):
        found_rows: list[dict[str, Any]] = [
            dict(row) for row in model._default_manager.filter(project=shop.project).values()
        ]
        rows[model.__name__] = [{name: row[name] for name in row if name not in OWN_TIMES} for row in found_rows]
    return rows


# Works


def test_a_paid_invoice_is_a_row_with_its_documents(shop: Shop, bought: Subscription) -> None:
    (row,) = Invoice.objects.for_project(shop.project)
    found = invoice_of(shop, bought)
    assert (row.stripe_invoice_id, row.number, row.status) == (found["id"], found["number"], "paid")
    assert (row.amount_due_cents, row.amount_paid_cents, row.amount_remaining_cents) == (1000, 1000, 0)
    assert (row.subscription, row.end_user, row.billing_reason) == (bought, bought.end_user, "subscription_create")
    assert row.hosted_invoice_url == found["hosted_invoice_url"] and row.invoice_pdf == found["invoice_pdf"]
    assert row.paid_at == row.closed_at is not None
    (receipt,) = mails(shop, "receipt")
    told = receipt.payload["context"]
    assert (told["amount"], told["invoice_number"], told["card_last4"]) == ("10.00 USD", found["number"], "4242")
    assert receipt.end_user == bought.end_user


def test_both_shapes_lead_to_the_same_rows(shop: Shop, acme: Any) -> None:
    old, new = (as_written(shop, version) for version in SHAPES)
    assert old == new
    (invoice,), (payment,), (refund,) = new["Invoice"], new["Transaction"], new["Refund"]
    assert (invoice["number"], invoice["status"], invoice["amount_paid_cents"]) == ("FIX-0002", "paid", 1250)
    assert (payment["status"], payment["refunded_amount_cents"]) == ("partially_refunded", 250)
    assert payment["description"] == "1 × Maker (at $12.50 / month)"
    assert (refund["amount_cents"], refund["status"]) == (250, "succeeded")
    assert Invoice.objects.for_project(acme).get().subscription == Subscription.objects.for_project(acme).get()


def test_each_failed_attempt_is_mailed_once_with_the_page_to_pay_on(shop: Shop, bought: Subscription) -> None:
    use_card(shop, bought, "pm_card_chargeCustomerFail")
    found = fail_renewal(shop, bought, outcome="card")
    (mail,) = mails(shop, "payment_failed")
    told = mail.payload["context"]
    assert (mail.effect_key, mail.status) == (f"mail:payment_failed:{found['id']}:1", "pending")
    assert (told["amount"], told["invoice_url"]) == ("10.00 USD", found["hosted_invoice_url"])
    assert told["failure_message"] and told["next_attempt_at"] == found["next_payment_attempt"] and told["grace_until"]
    failed = OutboxRow.objects.for_project(shop.project).filter(effect_key__startswith="app:payment.failed:")
    assert failed.count() == 1
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/advance", to="retry")
    events = new_events(shop)
    deliver(shop, events)
    deliver(shop, [event | {"id": f"{event['id']}again"} for event in events])
    assert [mail.effect_key for mail in mails(shop, "payment_failed")] == [
        f"mail:payment_failed:{found['id']}:1", f"mail:payment_failed:{found['id']}:2",
    ]  # fmt: skip
    assert failed.count() == 2
    assert Invoice.objects.for_project(shop.project).get(status="open").attempt_count == 2


@pytest.mark.parametrize(
    ("how", "status"), [("pay", "paid"), ("void", "void"), ("mark_uncollectible", "uncollectible")]
)
def test_dunning_ends_however_the_invoice_is_closed(shop: Shop, bought: Subscription, how: str, status: str) -> None:
    found = fail_renewal(shop, bought)
    bought.refresh_from_db()
    assert (bought.status, bought.past_due_since is None) == ("past_due", False)
    row = Invoice.objects.for_project(shop.project).get(stripe_invoice_id=found["id"])
    assert (row.status, row.closed_at) == ("open", None)
    shop.api("POST", f"invoices/{found['id']}/{how}")
    deliver(shop, new_events(shop))
    row.refresh_from_db()
    assert (row.status, row.closed_at is None) == (status, False)
    at_stripe = shop.api("GET", f"subscriptions/{bought.stripe_subscription_id}")
    bought.refresh_from_db()
    assert bought.status == at_stripe["status"]
    assert (bought.past_due_since is None) == (at_stripe["status"] == "active")
    items = ReviewItem.objects.for_project(shop.project).filter(kind="invoice_trouble")
    assert items.count() == (1 if status == "uncollectible" else 0)


def test_a_failed_invoice_that_is_paid_outside_stripe_has_a_payment_of_its_own(
    shop: Shop, bought: Subscription
) -> None:
    found = fail_renewal(shop, bought)
    shop.api("POST", f"invoices/{found['id']}/pay", paid_out_of_band="true")
    events = new_events(shop)
    assert "invoice.payment_succeeded" not in {event["type"] for event in events}
    deliver(shop, events)
    deliver(shop, [event | {"id": f"{event['id']}again"} for event in events])
    bought.refresh_from_db()
    assert (bought.status, bought.past_due_since) == ("active", None)
    rows = Transaction.objects.for_project(shop.project).filter(stripe_invoice_id=found["id"])
    outside = rows.get(payment_intent_id=found["id"])
    assert (outside.status, outside.amount_cents, outside.stripe_charge_id) == ("succeeded", 1000, "")
    assert (outside.subscription, outside.end_user) == (bought, bought.end_user)
    assert rows.exclude(pk=outside.pk).get().status == "canceled"
    told = OutboxRow.objects.for_project(shop.project).filter(effect_key__endswith=f":{found['id']}")
    kinds = ["app:payment.succeeded", "mail:receipt"]
    assert sorted(row.effect_key for row in told) == [f"{kind}:{found['id']}" for kind in kinds]
    assert check_invariants(project_id=shop.project.pk) == []
    (day,) = read_revenue(project_ids=[shop.project.pk], mode="test")
    assert (day["gross_cents"], day["succeeded"]) == (2000, 2)


# Grace


def began(invoice: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromtimestamp(invoice["status_transitions"]["finalized_at"], dt.UTC)


def grace_of(subscription: Subscription) -> dt.datetime | None:
    subscription.refresh_from_db()
    return subscription.past_due_since


def test_grace_begins_anew_when_the_news_of_a_recovery_were_lost(shop: Shop, bought: Subscription) -> None:
    first = fail_renewal(shop, bought)
    assert grace_of(bought) == began(first)
    shop.api("POST", f"invoices/{first['id']}/pay")
    lost = {event["id"] for event in new_events(shop)}
    next_second()
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="declined")
    deliver(shop, [event for event in new_events(shop) if event["id"] not in lost])
    second = invoice_of(shop, bought)
    assert second["id"] != first["id"] and began(second) > began(first)
    assert grace_of(bought) == began(second)


def test_grace_begins_with_the_oldest_invoice_that_is_unpaid(shop: Shop, bought: Subscription) -> None:
    first = fail_renewal(shop, bought)
    next_second()
    second = fail_renewal(shop, bought)
    assert second["id"] != first["id"] and began(second) > began(first)
    assert grace_of(bought) == began(first)
    # Of two news the one about the second invoice alone says the same.
    Subscription.objects.filter(pk=bought.pk).update(past_due_since=began(second))
    deliver(shop, [an_event("invoice.updated", data={"object": second})])
    assert grace_of(bought) == began(first)
    shop.api("POST", f"invoices/{first['id']}/pay")
    deliver(shop, new_events(shop))
    assert grace_of(bought) == began(second)


def test_a_bank_that_asks_is_mailed_about_once_and_not_as_a_failure(shop: Shop, bought: Subscription) -> None:
    use_card(shop, bought, "pm_card_authenticationRequired")
    next_second()
    found = fail_renewal(shop, bought, outcome="card")
    asked = [mail for mail in mails(shop, "action_required") if mail.status == "pending"]
    assert [mail.payload["context"]["invoice_url"] for mail in asked] == [found["hosted_invoice_url"]]
    assert all(mail.status == "skipped" for mail in mails(shop, "payment_failed"))
    assert Transaction.objects.for_project(shop.project).latest("created_at").status == "pending"


def test_an_invoice_that_cannot_be_finalized_is_put_before_the_staff(shop: Shop, bought: Subscription) -> None:
    made: dict[str, Any] = {"customer": bought.stripe_customer_id, "auto_advance": "false"}
    item: dict[str, Any] = {"customer": bought.stripe_customer_id, "amount": 500, "currency": "usd"}
    shop.api("POST", "invoiceitems", **item)
    draft = shop.api("POST", "invoices", pending_invoice_items_behavior="include", **made)
    control(shop, f"invoices/{draft['id']}/fail_finalization")
    deliver(shop, new_events(shop))
    (found,) = ReviewItem.objects.for_project(shop.project).filter(kind="invoice_trouble")
    assert (found.subject, found.end_user) == (draft["id"], bought.end_user)
    row = Invoice.objects.for_project(shop.project).get(stripe_invoice_id=draft["id"])
    assert row.status == "draft" and row.finalization_error == found.details["error"] != ""
    alerts = OutboxRow.objects.for_project(shop.project).filter(kind="alert")
    assert [alert.effect_key for alert in alerts] == [f"alert:invoice_trouble:{draft['id']}:finalization"]
    shop.api("DELETE", f"invoices/{draft['id']}")
    deliver(shop, [an_event("invoice.updated", data={"object": draft})])
    assert not Invoice.objects.for_project(shop.project).filter(pk=row.pk).exists()


@pytest.mark.parametrize("old_shape", [False, True])
def test_a_renewal_is_announced_once_with_what_it_will_cost(shop: Shop, bought: Subscription, old_shape: bool) -> None:
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/advance", to="upcoming")
    (event,) = [event for event in new_events(shop) if event["type"] == "invoice.upcoming"]
    if old_shape:
        told = event["data"]["object"]
        del told["id"], told["parent"]
        told["subscription"] = bought.stripe_subscription_id
    deliver(shop, [event])
    deliver(shop, [event | {"id": f"{event['id']}again"}])
    (mail,) = mails(shop, "renewal_notice")
    ends = int(bought.current_period_end.timestamp()) if bought.current_period_end else 0
    assert mail.effect_key == f"mail:renewal_notice:{bought.stripe_subscription_id}:{ends}"
    assert (mail.status, mail.payload["context"]["amount"]) == ("pending", "10.00 USD")
    assert mail.payload["context"]["renews_at"] == ends and mail.end_user == bought.end_user


# Too late to be of use


def test_news_that_are_settled_by_now_are_told_to_nobody(shop: Shop, bought: Subscription) -> None:
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/advance", to="upcoming")
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="declined")
    shop.api("POST", f"invoices/{invoice_of(shop, bought)['id']}/pay")
    deliver(shop, new_events(shop))
    (failed,), (notice,) = mails(shop, "payment_failed"), mails(shop, "renewal_notice")
    assert (failed.status, notice.status) == ("skipped", "skipped") and failed.error and notice.error
    assert len(mails(shop, "receipt")) == 2
