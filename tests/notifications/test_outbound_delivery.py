"""An event that happened reaches the app: signed, once, at each endpoint that asked for it, in spite of trouble."""

import datetime as dt
import threading
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from standardwebhooks import Webhook, WebhookVerificationError

from moderation.models import ReviewItem
from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services import deliveries, outbound
from notifications.services.deliveries import ATTEMPTS_MAX, PAUSES_SECONDS, Outcome, hold_seconds, pause_seconds
from notifications.services.endpoints import change_endpoint, rotate_secret
from notifications.services.outbound import attempt_delivery
from notifications.tasks import run_outbox, run_webhooks, tidy_webhooks
from projects.models import Project
from projects.services.projects import delete_project
from tests.notifications.consumer import Consumer
from tests.notifications.listening import Listening, deliver, fan_out, lease, listen, make_due, pass_time, record
from tests.payments.shop import at_once

# Works


def test_an_event_reaches_the_app_signed_and_whole(acme: Project, app: Consumer, listening: Listening) -> None:
    row = record(acme, amount_cents=1299, description="Zoë's 5 €")
    run_outbox()
    run_webhooks()
    (seen,) = app.seen
    verified = Webhook(listening.secret).verify(seen.body, seen.headers)
    at = row.created_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    data = {"project_id": str(acme.pk), "amount_cents": 1299, "description": "Zoë's 5 €"}
    assert verified == {"type": "payment.succeeded", "timestamp": at, "data": data}
    assert (seen.headers["webhook-id"], seen.headers["content-type"]) == (f"evt_{row.pk.hex}", "application/json")
    delivery = listening.delivery()
    assert (delivery.status, delivery.attempts, delivery.status_code, delivery.error) == ("delivered", 1, 200, "")
    (entry,) = delivery.log
    assert (entry["status_code"], entry["answer"], entry["error"]) == (200, "seen \ufffd hook", "")
    row.refresh_from_db()
    assert (row.status, row.result) == ("done", {"deliveries": 1})
    listening.endpoint.refresh_from_db()
    assert listening.endpoint.answered_at is not None


def test_each_endpoint_is_told_of_what_it_asked_for_in_its_project_and_mode(
    acme: Project, other_project: Project, app: Consumer
) -> None:
    asked = {
        "/all": ["*"],
        "/payments": ["payment.*"],
        "/refunds": ["payment.refunded", "credits.*"],
        "/disputes": ["dispute.*"],
    }
    for path, types in asked.items():
        listen(acme, app, path, event_types=types)
    listen(acme, app, "/live", mode="live")
    listen(other_project, app, "/theirs")
    for event_type in ("payment.refunded", "payment.succeeded", "credits.low"):
        record(acme, event_type)
    deliver(acme, other_project)
    seen = sorted((one.path, one.event["type"]) for one in app.seen)
    assert seen == [
        ("/all", "credits.low"),
        ("/all", "payment.refunded"),
        ("/all", "payment.succeeded"),
        ("/payments", "payment.refunded"),
        ("/payments", "payment.succeeded"),
        ("/refunds", "credits.low"),
        ("/refunds", "payment.refunded"),
    ]


