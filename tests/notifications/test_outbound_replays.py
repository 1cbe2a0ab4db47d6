"""Deliveries are sent again when somebody asks: one, what failed, what was missed, everything of a stretch of time."""

import datetime as dt
from typing import Any

from django.db.models.functions import Now

from notifications.models import WebhookDelivery
from notifications.services import replays
from notifications.services.endpoints import change_endpoint
from notifications.services.outbound import send_test
from projects.models import Project
from tests.cast import Developer
from tests.notifications.consumer import Consumer
from tests.notifications.listening import Listening, deliver, fan_out, lease, listen, make_due, record
from tests.notifications.test_outbound_endpoints import path_of, send
from tests.payments.shop import at_once

LONG_AGO = "2026-01-01T00:00:00Z"


def replay(caller: Developer, listening: Listening, body: Any, leaf: str = "replay") -> Any:
    return send(caller, "post", path_of(listening.project, listening.endpoint.pk, leaf), body)


def fail_for_good(listening: Listening) -> None:
    WebhookDelivery.objects.filter(endpoint=listening.endpoint, status="pending").update(status="failed", attempts=12)


# Works


def test_one_is_sent_again_under_its_id_with_all_attempts_before_it(
    acme: Project, alice: Developer, app: Consumer, listening: Listening
) -> None:
    record(acme)
    deliver(acme)
    leaf = f"deliveries/{listening.delivery().pk}/replay"
    assert replay(alice, listening, {}, leaf).json() == {"replayed": 1}
    again = listening.delivery()
    assert (again.status, again.attempts, again.done_at) == ("pending", 0, None)
    deliver(acme)
    first, second = app.seen
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert (listening.delivery().status, len(listening.delivery().log)) == ("delivered", 2)


def test_one_that_waits_for_its_next_attempt_is_sent_now(acme: Project, alice: Developer, app: Consumer) -> None:
    listening = listen(acme, app, "/500")
    record(acme)
    deliver(acme)
    assert lease(acme) == []
    assert replay(alice, listening, {}, f"deliveries/{listening.delivery().pk}/replay").json() == {"replayed": 1}
    assert deliver(acme) == 1


def test_an_endpoint_that_is_left_alone_for_a_while_is_asked_at_once_by_a_replay(
    acme: Project, alice: Developer, app: Consumer
) -> None:
    listening = listen(acme, app, "/500")
    for _ in range(4):
        record(acme)
    deliver(acme)
    listening.endpoint.refresh_from_db()
    assert listening.endpoint.held_until is not None
    app.answers = ["ok"] * 4
    assert replay(alice, listening, {"since": LONG_AGO, "which": "all"}).json() == {"replayed": 4}
    assert deliver(acme) == 4


def test_what_failed_what_was_missed_and_everything_of_a_stretch_of_time(
    acme: Project, alice: Developer, app: Consumer
) -> None:
    listening = listen(acme, app, event_types=["payment.*", "credits.low"])
    app.answers = ["500"]
    record(acme, "payment.failed")
    deliver(acme)
    fail_for_good(listening)
    record(acme, "payment.succeeded")
    deliver(acme)
    change_endpoint(endpoint=listening.endpoint, fields={"is_active": False})
    missed = [record(acme, kind) for kind in ("credits.low", "payment.refunded", "dispute.opened")]
    assert {row.status for row in missed} == {"skipped"}
    change_endpoint(endpoint=listening.endpoint, fields={"is_active": True})
    send_test(endpoint=listening.endpoint, event_type="payment.succeeded")
    app.seen.clear()
    assert replay(alice, listening, {"since": LONG_AGO}).json() == {"replayed": 1}
    deliver(acme)
    assert [one.event["type"] for one in app.seen] == ["payment.failed"]
    assert replay(alice, listening, {"since": LONG_AGO, "which": "missed"}).json() == {"replayed": 2}
    assert replay(alice, listening, {"since": LONG_AGO, "which": "missed"}).json() == {"replayed": 0}
    deliver(acme)
    assert sorted(one.event["type"] for one in app.seen[1:]) == ["credits.low", "payment.refunded"]
    assert app.seen[-1].headers["webhook-id"] in {f"evt_{row.pk.hex}" for row in missed}
    assert replay(alice, listening, {"since": LONG_AGO, "which": "all"}).json() == {"replayed": 4}
    assert deliver(acme) == 4
    assert replay(alice, listening, {"since": LONG_AGO, "until": "2026-01-02T00:00:00Z", "which": "all"}).json() == {
        "replayed": 0
    }


# Refuses


def test_nothing_is_sent_again_to_an_endpoint_that_is_disabled(
    acme: Project, alice: Developer, app: Consumer, listening: Listening
) -> None:
    record(acme)
    deliver(acme)
    change_endpoint(endpoint=listening.endpoint, fields={"is_active": False})
    for leaf in ("replay", f"deliveries/{listening.delivery().pk}/replay"):
        refused = replay(alice, listening, {"since": LONG_AGO, "which": "all"}, leaf)
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_endpoint_disabled")
    assert listening.delivery().status == "delivered"


def test_what_a_restore_found_again_is_never_told(acme: Project, app: Consumer) -> None:
    from django.db import transaction

    from notifications.services.outbox import record_effect

    with transaction.atomic():
        record_effect(
            project_id=acme.pk, mode="test", kind="app_event", effect_key="app:again", skipped_because="Of the past.",
            payload={"type": "payment.succeeded", "data": {}},
        )  # fmt: skip
    listening = listen(acme, app)
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert replays.replay_range(endpoint=listening.endpoint, since=since, which="all") == 0


# Race


def test_what_is_in_hand_is_not_doubled_and_two_replays_are_one(
    acme: Project, app: Consumer, listening: Listening
) -> None:
    record(acme)
    fan_out(acme)
    (row,) = lease(acme)
    assert replays.replay_delivery(endpoint=listening.endpoint, delivery_id=row.pk) == 0
    WebhookDelivery.objects.filter(pk=row.pk).update(status="failed", lease_token=None, next_attempt_at=Now())
    at_once(4, lambda _: replays.replay_delivery(endpoint=listening.endpoint, delivery_id=row.pk))
    make_due(listening)
    assert deliver(acme) == 1 and len(app.seen) == 1
