"""Rolling the signing secret: old and new verify side by side, nothing is refused, and then the old one ends (F31)."""

import datetime as dt
import itertools
import json
import threading
import time
from typing import Any

import pytest
import time_machine
from django.db.models import F
from django.test import Client

from common import clock
from moderation.models import ActionLog
from payments.models import StripeCredentials
from payments.services.endpoint_creation import QUIET_EVENTS
from payments.services.endpoint_rounds import look_after_endpoints
from projects.models import Project
from tests.conftest import Sandbox
from tests.payments.actors import Developer, config_path, create_developer, create_project
from tests.payments.deliveries import an_event, send, signature, stored
from tests.payments.endpoints import (
    A_SIGNING_SECRET,
    ENDPOINTS,
    check,
    credentials,
    delivers_everything,
    endpoint_by_hand,
    save_keys,
)
from tests.payments.shop import Shop, at_once

SENDERS = 4


@pytest.fixture
def project() -> Project:
    return create_project()


@pytest.fixture
def owner(project: Project) -> Developer:
    return create_developer(project)


@pytest.fixture
def shop(project: Project, owner: Developer, sandbox: Sandbox) -> Shop:
    """A project with a managed endpoint in its Stripe account."""
    shop = Shop(project, sandbox.create_account("Acme"), sandbox)
    save_keys(owner, shop)
    return shop


def roll(owner: Developer, shop: Shop, **body: Any) -> Any:
    return owner.post(config_path(shop.project, "webhook-endpoint/roll-secret"), body)


def settle(shop: Shop) -> None:
    """Let every process have learnt the new secret, and the next round run."""
    rows = StripeCredentials.objects.for_project(shop.project)
    rows.update(webhook_checked_at=F("webhook_checked_at") - dt.timedelta(minutes=1))
    look_after_endpoints(batch=1000)


