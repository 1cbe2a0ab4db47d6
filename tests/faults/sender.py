"""Stripe's side of a delivery to a service that may be down: signs, sends, keeps what was acknowledged and how fast."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from payments.models import Subscription, Transaction, WebhookEvent
from payments.services.invariants import check_invariants
from projects.models import Project
from tests.live import wait_until
from tests.payments.deliveries import SECRET, events_of, signature, webhook_path
from tests.payments.shop import Shop
from tests.scenarios.lifecycle import Life, compare_with_stripe

ACKNOWLEDGE_SECONDS_MAX = 1.0
DRAIN_SECONDS = 60
PATIENCE_SECONDS = 12
# So many of a hundred deliveries are made twice, as Stripe does when an answer is lost.
DOUBLED_PER_CENT = 10


def check_invariants_of(project: Project) -> None:
    """Check I1 to I8 for what is a project's, as `manage.py check_invariants` does."""
    assert [str(found) for found in check_invariants(project_id=project.pk)] == []


def live_a_whole_life(life: Life) -> None:
    """Let everything happen at Stripe that can happen to one subscription."""
    for step in life.steps():
        step()


@dataclass
class Sender:
    """Delivers a shop's events to one address, in the order and with the doubles that its randomness gives."""

    url: str
    shop: Shop
    random: Random
    acknowledged: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def send(self, event: dict[str, Any], *, secrets: Sequence[str] = (SECRET,)) -> int:
        """Deliver one event, signed with each of these secrets; return the status, or 0 when the connection broke."""
        body = json.dumps(event).encode()
        now = time.time()
        first, *others = (signature(body, secret, timestamp=now) for secret in secrets)
        header = ",".join([first, *(other.partition(",")[2] for other in others)])
        headers = {"Stripe-Signature": header, "Content-Type": "application/json"}
        began = time.monotonic()
        try:
            answer = httpx.post(
                self.url + webhook_path(self.shop.project), content=body, headers=headers, timeout=PATIENCE_SECONDS
            )
        except httpx.HTTPError as error:
            self.broken.append(repr(error))
            return 0
        self.seconds.append(time.monotonic() - began)
        if answer.status_code == 200:
            self.acknowledged[event["id"]] = event
        return answer.status_code

    def send_of_customers(self) -> None:
        """Deliver the events that belong to a customer: one root, so that a failpoint meets the buyer's and no catalogue's."""
        for event in events_of(self.shop):
            if event["data"]["object"].get("customer"):
                assert self.send(event) == 200

    def send_all(self) -> None:
        """Deliver what has happened at Stripe so far, shuffled and some of it twice; each delivery must be acknowledged."""
        events = [event for event in events_of(self.shop) if event["id"] not in self.acknowledged]
        events += [event for event in events if self.random.randrange(100) < DOUBLED_PER_CENT]
        self.random.shuffle(events)
        for event in events:
            assert self.send(event) == 200

    def check_speed(self) -> None:
        """Check that acknowledgements did not wait for what was broken."""
        slow = [round(each, 2) for each in self.seconds if each >= ACKNOWLEDGE_SECONDS_MAX]
        assert slow == [], f"of {len(self.seconds)} acknowledgements these took long: {slow}"

    def check_nothing_lost(self) -> None:
        """Check that every acknowledged event has exactly one row."""
        stored = list(WebhookEvent.objects.for_project(self.shop.project).values_list("event_id", flat=True))
        assert sorted(stored) == sorted(set(stored))
        assert set(self.acknowledged) <= set(stored)

    def wait_drained(self, seconds: float = DRAIN_SECONDS) -> None:
        """Wait until nothing is unfinished, then compare everything with Stripe, field by field."""
        rows = WebhookEvent.objects.for_project(self.shop.project)
        wait_until(
            lambda: not rows.unfinished().exists(),
            seconds=seconds,
            what=f"all of {len(self.acknowledged)} events processed",
        )
        self.check_nothing_lost()
        assert list(rows.filter(status="dead").values_list("type", "error")) == []
        compare_with_stripe(self.shop)

    def check_effects_once(self) -> None:
        """Check that one purchase left one subscription, and no payment twice."""
        assert Subscription.objects.for_project(self.shop.project).count() == 1
        intents = Transaction.objects.for_project(self.shop.project).values_list("payment_intent_id", flat=True)
        assert len(intents) == len(set(intents)) == len(self.shop.objects("payment_intents"))
