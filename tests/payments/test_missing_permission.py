"""A restricted key that lacks one permission: what needs it waits, and everything else goes on."""

from typing import Any

from payments.models import Subscription
from payments.services.stripe_config import put_stripe_config
from payments.tasks import process_due_events
from tests.cast import AppUser
from tests.payments.deliveries import (
    control,
    deliver,
    events_of,
    make_due,
    process_all,
    purchase,
    set_webhook_secret,
    stored,
)
from tests.payments.shop import Shop


def undelivered(shop: Shop) -> list[dict[str, Any]]:
    known = set(stored(shop.project).values_list("event_id", flat=True))
    return [event for event in events_of(shop) if event["id"] not in known]


def test_events_that_need_no_missing_permission_are_processed_beside_those_that_do(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    bought = Subscription.objects.for_project(shop.project).get()
    control(shop, f"subscriptions/{bought.stripe_subscription_id}/renew", outcome="paid")
    shop.api("POST", f"subscriptions/{bought.stripe_subscription_id}", cancel_at_period_end="true")
    shop.fault("GET /v1/invoices/*", "status:403", times=1000)
    deliver(shop, undelivered(shop), process=False)
    for _ in range(3):
        make_due(shop.project)
        process_due_events()
    bought.refresh_from_db()
    assert bought.cancel_at_period_end
    waiting = stored(shop.project).filter(status="pending")
    assert {event.wait_reason for event in waiting} == {"config_error"}
    # Whatever pays an invoice reads the invoice too.
    assert {event.type.partition(".")[0] for event in waiting} == {
        "charge",
        "invoice",
        "invoice_payment",
        "payment_intent",
    }
    assert {event.attempts for event in waiting} == {0}
    assert not stored(shop.project).filter(status="dead").exists()


def test_what_waited_is_processed_once_the_key_is_mended(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    shop.fault("GET /v1/invoices/*", "status:403", times=1000)
    deliver(shop, purchase(shop, dana, shop.price(1000)), process=False)
    process_due_events()
    assert stored(shop.project).filter(wait_reason="config_error").exists()
    assert shop.clear_faults() == 200
    put_stripe_config(project=shop.project, changes={"test_secret_key": shop.account.test_secret_key})
    process_all(shop.project)
    assert not stored(shop.project).filter(status="pending").exists()
    assert shop.project.transactions.count() == 1