def test_a_roll_makes_a_second_endpoint_that_is_silent_until_its_secret_is_known(owner: Developer, shop: Shop) -> None:
    before = credentials(shop)
    answer = roll(owner, shop)
    assert answer.status_code == 200, answer.content
    after = credentials(shop)
    expires_at = after.previous_webhook_secret_expires_at
    assert expires_at is not None
    assert answer.json() == {
        "status": "rolling",
        "endpoint_id": after.webhook_endpoint_id,
        "previous_secret_expires_at": expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    assert after.previous_webhook_endpoint_id == before.webhook_endpoint_id
    assert after.get_secret("previous_webhook_secret") == before.get_secret("webhook_secret")
    assert after.get_secret("webhook_secret") not in answer.content.decode()
    new = shop.api("GET", f"{ENDPOINTS}/{after.webhook_endpoint_id}")
    assert new["enabled_events"] == QUIET_EVENTS
    assert check(owner, shop)["status"] == "rolling"
    settle(shop)
    old, new = (shop.api("GET", f"{ENDPOINTS}/{row.webhook_endpoint_id}") for row in (before, after))
    assert delivers_everything(shop, new) and delivers_everything(shop, old)
    assert credentials(shop).webhook_status == "managed"
    logged = ActionLog.objects.get(project_id=shop.project.pk, action="webhook_secret.roll")
    assert (logged.subject, logged.actor_label) == (after.webhook_endpoint_id, owner.user.email)


def test_f31_no_delivery_is_refused_while_a_managed_secret_rolls_under_load(owner: Developer, shop: Shop) -> None:
    old = credentials(shop).get_secret("webhook_secret")
    signing: list[tuple[str, ...]] = [(old,)]
    stop, rounds = threading.Event(), itertools.count()
    accepted: list[str] = []
    refused: list[int] = []

    def keep_sending(_: int) -> None:
        client = Client(raise_request_exception=False)
        while not stop.is_set():
            event = an_event()
            body, secrets = json.dumps(event).encode(), signing[next(rounds) % len(signing)]
            first, *others = (signature(body, secret) for secret in secrets)
            header = ",".join([first, *(other.partition(",")[2] for other in others)])
            answer = send(shop.project, body, header=header, client=client)
            if answer.status_code == 200:
                accepted.append(event["id"])
            else:
                refused.append(answer.status_code)

    def switch() -> None:
        time.sleep(0.3)
        assert roll(owner, shop).status_code == 200
        new = credentials(shop).get_secret("webhook_secret")
        signing[:] = [(old,), (new,), (new, old)]
        time.sleep(0.3)
        settle(shop)
        time.sleep(0.3)

    def work(number: int) -> None:
        try:
            keep_sending(number) if number else switch()
        finally:
            if not number:
                stop.set()

    at_once(SENDERS + 1, work)
    assert refused == []
    assert len(accepted) > 20
    assert set(accepted) == set(stored(shop.project).values_list("event_id", flat=True))


def test_the_old_secret_is_refused_after_a_day_and_its_endpoint_goes_a_little_earlier(
    owner: Developer, shop: Shop
) -> None:
    before = credentials(shop)
    old = before.get_secret("webhook_secret")
    roll(owner, shop)
    settle(shop)
    new = credentials(shop).get_secret("webhook_secret")
    began = clock.now()

    def answers(secret: str) -> int:
        body = json.dumps(an_event()).encode()
        header = signature(body, secret, timestamp=time.time())
        return int(send(shop.project, body, header=header).status_code)

    with time_machine.travel(began + dt.timedelta(hours=23, minutes=50), tick=True):
        look_after_endpoints(batch=1000)
        assert len(shop.objects(ENDPOINTS)) == 2
        assert (answers(old), answers(new)) == (200, 200)
    with time_machine.travel(began + dt.timedelta(hours=23, minutes=56), tick=True):
        look_after_endpoints(batch=1000)
        assert [one["id"] for one in shop.objects(ENDPOINTS)] == [credentials(shop).webhook_endpoint_id]
        assert (answers(old), answers(new)) == (200, 200)
    with time_machine.travel(began + dt.timedelta(hours=24, minutes=1), tick=True):
        assert (answers(old), answers(new)) == (400, 200)
        look_after_endpoints(batch=1000)
        row = credentials(shop)
        assert (row.previous_webhook_secret, row.previous_webhook_secret_expires_at) == ("", None)
        assert row.previous_webhook_endpoint_id == ""
    assert delivers_everything(shop, shop.objects(ENDPOINTS)[0])


def test_a_second_roll_during_the_first_is_409_and_changes_nothing(owner: Developer, shop: Shop) -> None:
    roll(owner, shop)
    before = StripeCredentials.objects.for_project(shop.project).values().get()
    answer = roll(owner, shop)
    assert (answer.status_code, answer.json()["code"]) == (409, "roll_in_progress")
    assert StripeCredentials.objects.for_project(shop.project).values().get() == before
    assert len(shop.objects(ENDPOINTS)) == 2


def test_two_rolls_at_once_make_one_new_endpoint(owner: Developer, shop: Shop) -> None:
    answers = at_once(3, lambda _: roll(owner, shop).status_code)
    assert sorted(answers) == [200, 409, 409]
    row = credentials(shop)
    assert {one["id"] for one in shop.objects(ENDPOINTS)} == {row.webhook_endpoint_id, row.previous_webhook_endpoint_id}


def test_a_leaked_secret_is_withdrawn_at_once_also_during_a_roll(owner: Developer, shop: Shop) -> None:
    first = credentials(shop).get_secret("webhook_secret")
    roll(owner, shop)
    second = credentials(shop).get_secret("webhook_secret")
    answer = roll(owner, shop, expires_in_seconds=0)
    assert answer.status_code == 200, answer.content
    assert (answer.json()["status"], answer.json()["previous_secret_expires_at"]) == ("managed", None)
    third = credentials(shop).get_secret("webhook_secret")
    codes = [send(shop.project, an_event(), secret=secret).status_code for secret in (first, second, third)]
    assert codes == [400, 400, 200]
    (endpoint,) = shop.objects(ENDPOINTS)
    assert delivers_everything(shop, endpoint)


def test_what_cannot_be_rolled_here_says_how_to_do_it(owner: Developer, shop: Shop, sandbox: Sandbox) -> None:
    other = Shop(create_project(), sandbox.create_account(), sandbox)
    theirs = create_developer(other.project)
    assert roll(theirs, other).json()["code"] == "stripe_not_configured"
    save_keys(theirs, other, test_webhook_secret=A_SIGNING_SECRET)
    refused = roll(theirs, other)
    assert (refused.status_code, refused.json()["code"]) == (409, "webhook_not_managed")
    assert "webhook_secret" in refused.json()["detail"]
    for seconds in (-1, 86401, 1.5, "60", True, None):
        assert roll(owner, shop, expires_in_seconds=seconds).status_code == 422, seconds
    for number in range(15):
        endpoint_by_hand(shop, url=f"https://elsewhere.example/{number}")
    full = roll(owner, shop)
    assert (full.status_code, full.json()["code"]) == (409, "endpoint_limit")
    assert credentials(shop).previous_webhook_endpoint_id == ""


def test_a_roll_whose_answer_is_lost_is_finished_with_the_same_key(
    owner: Developer, shop: Shop, short_patience: None, settings: Any
) -> None:
    settings.STRIPE_MAX_NETWORK_RETRIES = 0
    old = credentials(shop).get_secret("webhook_secret")
    shop.fault("POST /v1/webhook_endpoints", "timeout_after_effect", seconds=2)
    assert roll(owner, shop).status_code == 503
    assert send(shop.project, an_event(), secret=old).status_code == 200
    shop.clear_faults()
    assert roll(owner, shop).status_code == 200
    row = credentials(shop)
    assert {one["id"] for one in shop.objects(ENDPOINTS)} == {row.webhook_endpoint_id, row.previous_webhook_endpoint_id}
    for secret in (old, row.get_secret("webhook_secret")):
        assert send(shop.project, an_event(), secret=secret).status_code == 200
