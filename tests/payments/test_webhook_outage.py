"""Events of an account whose Stripe is away: one call tells, the others wait with it, and none is given up."""

from typing import Any

import httpx

from payments.services.inbox import lease_due_groups
from payments.services.processing import process_group
from payments.webhooks import HANDLERS
from tests.payments.deliveries import an_event, deliver, make_due, process_all, send, set_webhook_secret, stored
from tests.payments.shop import Shop


def process_some(shop: Shop) -> None:
    """Lease once and process what was leased of this shop."""
    for group in lease_due_groups(limit=200):
        if group.project_id == shop.project.pk:
            process_group(group, HANDLERS)


def calls(shop: Shop) -> int:
    """Count the reads that went wrong."""
    query = {"account_id": shop.account.account_id}
    found = httpx.get(f"{shop.sandbox.url}/_sandbox/api/faults", params=query, timeout=10).json()["data"]
    return sum(rule["struck"] for rule in found)


def of_one_customer(count: int) -> list[dict[str, Any]]:
    """Make events about as many subscriptions of one customer."""
    events = [an_event() for _ in range(count)]
    for event in events:
        event["data"]["object"]["customer"] = "cus_together"
    return events


def test_events_that_are_leased_together_share_one_failed_call(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    shop.fault("GET /v1/*_*", "status:503", times=1000)
    deliver(shop, of_one_customer(20), process=False)
    process_some(shop)
    assert calls(shop) == 1
    assert set(stored(shop.project).values_list("status", "attempts")) == {("pending", 1)}


def test_other_due_events_of_the_account_wait_with_it(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    shop.fault("GET /v1/*_*", "status:503", times=1000)
    deliver(shop, [an_event() for _ in range(20)], process=False)
    process_some(shop)
    first = calls(shop)
    process_some(shop)
    assert calls(shop) == first <= 3
    assert stored(shop.project).filter(status="pending", attempts=0).count() == 20 - first


def test_another_project_does_not_wait(shop: Shop, other_project: Any) -> None:
    for project in (shop.project, other_project):
        set_webhook_secret(project)
    shop.fault("GET /v1/*_*", "status:503", times=1000)
    deliver(shop, [an_event()], process=False)
    groups = [group for group in lease_due_groups(limit=200) if group.project_id == shop.project.pk]
    send(other_project, an_event())
    before = stored(other_project).get().next_attempt_at
    for group in groups:
        process_group(group, HANDLERS)
    assert calls(shop) == 1
    assert stored(other_project).get().next_attempt_at == before


def test_all_of_them_are_processed_once_stripe_is_back(shop: Shop) -> None:
    set_webhook_secret(shop.project)
    shop.fault("GET /v1/*_*", "status:503", times=1)
    deliver(shop, [*of_one_customer(5), *(an_event() for _ in range(5))], process=False)
    process_some(shop)
    make_due(shop.project)
    process_all(shop.project)
    assert set(stored(shop.project).values_list("status", flat=True)) == {"processed"}
