"""Webhook deliveries: signed, retried, resumed after a restart, held back and sent again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from sandbox import delivery, redelivery
from sandbox.store import Context, Store
from tests.sandbox.receiver import Receiver

CTX = Context("acct_1", False, 1_800_000_000)
QUICK = delivery.DeliverySettings(retry_seconds=(0.05, 0.1, 0.1), timeout_seconds=1.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "sandbox.sqlite3", extra_schema=delivery.SCHEMA)
    yield opened
    delivery.stop()
    opened.close()


def create_endpoint(store: Store, url: str, *, events: tuple[str, ...] = ("*",), name: str = "we_1") -> str:
    endpoint = {"id": name, "object": "webhook_endpoint", "url": url, "status": "enabled", "enabled_events": [*events]}
    with store.transaction() as tx:
        tx.insert(CTX, endpoint)
        return delivery.set_secret(tx, CTX, name)


def emit(store: Store, event_id: str = "evt_1", event_type: str = "customer.created", ctx: Context = CTX) -> int:
    event = {
        "id": event_id,
        "object": "event",
        "type": event_type,
        "data": {"object": {"id": "cus_1", "name": "Zoë"}},
        "pending_webhooks": 0,
        "livemode": ctx.livemode,
        "created": ctx.now,
    }
    with store.transaction() as tx:
        event["pending_webhooks"] = delivery.enqueue(tx, ctx, event)
        tx.insert(ctx, event)
        tx.after_commit.append(delivery.notify)
    return int(str(event["pending_webhooks"]))


def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def states(store: Store) -> list[str]:
    with store.read() as tx:
        return [row["state"] for row in redelivery.list_deliveries(tx)]


def stored_pending(store: Store, event_id: str = "evt_1") -> int:
    with store.read() as tx:
        event = tx.get(CTX, "event", event_id)
    assert event is not None
    return int(event["pending_webhooks"])


def test_an_event_arrives_signed_as_stripes_library_checks_it(store: Store, receiver: Receiver) -> None:
    secret = create_endpoint(store, receiver.url)
    delivery.start(store, QUICK)
    assert emit(store) == 1
    until(lambda: states(store) == ["succeeded"])
    headers, body = receiver.received[0]
    event = stripe.Webhook.construct_event(body, headers["Stripe-Signature"], secret)
    assert event.id == "evt_1"
    assert json.loads(body)["pending_webhooks"] == 1
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["User-Agent"].startswith("Stripe/1.0")
    assert stored_pending(store) == 0
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", headers["Stripe-Signature"], secret)


def test_only_endpoints_that_want_the_event_in_that_account_and_mode_get_it(store: Store, receiver: Receiver) -> None:
    create_endpoint(store, receiver.url + "/all", name="we_all")
    create_endpoint(store, receiver.url + "/invoices", name="we_invoices", events=("invoice.paid",))
    create_endpoint(store, receiver.url + "/customers", name="we_customers", events=("customer.created",))
    assert emit(store) == 2
    assert emit(store, "evt_2", "invoice.paid") == 2
    assert emit(store, "evt_3", ctx=Context("acct_1", True, 1)) == 0
    assert emit(store, "evt_4", ctx=Context("acct_2", False, 1)) == 0


def test_a_refused_delivery_is_retried_with_the_same_bytes_and_a_fresh_signature(
    store: Store, receiver: Receiver
) -> None:
    secret = create_endpoint(store, receiver.url)
    receiver.statuses = [500, 404]
    slow = delivery.DeliverySettings(retry_seconds=(1.1, 0.05), timeout_seconds=1.0)
    delivery.start(store, slow)
    emit(store)
    until(lambda: states(store) == ["succeeded"])
    assert len(receiver.received) == 3
    assert len({body for _, body in receiver.received}) == 1
    signatures = [headers["Stripe-Signature"] for headers, _ in receiver.received]
    assert signatures[0] != signatures[1]
    for headers, body in receiver.received:
        stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], secret, tolerance=300)


def test_after_the_last_retry_the_delivery_has_failed_and_stays_pending_on_the_event(
    store: Store, receiver: Receiver
) -> None:
    create_endpoint(store, receiver.url)
    receiver.statuses = [500] * 10
    delivery.start(store, QUICK)
    emit(store)
    until(lambda: states(store) == ["failed"])
    assert len(receiver.received) == 1 + len(QUICK.retry_seconds)
    assert stored_pending(store) == 1
    with store.read() as tx:
        row = redelivery.list_deliveries(tx)[0]
    assert (row["response_status"], row["response_excerpt"], row["attempts"]) == (500, "ok", 4)


def test_a_redirect_is_a_failure_and_is_not_followed(store: Store, receiver: Receiver) -> None:
    create_endpoint(store, receiver.url)
    receiver.statuses, receiver.location = [302], receiver.url + "/elsewhere"
    delivery.start(store, delivery.DeliverySettings(retry_seconds=(), timeout_seconds=1.0))
    emit(store)
    until(lambda: states(store) == ["failed"])
    assert len(receiver.received) == 1


def test_silence_and_refused_connections_are_failures(store: Store, receiver: Receiver) -> None:
    receiver.delay_seconds = 1.0
    create_endpoint(store, receiver.url, name="we_slow")
    create_endpoint(store, "http://127.0.0.1:9/", name="we_closed")
    create_endpoint(store, "http://[broken", name="we_broken")
    delivery.start(store, delivery.DeliverySettings(retry_seconds=(), timeout_seconds=0.2))
    emit(store)
    until(lambda: states(store) == ["failed"] * 3)


def test_a_slow_endpoint_does_not_hold_back_the_others(store: Store, receiver: Receiver) -> None:
    receiver.delay_seconds = 0.5
    create_endpoint(store, receiver.url, name="we_slow", events=("invoice.paid",))
    for number in range(40):
        emit(store, f"evt_slow_{number}", "invoice.paid")
    delivery.start(store, delivery.DeliverySettings(retry_seconds=(), timeout_seconds=2.0))
    until(lambda: len(receiver.received) == delivery.WORKERS_PER_ENDPOINT)
    create_endpoint(store, receiver.url, name="we_other", events=("customer.created",))
    began = time.monotonic()
    emit(store, "evt_quick")
    until(lambda: any(b"evt_quick" in body for _, body in receiver.received))
    assert time.monotonic() - began < 0.5


def test_while_a_secret_rolls_both_sign_and_then_only_the_new_one(store: Store, receiver: Receiver) -> None:
    old = create_endpoint(store, receiver.url)
    delivery.start(store, QUICK)
    with store.transaction() as tx:
        new = delivery.roll_secret(tx, CTX, "we_1", keep_old_seconds=1.0)
    emit(store)
    until(lambda: len(receiver.received) == 1)
    headers, body = receiver.received[0]
    for secret in (old, new):
        stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], secret, tolerance=300)
    time.sleep(1.1)
    emit(store, "evt_2")
    until(lambda: len(receiver.received) == 2)
    headers, body = receiver.received[1]
    stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], new, tolerance=300)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], old, tolerance=300)


def test_the_old_secret_lives_at_most_a_day(store: Store) -> None:
    create_endpoint(store, "http://127.0.0.1:9/")
    with store.transaction() as tx:
        delivery.roll_secret(tx, CTX, "we_1", keep_old_seconds=10 * 86_400)
        entries = tx.private(CTX, "webhook_endpoint", "we_1")["secrets"]
    assert entries[1]["expires_at"] <= time.time() + 86_400
    with store.transaction() as tx:
        newest = delivery.roll_secret(tx, CTX, "we_1", keep_old_seconds=0)
        assert delivery.valid_secrets(tx, CTX, "we_1") == [newest]


def test_deliveries_can_be_held_back_and_let_go(store: Store, receiver: Receiver) -> None:
    create_endpoint(store, receiver.url)
    delivery.start(store, QUICK)
    delivery.set_paused(store, True)
    emit(store)
    time.sleep(0.4)
    assert receiver.received == []
    delivery.set_paused(store, False)
    until(lambda: states(store) == ["succeeded"])


def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled_again(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "DISABLED_PAUSE_SECONDS", 0.05)
    create_endpoint(store, receiver.url)
    emit(store)
    set_status(store, "disabled")
    delivery.start(store, QUICK)
    assert emit(store, "evt_2") == 0
    time.sleep(0.4)
    assert receiver.received == []
    set_status(store, "enabled")
    until(lambda: states(store) == ["succeeded"])
    assert len(receiver.received) == 1


def set_status(store: Store, status: str) -> None:
    with store.transaction() as tx:
        endpoint = tx.get(CTX, "webhook_endpoint", "we_1")
        assert endpoint is not None
        tx.save(CTX, {**endpoint, "status": status})


def test_what_was_pending_or_half_sent_is_delivered_after_a_restart(store: Store, receiver: Receiver) -> None:
    create_endpoint(store, receiver.url)
    emit(store)
    emit(store, "evt_2")
    with store.transaction() as tx:
        tx.execute("UPDATE deliveries SET state = 'sending' WHERE event = 'evt_2'")
    again = Store(store.path, extra_schema=delivery.SCHEMA)
    delivery.start(again, QUICK)
    until(lambda: states(again) == ["succeeded"] * 2)
    delivery.stop()
    again.close()


def test_an_event_is_sent_again_on_request_with_the_same_bytes(store: Store, receiver: Receiver) -> None:
    create_endpoint(store, receiver.url)
    delivery.start(store, QUICK)
    emit(store)
    until(lambda: states(store) == ["succeeded"])
    with store.transaction() as tx:
        assert delivery.resend(tx, CTX, "evt_1", "we_1") == 1
        assert delivery.resend(tx, CTX, "evt_1") == 1
        assert delivery.resend(tx, CTX, "evt_absent") == 0
        assert delivery.resend(tx, Context("acct_2", False, 1), "evt_1", "we_1") == 0
    until(lambda: states(store) == ["succeeded"] * 3)
    assert len({body for _, body in receiver.received}) == 1


def test_a_deleted_endpoints_deliveries_are_given_up(store: Store, receiver: Receiver) -> None:
    create_endpoint(store, receiver.url)
    emit(store)
    with store.transaction() as tx:
        tx.mark_deleted(CTX, "webhook_endpoint", "we_1")
    delivery.start(store, QUICK)
    until(lambda: states(store) == ["canceled"])
    assert receiver.received == []
