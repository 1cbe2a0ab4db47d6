"""Stripe's side of a webhook in tests: events as the sandbox made them, signed and delivered by hand, in any order."""

import datetime as dt
import hashlib
import hmac
import json
import threading
import time
import uuid
from typing import Any

from django.db.models.functions import Now
from django.test import Client

from common import clock
from payments.models import StripeConfig, StripeCredentials, WebhookEvent
from payments.secret_cache import forget_secrets
from payments.tasks import process_due_events
from projects.models import Project
from tests.payments.shop import Shop, open_checkout, stripe_http

SECRET = "whsec_" + "0123456789abcdef" * 2
_clients = threading.local()


def webhook_path(project: Project | uuid.UUID | str, mode: str = "test") -> str:
    """Return the address that Stripe delivers a project's events to."""
    key = project.pk if isinstance(project, Project) else project
    return f"/api/v1/payments/stripe/webhooks/{key}/{mode}"


def set_webhook_secret(project: Project, mode: str = "test", secret: str = SECRET) -> StripeCredentials:
    """Save a signing secret, with the keys that are there already or without any."""
    config, _ = StripeConfig.objects.get_or_create(project=project)
    row = StripeCredentials.objects.for_project(project).filter(mode=mode).first()
    row = row or StripeCredentials(config=config, project=project, mode=mode)
    row.set_secret("webhook_secret", secret)
    row.save()
    forget_secrets(project.pk)
    return row


def keys_were_saved(project: Project, mode: str) -> None:
    """Date the saving of a project's keys before everything that happens: from there on its account is followed."""
    rows = StripeCredentials.objects.for_project(project).filter(mode=mode)
    rows.update(configured_at=clock.now() - dt.timedelta(hours=1))


def signature(body: bytes, secret: str = SECRET, *, timestamp: float | None = None) -> str:
    """Sign a body as Stripe does."""
    moment = int(time.time() if timestamp is None else timestamp)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def an_event(
    event_type: str = "customer.subscription.updated", *, livemode: bool = False, **more: Any
) -> dict[str, Any]:
    """Make an event that nobody else has, about an object that is not at Stripe."""
    found = {"id": f"sub_{uuid.uuid4().hex}", "object": "subscription", "customer": f"cus_{uuid.uuid4().hex}"}
    return {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "api_version": "2026-08-26.dahlia",
        "created": int(time.time()),
        "data": {"object": found},
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": event_type,
    } | more


def send(
    project: Project,
    event: Any,
    *,
    mode: str = "test",
    secret: str = SECRET,
    header: str | None = None,
    path: str | None = None,
    client: Client | None = None,
) -> Any:
    """Deliver an event (or raw bytes) and return the answer."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {"Stripe-Signature": signature(body, secret) if header is None else header}
    if client is None:
        # A client of its own for each thread; a new one for each delivery would load all middleware anew.
        client = getattr(_clients, "mine", None) or Client(raise_request_exception=False)
        _clients.mine = client
    return client.post(path or webhook_path(project, mode), data=body, content_type="application/json", headers=headers)


def stored(project: Project) -> Any:
    """Return the project's inbox, oldest first."""
    return WebhookEvent.objects.for_project(project).order_by("received_at")


def events_of(shop: Shop) -> list[dict[str, Any]]:
    """Return the test-mode events of the shop's account, oldest first."""
    return list(reversed(shop.objects("events")))


def deliver(shop: Shop, events: list[dict[str, Any]], *, process: bool = True) -> None:
    """Deliver events in this order, each taken, and process what is due."""
    for event in events:
        answer = send(shop.project, event)
        assert answer.status_code == 200, answer.content
    if process:
        process_all(shop.project)


def process_all(project: Project, *, rounds: int = 20) -> None:
    """Process until none of the project's events waits to be tried right away."""
    for _ in range(rounds):
        process_due_events()
        if not stored(project).unfinished().exists():
            return
        time.sleep(0.2)
    waiting = list(stored(project).unfinished().values_list("type", "status", "attempts", "error"))
    raise AssertionError(f"still unfinished: {waiting}")


def next_second() -> None:
    """Let Stripe's times, which are whole seconds, tell what comes now from what was before."""
    time.sleep(1.02 - time.time() % 1)


def make_due(project: Project) -> None:
    """Make waiting events due now, as the passing of time would."""
    stored(project).unfinished().update(next_attempt_at=Now())


def purchase(shop: Shop, user: Any, price_id: str) -> list[dict[str, Any]]:
    """Let a user buy a subscription on Stripe's page; returns the events, of which none is delivered."""
    opened = open_checkout(user, price_id)
    assert shop.pay(opened["checkout_url"]).status_code == 303
    return events_of(shop)


def control(shop: Shop, path: str, **body: Any) -> dict[str, Any]:
    """Make something happen at Stripe that no API call makes happen: a renewal, a pause."""
    answer = stripe_http.post(f"{shop.sandbox.url}/_sandbox/api/{path}", json=body)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())