def test_while_a_rotation_overlaps_both_secrets_sign_and_later_only_the_new_one(
    acme: Project, app: Consumer, listening: Listening
) -> None:
    new = rotate_secret(endpoint=listening.endpoint, overlap_hours=24).secret
    record(acme)
    deliver(acme)
    for secret in (new, listening.secret):
        Webhook(secret).verify(app.seen[0].body, app.seen[0].headers)
    assert len(app.seen[0].headers["webhook-signature"].split(" ")) == 2
    pass_time(listening, hours=25)
    record(acme)
    deliver(acme)
    Webhook(new).verify(app.seen[1].body, app.seen[1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(listening.secret).verify(app.seen[1].body, app.seen[1].headers)
    tidy_webhooks()
    listening.endpoint.refresh_from_db()
    assert (listening.endpoint.previous_secret, listening.endpoint.previous_secret_until) == ("", None)


# Refuses


def test_what_nobody_listens_to_is_kept_and_leads_to_nothing_also_later(acme: Project, app: Consumer) -> None:
    listen(acme, app, event_types=["dispute.*"])
    switched_off = listen(acme, app).endpoint
    change_endpoint(endpoint=switched_off, fields={"is_active": False})
    row = record(acme)
    assert (row.status, row.error) == ("skipped", "No endpoint listens.")
    listen(acme, app)
    deliver(acme)
    assert app.seen == [] and not WebhookDelivery.objects.for_project(acme).exists()


def test_an_endpoint_that_is_made_after_an_event_is_not_told_of_it(acme: Project, app: Consumer) -> None:
    before = listen(acme, app, "/before")
    record(acme)
    listen(acme, app, "/after")
    deliver(acme)
    assert [one.path for one in app.seen] == ["/before"]
    assert before.delivery().status == "delivered"


def test_an_endpoint_that_is_gone_or_whose_project_is_deleted_is_not_called(
    acme: Project, other_project: Project, app: Consumer, listening: Listening
) -> None:
    theirs = listen(other_project, app)
    record(other_project)
    fan_out(other_project)
    delete_project(project=other_project)
    row = record(acme)
    listening.endpoint.delete()
    deliver(acme, other_project)
    row.refresh_from_db()
    assert (row.status, row.error, app.seen) == ("skipped", "No endpoint listens.", [])
    pass_time(theirs, days=4)
    tidy_webhooks()
    assert (theirs.delivery().status, theirs.delivery().error) == ("failed", deliveries.GAVE_UP)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/500", "It answered 500."),
        ("/redirect", outbound.NOT_FOLLOWED),
        ("/reset", "The call did not work out (ReadError)."),
        ("/hang", "The call did not work out (ReadTimeout)."),
        ("/large", "The answer is longer than 65536 bytes."),
        ("/busy", "It answered 429."),
    ],
)
def test_trouble_at_the_endpoint_is_noted_and_tried_again_under_the_same_id(
    path: str, error: str, acme: Project, app: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT_SECONDS", 0.5)
    listening = listen(acme, app, path)
    record(acme)
    assert deliver(acme) == 1
    failed = listening.delivery()
    assert (failed.status, failed.attempts, failed.error) == ("pending", 1, error)
    assert failed.log[0]["error"] == error and failed.log[0]["duration_ms"] < 2000
    wait = (failed.next_attempt_at - failed.created_at).total_seconds()
    assert (119 <= wait <= 125) if path == "/busy" else (4 <= wait <= 8)
    app.answers = ["ok"]
    make_due(listening)
    assert deliver(acme) == 1
    assert listening.delivery().status == "delivered"
    first, second = app.seen
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert {one.path for one in app.seen} == {path}


def test_an_address_that_became_private_or_an_unreadable_secret_gets_no_packet(
    acme: Project, app: Consumer, listening: Listening, settings: Any
) -> None:
    record(acme)
    settings.WEBHOOK_ALLOWED_HOSTS, settings.OUTGOING_ALLOWED_HOSTS = [], [app.host]
    deliver(acme)
    assert listening.delivery().error == "That port is not open to outgoing calls."
    for address in ("https://127.0.0.1/hook", "https://10.0.0.8/hook", "https://[::ffff:169.254.169.254]/"):
        WebhookEndpoint.objects.filter(pk=listening.endpoint.pk).update(url=address)
        make_due(listening)
        deliver(acme)
        assert listening.delivery().error == "The address is not on the public internet.", address
    WebhookEndpoint.objects.filter(pk=listening.endpoint.pk).update(
        url=listening.endpoint.url, failures_in_row=0, failing_since=None, held_until=None
    )
    settings.WEBHOOK_ALLOWED_HOSTS = [app.host]
    WebhookEndpoint.objects.filter(pk=listening.endpoint.pk).update(secret="v1:lost:AAAA")
    make_due(listening)
    deliver(acme)
    assert "which is not in the ring" in listening.delivery().error
    assert app.seen == []
    # A secret that we cannot read is no fault of the app's.
    listening.endpoint.refresh_from_db()
    assert listening.endpoint.failures_in_row == 0
    # What nobody can read would stand in the way of whoever changes the keys.
    listening.endpoint.delete()


def test_an_answer_is_kept_short_and_without_secrets(acme: Project, app: Consumer, listening: Listening) -> None:
    record(acme)
    fan_out(acme)
    (row,) = lease(acme)
    WebhookDelivery.objects.filter(pk=row.pk).update(lease_token=None)
    answer = outbound.OutgoingResponse(500, {}, b"whsec_abcdefgh12345678 \x1b[31m" + b"\xff" * 9000)
    kept = outbound.excerpt_of(answer)
    assert kept.startswith("whsec_[redacted] \ufffd[31m") and len(kept) == 1024
    # Its lease was lost meanwhile: what came of it is somebody else's to say.
    attempt_delivery(row)
    assert listening.delivery().log == []


# Edge


def test_the_attempts_go_on_for_three_days_and_then_end(acme: Project, app: Consumer) -> None:
    failed = Outcome(at=dt.datetime.now(dt.UTC), duration_ms=1, status_code=500)
    for number, planned in enumerate(PAUSES_SECONDS, 1):
        pauses = {pause_seconds(number, failed) or 0 for _ in range(50)}
        assert len(pauses) > 10 and planned * 6 / 7 <= min(pauses) <= max(pauses) <= planned
    assert pause_seconds(ATTEMPTS_MAX, failed) is None
    assert 60 * 3600 < sum(PAUSES_SECONDS) * 6 / 7 < sum(PAUSES_SECONDS) < 72 * 3600
    assert all(before < after for before, after in pairwise(PAUSES_SECONDS[:-1]))
    listening = listen(acme, app, "/500")
    record(acme)
    for _ in range(ATTEMPTS_MAX + 1):
        make_due(listening)
        deliver(acme)
    ended = listening.delivery()
    assert (len(app.seen), ended.attempts, ended.status, len(ended.log)) == (12, 12, "failed", 12)
    assert ended.done_at is not None


def test_an_endpoint_that_fails_is_left_alone_for_longer_and_longer(acme: Project, app: Consumer) -> None:
    assert [max(hold_seconds(failures) for _ in range(200)) > least for failures, least in ((3, 4), (6, 35), (30, 280))]
    assert max(hold_seconds(failures) for failures in range(3, 60)) <= 300
    listening = listen(acme, app, "/500")
    for _ in range(5):
        record(acme)
    # The first failure leaves it one at a time, the third leaves the rest waiting.
    assert deliver(acme) <= 4
    endpoint = WebhookEndpoint.objects.get(pk=listening.endpoint.pk)
    assert endpoint.failures_in_row >= 3 and endpoint.held_until is not None
    waiting = [row for row in listening.deliveries() if row.attempts == 0]
    assert waiting and lease(acme) == []
    app.answers = ["ok"] * 5
    make_due(listening)
    assert deliver(acme) == 5
    endpoint.refresh_from_db()
    assert endpoint.failures_in_row == 0 and not endpoint.failing_since and not endpoint.held_until


def test_an_endpoint_that_says_it_is_gone_is_disabled_and_its_owners_and_staff_are_told_once(
    acme: Project, app: Consumer
) -> None:
    listening = listen(acme, app, "/410")
    record(acme)
    record(acme)
    deliver(acme)
    endpoint = WebhookEndpoint.objects.get(pk=listening.endpoint.pk)
    # Both were in hand together: a worker has two of an endpoint that works.
    assert (endpoint.disabled_reason, len(app.seen)) == ("gone", 2)
    assert {row.status for row in listening.deliveries()} == {"failed"}
    alert = OutboxRow.objects.for_project(acme).get(kind="alert")
    assert "410 Gone" in alert.payload["text"] and alert.payload["context"]["endpoint"] == app.url("")
    item = ReviewItem.objects.for_project(acme).get()
    assert (item.kind, item.subject) == ("webhook_endpoint", str(endpoint.pk))
    assert record(acme).status == "skipped" and deliver(acme) == 0


def test_an_endpoint_that_fails_for_five_days_is_disabled_and_goes_on_when_it_is_switched_on(
    acme: Project, app: Consumer
) -> None:
    listening = listen(acme, app, "/500")
    record(acme)
    for number in range(10):
        make_due(listening)
        deliver(acme)
        pass_time(listening, hours=13 if number < 9 else 0)
        if number == 4:
            record(acme)
    endpoint = WebhookEndpoint.objects.get(pk=listening.endpoint.pk)
    assert (endpoint.failures_in_row, endpoint.disabled_at) == (len(app.seen), None)
    pass_time(listening, hours=5)
    WebhookDelivery.objects.filter(endpoint=endpoint).update(
        attempts=3, status="pending", give_up_at=Now() + dt.timedelta(days=1)
    )
    make_due(listening)
    deliver(acme)
    endpoint.refresh_from_db()
    assert endpoint.disabled_reason == "failing"
    assert ReviewItem.objects.for_project(acme).filter(kind="webhook_endpoint").count() == 1
    count = len(app.seen)
    make_due(listening)
    assert deliver(acme) == 0
    app.answers = ["ok"] * 2
    change_endpoint(endpoint=endpoint, fields={"is_active": True})
    deliver(acme)
    assert len(app.seen) == count + 2
    assert {row.status for row in listening.deliveries()} == {"delivered"}


def test_no_transaction_is_open_while_the_app_is_asked(acme: Project, listening: Listening) -> None:
    record(acme)
    fan_out(acme)
    (row,) = lease(acme)
    with transaction.atomic(), pytest.raises(RuntimeError):
        attempt_delivery(row)


# Race


def test_an_event_makes_one_delivery_an_endpoint_whatever_is_carried_out_again(
    acme: Project, app: Consumer, listening: Listening
) -> None:
    row = record(acme)
    fan_out(acme)
    at_once(4, lambda _: deliveries.fan_out(row))
    assert deliver(acme) == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        deliveries.new_delivery(row, listening.endpoint.pk, "payment.succeeded").save(force_insert=True)
    assert (len(app.seen), len(listening.deliveries())) == (1, 1)


def test_a_dead_workers_delivery_comes_back_and_its_late_answer_changes_nothing(
    acme: Project, app: Consumer, listening: Listening
) -> None:
    record(acme)
    fan_out(acme)
    (left,) = lease(acme)
    assert lease(acme) == []
    WebhookDelivery.objects.filter(pk=left.pk).update(next_attempt_at=Now())
    (taken,) = lease(acme)
    late = Outcome(at=dt.datetime.now(dt.UTC), duration_ms=1, status_code=500)
    assert deliveries.note_outcome(left, late) is False
    attempt_delivery(taken)
    found = listening.delivery()
    assert (found.status, found.attempts, len(found.log)) == ("delivered", 1, 1)
    listening.endpoint.refresh_from_db()
    assert listening.endpoint.failures_in_row == 0


def test_two_pickers_at_once_never_take_more_than_there_is_room_for(acme: Project, listening: Listening) -> None:
    for _ in range(6):
        record(acme)
    fan_out(acme)
    picked, second_is_done = threading.Event(), threading.Event()
    first: list[Any] = []

    def pick(number: int) -> list[WebhookDelivery]:
        if number == 0:
            with transaction.atomic():
                found = lease(acme)
                first.extend(row.pk for row in found)
                picked.set()
                # Not committed yet: the second one cannot see what was taken.
                second_is_done.wait(0.5)
            return found
        assert picked.wait(20)
        # The others come to the front meanwhile, as by a replay.
        others = WebhookDelivery.objects.filter(endpoint=listening.endpoint).exclude(pk__in=first)
        others.update(next_attempt_at=Now() - dt.timedelta(hours=1))
        found = lease(acme)
        second_is_done.set()
        return found

    taken = [row.pk for rows in at_once(2, pick) for row in rows]
    assert len(taken) == len(set(taken)) == deliveries.OF_ENDPOINT_MAX


# Fairness


def pile_up(listening: Listening, number: int) -> None:
    """Let events wait for an endpoint, in three statements."""
    names: dict[str, Any] = {"project": listening.project.pk, "endpoint": listening.endpoint.pk, "number": number}
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO notifications_outboxrow (id, project_id, mode, kind, effect_key, payload, cause, lane, status, attempts,"
            " error, created_at) SELECT gen_random_uuid(), %(project)s, 'test', 'app_event', 'pile:' || n,"
            " '{\"type\": \"payment.succeeded\", \"data\": {}}', '', '', 'done', 1, '', now()"
            " FROM generate_series(1, %(number)s) n",
            names,
        )
        cursor.execute(
            "INSERT INTO notifications_webhookdelivery (id, project_id, mode, endpoint_id, event_id, event_type, give_up_at,"
            " next_attempt_at) SELECT gen_random_uuid(), project_id, mode, %(endpoint)s, id, 'payment.succeeded',"
            " now() + interval '3 days', now() - interval '1 hour' FROM notifications_outboxrow"
            " WHERE project_id = %(project)s AND effect_key LIKE 'pile:%%'",
            names,
        )
        cursor.execute("ANALYZE notifications_webhookdelivery")


def test_ten_thousand_events_for_a_dead_endpoint_hold_nobody_back(
    acme: Project, other_project: Project, app: Consumer
) -> None:
    dead, alive = listen(acme, app, "/500"), listen(acme, app, "/alive")
    theirs = listen(other_project, app, "/theirs")
    pile_up(dead, 10_000)
    record(acme)
    for _ in range(2):
        record(other_project)
    fan_out(acme, other_project)
    first = lease(acme, other_project, limit=1000)
    # Whoever came last is dealt to beside those who wait since an hour ago, as far as there is room at each.
    of = Counter(row.endpoint_id for row in first)
    assert of == {dead.endpoint.pk: deliveries.OF_ENDPOINT_MAX, alive.endpoint.pk: 1, theirs.endpoint.pk: 2}
    for row in first:
        attempt_delivery(row)
    for _ in range(20):
        record(other_project)
    attempts = deliver(acme, other_project)
    assert sum(one.path == "/theirs" for one in app.seen) == 22
    # The dead one was asked one at a time, and then left alone.
    assert attempts <= 23 and sum(one.path == "/500" for one in app.seen) <= 4
    assert {row.status for row in (*theirs.deliveries(), *alive.deliveries())} == {"delivered"}
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (FORMAT TEXT) " + deliveries._LEASE, {
            "of_account": 4, "of_endpoint": 2, "limit": 8, "lease": 30,
        })  # fmt: skip
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan on notifications_webhookdelivery" not in plan, plan


# Replay and age


def test_what_was_finished_long_ago_is_deleted_and_what_is_late_is_given_up(
    acme: Project, app: Consumer, listening: Listening
) -> None:
    record(acme)
    deliver(acme)
    old = listening.delivery()
    record(acme)
    fan_out(acme)
    late = listening.deliveries()[1]
    WebhookDelivery.objects.filter(pk=old.pk).update(created_at=Now() - dt.timedelta(days=91))
    WebhookDelivery.objects.filter(pk=late.pk).update(give_up_at=Now() - dt.timedelta(seconds=1))
    tidy_webhooks()
    assert [(row.pk, row.status) for row in listening.deliveries()] == [(late.pk, "failed")]
