"""Webhook endpoints through the API: their secret signs, rolls and is shown once; events of a purchase arrive."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.sandbox.receiver import Receiver
from tests.sandbox.stripe_api import Api, subscribe, until


def create_endpoint(api: Api, url: str, *events: str) -> Any:
    return api.post("/v1/webhook_endpoints", url=url, enabled_events=list(events or ("*",)))


def received(receiver: Receiver, secret: str) -> list[stripe.Event]:
    return [
        stripe.Webhook.construct_event(body, headers["Stripe-Signature"], secret) for headers, body in receiver.received
    ]


def test_the_events_of_a_purchase_arrive_signed_and_count_down_what_is_pending(
    api: Api,
    receiver: Receiver,
) -> None:
    endpoint = create_endpoint(api, receiver.url)
    subscription = subscribe(api)
    until(lambda: all(event["pending_webhooks"] == 0 for event in api.all_events()))
    events = received(receiver, endpoint["secret"])
    assert {event.id for event in events} == {event["id"] for event in api.all_events()}
    created = next(event for event in events if event.type == "customer.subscription.created")
    assert created.data.object["id"] == subscription["id"]
    assert created.pending_webhooks == 1


def test_the_secret_is_shown_when_made_and_never_again(api: Api, receiver: Receiver) -> None:
    endpoint = create_endpoint(api, receiver.url)
    assert endpoint["secret"].startswith("whsec_")
    assert "secret" not in api.get(f"/v1/webhook_endpoints/{endpoint['id']}")
    assert "secret" not in api.get("/v1/webhook_endpoints")["data"][0]


def test_a_refused_event_is_tried_again(api: Api, receiver: Receiver) -> None:
    endpoint = create_endpoint(api, receiver.url, "customer.created")
    receiver.statuses = [500]
    customer = api.post("/v1/customers", email="a@example.com")
    until(lambda: len(receiver.received) == 2)
    first, second = received(receiver, endpoint["secret"])
    assert first.id == second.id
    assert second.data.object["id"] == customer["id"]


def test_a_rolled_secret_signs_beside_the_old_one(api: Api, receiver: Receiver) -> None:
    endpoint = create_endpoint(api, receiver.url, "customer.created")
    url = f"{api.url}/_sandbox/api/webhook_endpoints/{endpoint['id']}/roll"
    new = httpx.post(url, json={"keep_old_seconds": 3600}).json()["secret"]
    api.post("/v1/customers")
    until(lambda: receiver.received)
    for secret in (endpoint["secret"], new):
        assert received(receiver, secret)[0].type == "customer.created"
    httpx.post(url, json={"keep_old_seconds": 0})
    receiver.received.clear()
    api.post("/v1/customers")
    until(lambda: receiver.received)
    for secret in (endpoint["secret"], new):
        with pytest.raises(stripe.SignatureVerificationError):
            received(receiver, secret)


def test_a_disabled_or_deleted_endpoint_gets_nothing_new(api: Api, receiver: Receiver) -> None:
    endpoint = create_endpoint(api, receiver.url)
    api.post(f"/v1/webhook_endpoints/{endpoint['id']}", disabled=True)
    api.post("/v1/customers")
    api.post(f"/v1/webhook_endpoints/{endpoint['id']}", disabled=False)
    api.delete(f"/v1/webhook_endpoints/{endpoint['id']}")
    api.post("/v1/customers")
    other = create_endpoint(api, receiver.url)
    customer = api.post("/v1/customers")
    until(lambda: receiver.received)
    assert [event.data.object["id"] for event in received(receiver, other["secret"])] == [customer["id"]]


def test_events_of_another_account_or_mode_never_arrive(api: Api, receiver: Receiver, sandbox: Any) -> None:
    endpoint = create_endpoint(api, receiver.url, "customer.created")
    stranger = sandbox.create_account("Other")
    Api(sandbox.url, stranger.test_secret_key).post("/v1/customers")
    Api(sandbox.url, stranger.live_secret_key).post("/v1/customers")
    mine = api.post("/v1/customers")
    until(lambda: receiver.received)
    assert [event.data.object["id"] for event in received(receiver, endpoint["secret"])] == [mine["id"]]
