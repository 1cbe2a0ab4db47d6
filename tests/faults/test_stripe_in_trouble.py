"""Stripe fails, hangs, limits or rejects one account's key: its events wait, and other projects' do not (F18 to F21, F33).

The service runs as processes of its own. Acme's Stripe is in trouble; Other's is well, and its events must not notice.
"""

import json
import os
import time
from random import Random
from typing import Any

import httpx
import pytest
from django.db.models import Max

from payments.models import WebhookEvent
from payments.services.stripe_config import put_stripe_config
from tests.cast import AppUser
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService, wait_until
from tests.payments.deliveries import SECRET, an_event, set_webhook_secret, signature, webhook_path
from tests.payments.shop import Shop, connect_stripe
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# Ids have an underscore: this leaves alone the list of events, which the sender of these tests reads.
READS = "GET /v1/*_*"
# Acme's calls fail for this long; the pauses between attempts stay short enough to see them heal.
TROUBLE_SECONDS = 4
HEAL_SECONDS = 45
UNAFFECTED_SECONDS = 10
# A try when an event arrives, and then pauses: with half a hundred events, a storm would be hundreds of calls.
CALLS_MAX_PER_EVENT = 1.5
# Each of these for as long as it takes when soaking; in CI all of them in turn, and a hanging Stripe, which is unlike the others.
ALONE = ["status:500", "status:503", "status:409", "status:429:lock_timeout", "reset", "hang"]
CALLS_IN_TURN = 3


@pytest.fixture
def neighbour(other_project: Any, frank: AppUser, sandbox: Any) -> Life:
    """A buyer of another project, whose Stripe account is well."""
    shop = Shop(other_project, sandbox.create_account("Other"), sandbox)
    connect_stripe(other_project, shop.account)
    set_webhook_secret(other_project)
    return Life(shop, frank, (shop.price(1000), shop.price(2500)))


def waiting(shop: Shop) -> Any:
    """The project's events that still need work."""
    return WebhookEvent.objects.for_project(shop.project).unfinished()


def make_trouble(shop: Shop, do: str) -> None:
    """Let all reads of the account go wrong in one way, or a few in each way and the rest in the last."""
    if do != "in turn":
        shop.fault(READS, do, times=10_000, seconds=30)
        return
    kinds = [kind for kind in ALONE if kind != "hang"]
    for place, kind in enumerate(kinds):
        times = CALLS_IN_TURN if kind != kinds[-1] else 10_000
        shop.fault(READS, kind, nth=1 + place * CALLS_IN_TURN, times=times)


def heal(shop: Shop) -> None:
    """End all of the account's trouble."""
    query = {"account_id": shop.account.account_id}
    httpx.delete(f"{shop.sandbox.url}/_sandbox/api/faults", params=query, timeout=10).raise_for_status()


def calls_in_trouble(shop: Shop) -> int:
    """Count the calls of the account that went wrong, also those that still hang."""
    query = {"account_id": shop.account.account_id}
    rules = httpx.get(f"{shop.sandbox.url}/_sandbox/api/faults", params=query, timeout=10).json()["data"]
    return sum(rule["struck"] for rule in rules)


def check_neighbour_is_unaffected(neighbour: Life, service: LiveService, rng: Random) -> None:
    """Let the neighbour live and check that all of it is processed soon, as if nothing were the matter."""
    live_a_whole_life(neighbour)
    theirs = Sender(service.url, neighbour.shop, rng)
    theirs.send_all()
    theirs.wait_drained(UNAFFECTED_SECONDS)
    theirs.check_effects_once()


@pytest.mark.live(env={"STRIPE_TIMEOUT_SECONDS": "2"})
@pytest.mark.parametrize("do", ALONE if os.environ.get("SOAK") else ["in turn", "hang"])
def test_f18_f20_events_outlast_stripes_trouble_and_other_projects_do_not_notice(
    live_service: LiveService, sender: Sender, life: Life, neighbour: Life, do: str
) -> None:
    live_a_whole_life(life)
    make_trouble(life.shop, do)
    began = time.time()
    sender.send_all()
    check_neighbour_is_unaffected(neighbour, live_service, sender.random)
    time.sleep(max(0.0, TROUBLE_SECONDS - (time.time() - began)))
    # All were acknowledged, none was given up, and Stripe was asked again with pauses.
    assert waiting(life.shop).count() > 0
    assert not WebhookEvent.objects.for_project(life.shop.project).filter(status="dead").exists()
    assert 1 <= calls_in_trouble(life.shop) <= CALLS_MAX_PER_EVENT * len(sender.acknowledged)
    heal(life.shop)
    sender.wait_drained(HEAL_SECONDS)
    sender.check_effects_once()


