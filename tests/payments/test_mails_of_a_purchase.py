"""From Stripe's page to the mailbox: a purchase sends one confirmation and one receipt, whatever is delivered again."""

from django.core import mail

from notifications.models import OutboxRow
from notifications.services.running import carry_out_row, lease_due_rows
from payments.models import StripeCustomer
from projects.models import Project
from tests.cast import AppUser
from tests.payments.deliveries import an_event, deliver, purchase, set_webhook_secret
from tests.payments.shop import Shop


def send_everything(project: Project) -> None:
    while rows := [row for row in lease_due_rows(limit=1000) if row.project_id == project.pk]:
        for row in rows:
            carry_out_row(row)


def test_a_purchase_sends_one_confirmation_and_one_receipt(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    events = purchase(shop, dana, shop.price(1000))
    deliver(shop, events)
    send_everything(shop.project)
    deliver(shop, [an_event(event["type"], data=event["data"]) for event in events if "invoice" in event["type"]])
    send_everything(shop.project)
    confirmed, receipt = sorted(mail.outbox, key=lambda sent: "receipt" in sent.subject)
    customer = StripeCustomer.objects.for_project(shop.project).get()
    assert customer.email and confirmed.to == receipt.to == [customer.email]
    assert confirmed.subject == "[Test] Acme: your purchase is confirmed" and "Paid until: " in confirmed.body
    assert receipt.subject.startswith("[Test] Acme: receipt") and "10.00 USD" in receipt.body
    assert not OutboxRow.objects.for_project(shop.project).unfinished().exists()
    told = OutboxRow.objects.for_project(shop.project).filter(kind="app_event")
    assert set(told.values_list("status", "error")) == {("skipped", "No endpoint listens.")}
