"""Events as other API versions render them, thin events and events without an object: followed, or a dead letter (F23)."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from payments.models import Subscription
from tests.cast import AppUser
from tests.payments.deliveries import an_event, deliver, make_due, process_all, purchase, set_webhook_secret, stored
from tests.payments.shop import Shop


@pytest.fixture
def bought(shop: Shop, dana: AppUser) -> Subscription:
    """Dana's subscription; at Stripe it has just been asked to end, which nobody has told us."""
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    row = Subscription.objects.for_project(shop.project).get()
    shop.api("POST", f"subscriptions/{row.stripe_subscription_id}", cancel_at_period_end="true")
    return row


def in_2020(found: dict[str, Any]) -> dict[str, Any]:
    """Render a subscription as 2020-08-27 did: the period at its top, a plan, no periods of items."""
    item = found["items"]["data"][0]
    items = [{key: value for key, value in item.items() if not key.startswith("current_period")}]
    period = {key: item[key] for key in ("current_period_start", "current_period_end")}
    return found | period | {"items": {**found["items"], "data": items}, "plan": item["price"], "quantity": 1}


def in_2026(found: dict[str, Any]) -> dict[str, Any]:
    """Render it as it is: periods at the items only."""
    return found


def some_day(found: dict[str, Any]) -> dict[str, Any]:
    """Render it as no version yet does: unknown fields, other types, known ones missing."""
    kept = {key: found[key] for key in ("id", "object", "customer", "metadata")}
    return kept | {"items": "now a string", "status": {"now": "an object"}, "orbit": [[["deep"]]], "currency": 840}


@pytest.mark.parametrize(
    ("version", "render"),
    [("2020-08-27", in_2020), ("2026-08-26.dahlia", in_2026), ("2031-01-01.someday", some_day), (None, in_2020)],
)
def test_f23_an_event_of_another_version_is_followed(
    shop: Shop, bought: Subscription, version: str | None, render: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    found = render(shop.objects("subscriptions", status="all")[0])
    event = an_event(data={"object": found}, api_version=version)
    deliver(shop, [event])
    assert stored(shop.project).get(event_id=event["id"]).status == "processed"
    bought.refresh_from_db()
    assert bought.cancel_at_period_end is True
    assert bought.current_period_end is not None


def thin(type: str, **more: Any) -> dict[str, Any]:
    """Make a v2 event, which only names what it is about."""
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "v2.core.event",
        "type": type,
        "livemode": False,
        "created": "2026-11-21T10:00:00.000Z",
    } | more


def test_f23_a_thin_event_leads_to_what_it_names(shop: Shop, bought: Subscription) -> None:
    named = {"id": bought.stripe_subscription_id, "type": "subscription", "url": "/v1/subscriptions/x"}
    event = thin("v1.customer.subscription.updated", related_object=named)
    deliver(shop, [event])
    assert stored(shop.project).get(event_id=event["id"]).status == "processed"
    bought.refresh_from_db()
    assert bought.cancel_at_period_end is True


@pytest.mark.parametrize("made", ["thin", "without", "null"])
def test_f23_an_event_that_names_no_object_is_a_dead_letter_and_not_forgotten(
    shop: Shop, bought: Subscription, settings: Any, made: str
) -> None:
    settings.EVENT_MAX_ATTEMPTS = 1
    event = {
        "thin": thin("v1.customer.subscription.updated"),
        "without": an_event(data={"object": {}}),
        "null": an_event(data=None),
    }[made]
    deliver(shop, [event], process=False)
    make_due(shop.project)
    process_all(shop.project)
    row = stored(shop.project).get(event_id=event["id"])
    assert (row.status, row.attempts) == ("dead", 1)
    assert "names no object" in row.error
    assert row.payload == event