@pytest.mark.parametrize("reason", ["global-rate", "endpoint-rate"])
def test_f19_a_rate_limit_is_met_with_patience_and_everything_is_processed(
    live_service: LiveService, sender: Sender, life: Life, neighbour: Life, reason: str
) -> None:
    live_a_whole_life(life)
    life.shop.fault(READS, f"status:429:{reason}", times=20)
    sender.send_all()
    check_neighbour_is_unaffected(neighbour, live_service, sender.random)
    sender.wait_drained(90)
    sender.check_effects_once()
    assert waiting(life.shop).count() == 0


@pytest.mark.live(env={"STRIPE_TIMEOUT_SECONDS": "2"})
def test_f33_events_wait_for_a_mended_key_and_go_on_once_it_is_there(
    live_service: LiveService, sender: Sender, life: Life, neighbour: Life
) -> None:
    live_a_whole_life(life)
    life.shop.fault(READS, "status:401", times=10_000)
    sender.send_all()
    check_neighbour_is_unaffected(neighbour, live_service, sender.random)
    held = waiting(life.shop)
    wait_until(lambda: held.filter(status="processing").count() == 0, seconds=20, what="nothing in work")
    assert set(held.values_list("status", "wait_reason")) == {("pending", "config_error")}
    assert held.aggregate(most=Max("attempts"))["most"] == 0, "a rejected key must not use up attempts"
    # An event that arrives is tried once; what waits does not ask again and again with a key that is known to be bad.
    assert calls_in_trouble(life.shop) <= len(sender.acknowledged)
    heal(life.shop)
    put_stripe_config(project=life.shop.project, changes={"test_secret_key": life.shop.account.test_secret_key})
    sender.wait_drained()
    sender.check_effects_once()


# F21: one account hangs for as long as its time-out lasts, and a thousand of its events are queued.

QUEUED = 1000
QUEUED_IN_OUTAGE = 300
QUIET = 60
SLOWER_AT_MOST = 2.0
# What a busy machine may add; who stood behind the account that hangs would wait for its time-outs of 20 s.
JITTER_SECONDS = 3


def send_made_up(service: LiveService, shop: Shop, count: int) -> list[str]:
    """Deliver events of as many customers, none of which Stripe knows."""
    ids = []
    with httpx.Client(timeout=10) as client:
        for _ in range(count):
            event = an_event()
            body = json.dumps(event).encode()
            headers = {"Stripe-Signature": signature(body, SECRET), "Content-Type": "application/json"}
            answer = client.post(service.url + webhook_path(shop.project), content=body, headers=headers)
            assert answer.status_code == 200
            ids.append(event["id"])
    return ids


def p95_delay_seconds(shop: Shop, ids: list[str]) -> float:
    """Wait until these are handled; give the delay that 95 of 100 stay under, by the database's clock."""
    rows = WebhookEvent.objects.for_project(shop.project).filter(event_id__in=ids)
    wait_until(lambda: rows.filter(handled_at__isnull=False).count() == len(ids), seconds=60, what="handled")
    delays = sorted((row.handled_at - row.received_at).total_seconds() for row in rows if row.handled_at)
    return delays[int(len(delays) * 0.95) - 1]


def test_f18_queued_events_do_not_each_ask_a_stripe_that_is_away(live_service: LiveService, life: Life) -> None:
    live_service.kill("worker")
    ids = send_made_up(live_service, life.shop, QUEUED_IN_OUTAGE)
    life.shop.fault("GET /v1/*", "status:503", times=10_000)
    live_service.start("worker")
    wait_until(lambda: calls_in_trouble(life.shop) > 0, seconds=30, what="a call")
    time.sleep(6)
    # Two looks of three callers each would do; without the account's pause it would be hundreds.
    assert calls_in_trouble(life.shop) <= 40
    heal(life.shop)
    rows = WebhookEvent.objects.for_project(life.shop.project).filter(event_id__in=ids)
    wait_until(lambda: not rows.unfinished().exists(), seconds=120, what="all of them processed")
    assert set(rows.values_list("status", flat=True)) == {"processed"}


def test_f21_an_account_that_hangs_with_a_thousand_events_does_not_slow_the_others(
    live_service: LiveService, life: Life, neighbour: Life
) -> None:
    quiet = p95_delay_seconds(neighbour.shop, send_made_up(live_service, neighbour.shop, QUIET))
    life.shop.fault(READS, "hang", seconds=80, times=10_000)
    mine = send_made_up(live_service, life.shop, QUEUED)
    busy = p95_delay_seconds(neighbour.shop, send_made_up(live_service, neighbour.shop, QUIET))
    assert waiting(life.shop).count() > QUEUED * 0.9, "the hanging account was not hanging"
    assert busy < SLOWER_AT_MOST * quiet + JITTER_SECONDS, (quiet, busy)
    heal(life.shop)
    rows = WebhookEvent.objects.for_project(life.shop.project).filter(event_id__in=mine)
    assert rows.count() == QUEUED
    assert not rows.filter(status="dead").exists()
