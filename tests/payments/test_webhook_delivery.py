"""POST /api/v1/payments/stripe/webhooks/{project_id}/{mode}: stored once and answered, or refused with nothing stored."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from payments.models import StripeConfig, StripeCredentials
from payments.secret_cache import forget_secrets
from payments.services import stripe_config
from tests.cast import Developer, create_project
from tests.payments.deliveries import SECRET, an_event, send, set_webhook_secret, signature, stored, webhook_path

if TYPE_CHECKING:
    from projects.models import Project

OTHER_SECRET = "whsec_" + "f" * 32
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def acme_listens(acme: "Project") -> Iterator[None]:
    """Acme's test mode has a signing secret, and the process knows it already."""
    set_webhook_secret(acme)
    send(acme, b"{}")
    yield


def padded(event: dict[str, Any], size: int) -> bytes:
    """Make an event's body exactly so large."""
    body = json.dumps(event | {"padding": ""}).encode()
    return body[:-2] + b"x" * (size - len(body)) + body[-2:]


# Works


def test_an_event_is_stored_with_one_statement(acme: "Project") -> None:
    event = an_event()
    with CaptureQueriesContext(connection) as queries:
        answer = send(acme, event)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert len(queries) == 1
    row = stored(acme).get()
    assert (row.event_id, row.type, row.mode, row.status) == (event["id"], event["type"], "test", "pending")
    assert (row.object_id, row.root) == (event["data"]["object"]["id"], event["data"]["object"]["customer"])
    assert row.payload == event and row.api_version == "2026-08-26.dahlia"
    assert row.stripe_created_at is not None and int(row.stripe_created_at.timestamp()) == event["created"]


def test_a_repeated_event_is_answered_and_stored_once(acme: "Project") -> None:
    event = an_event()
    first = send(acme, event)
    with CaptureQueriesContext(connection) as queries:
        again = send(acme, event)
    assert first.status_code == again.status_code == 200
    assert len(queries) == 1
    assert stored(acme).count() == 1


def test_the_same_event_id_in_two_projects_is_two_events(acme: "Project", other_project: "Project") -> None:
    set_webhook_secret(other_project)
    event = an_event()
    assert send(acme, event).status_code == send(other_project, event).status_code == 200
    assert (stored(acme).count(), stored(other_project).count()) == (1, 1)


def test_a_live_event_is_stored_in_live(acme: "Project") -> None:
    set_webhook_secret(acme, "live", OTHER_SECRET)
    assert send(acme, an_event(livemode=True), mode="live", secret=OTHER_SECRET).status_code == 200
    assert stored(acme).get().mode == "live"


def test_a_thin_event_is_stored_with_the_object_that_it_names(acme: "Project") -> None:
    event = {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "livemode": False,
        "created": "2026-11-21T10:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    assert send(acme, event).status_code == 200
    row = stored(acme).get()
    assert (row.object_id, row.payload) == ("mtr_1", event)
    assert row.stripe_created_at is not None and row.stripe_created_at.year == 2026


def test_both_secrets_verify_while_one_is_rolled_and_the_old_one_ends(acme: "Project") -> None:
    stripe_config.put_stripe_config(project=acme, changes={"test_webhook_secret": OTHER_SECRET})
    assert send(acme, an_event(), secret=SECRET).status_code == 200
    assert send(acme, an_event(), secret=OTHER_SECRET).status_code == 200
    row = StripeCredentials.objects.for_project(acme).get(mode="test")
    row.previous_webhook_secret_expires_at = timezone.now()
    row.save()
    forget_secrets(acme.pk)
    assert send(acme, an_event(), secret=SECRET).status_code == 400
    assert send(acme, an_event(), secret=OTHER_SECRET).status_code == 200


def test_a_saved_secret_works_at_once_in_the_process_that_saved_it(acme: "Project") -> None:
    assert send(acme, an_event(livemode=True), mode="live", secret=OTHER_SECRET).status_code == 404
    stripe_config.put_stripe_config(project=acme, changes={"live_webhook_secret": OTHER_SECRET})
    assert send(acme, an_event(livemode=True), mode="live", secret=OTHER_SECRET).status_code == 200


def test_a_secret_saved_by_another_process_works_after_the_cache_ends(acme: "Project", settings: Any) -> None:
    settings.WEBHOOK_SECRET_CACHE_SECONDS = 0.2
    assert send(acme, an_event(livemode=True), mode="live", secret=OTHER_SECRET).status_code == 404
    config = StripeConfig.objects.for_project(acme).get()
    row = StripeCredentials(config=config, project=acme, mode="live")
    row.set_secret("webhook_secret", OTHER_SECRET)
    row.save()
    time.sleep(0.25)
    assert send(acme, an_event(livemode=True), mode="live", secret=OTHER_SECRET).status_code == 200


def test_text_that_postgresql_cannot_hold_is_replaced_and_the_event_kept(acme: "Project") -> None:
    event = an_event()
    body = json.dumps(event | {"note": "a\x00b\ud800c\U0001f600 \\u0000"}).encode()
    assert rb"\u0000b\ud800c\ud83d\ude00 \\u0000" in body
    assert send(acme, body).status_code == 200
    assert stored(acme).get().payload["note"] == "a\ufffdb\ufffdc\U0001f600 \\u0000"


def test_a_body_of_exactly_one_mebibyte_is_taken(acme: "Project") -> None:
    body = padded(an_event(), MIB)
    assert len(body) == MIB and send(acme, body).status_code == 200
    assert stored(acme).count() == 1


# Refuses, and nothing is stored


@pytest.mark.parametrize(
    "header",
    [None, "", "garbage", "t=1,v1=" + "0" * 64, "v1=" + "0" * 64, f"t={int(time.time())},v0=" + "0" * 64],
    # Named, since every worker of a run must collect the same names whatever second it is.
    ids=["none", "empty", "garbage", "old", "no time", "only v0"],
)
def test_a_bad_header_is_400_without_a_statement(acme: "Project", header: str | None) -> None:
    body = json.dumps(an_event()).encode()
    headers = {} if header is None else {"Stripe-Signature": header}
    with CaptureQueriesContext(connection) as queries:
        answer = Client().post(webhook_path(acme), data=body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    assert len(queries) == 0
    assert not stored(acme).exists()


@pytest.mark.parametrize("age", [301, -302])
def test_an_old_or_early_signature_is_400(acme: "Project", age: int) -> None:
    body = json.dumps(an_event()).encode()
    answer = send(acme, body, header=signature(body, timestamp=time.time() - age))
    assert answer.status_code == 400
    assert not stored(acme).exists()


def test_a_changed_body_is_400(acme: "Project") -> None:
    event = an_event()
    body = json.dumps(event).encode()
    for changed in (body + b"\n", json.dumps(event, separators=(",", ":")).encode(), body.replace(b"sub_", b"sux_")):
        assert send(acme, changed, header=signature(body)).status_code == 400
    assert not stored(acme).exists()


def test_another_projects_secret_is_400(acme: "Project", other_project: "Project") -> None:
    set_webhook_secret(other_project, secret=OTHER_SECRET)
    assert send(acme, an_event(), secret=OTHER_SECRET).status_code == 400
    assert not stored(acme).exists() and not stored(other_project).exists()


def test_the_test_secret_does_not_open_live(acme: "Project") -> None:
    set_webhook_secret(acme, "live", OTHER_SECRET)
    assert send(acme, an_event(livemode=True), mode="live", secret=SECRET).status_code == 400
    assert not stored(acme).exists()


def test_a_live_event_on_the_test_address_is_400(acme: "Project", caplog: pytest.LogCaptureFixture) -> None:
    event = an_event(livemode=True)
    answer = send(acme, event)
    assert (answer.status_code, answer.json()["code"]) == (400, "livemode_mismatch")
    assert not stored(acme).exists()
    alarm = next(record for record in caplog.records if record.levelname == "WARNING" and "livemode" in record.msg)
    assert alarm.getMessage() == f"livemode_mismatch project={acme.pk} mode=test event={event['id']!r}"
    assert event["data"]["object"]["id"] not in caplog.text


def test_a_matching_event_or_a_forged_one_is_no_alarm(acme: "Project", caplog: pytest.LogCaptureFixture) -> None:
    assert send(acme, an_event()).status_code == 200
    assert send(acme, an_event(livemode=True), secret=OTHER_SECRET).status_code == 400
    assert "livemode_mismatch" not in caplog.text


def test_what_is_unknown_unconfigured_or_deactivated_answers_alike(
    acme: "Project", other_project: "Project", alice: Developer
) -> None:
    deactivated, empty = create_project(alice, "Gone"), create_project(alice, "Empty")
    set_webhook_secret(deactivated)
    assert send(deactivated, an_event()).status_code == 200
    stripe_config.deactivate_stripe_config(project=deactivated)
    set_webhook_secret(empty, secret="")
    paths = [
        webhook_path(uuid.uuid4()),
        webhook_path("not-a-uuid"),
        webhook_path("%00"),
        webhook_path(other_project),
        webhook_path(acme, "live"),
        webhook_path(acme, "staging"),
        webhook_path(acme, "TEST"),
        webhook_path(deactivated),
        webhook_path(empty),
    ]
    answers = [send(acme, an_event(), path=path, secret=secret) for path in paths for secret in (SECRET, OTHER_SECRET)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert not stored(acme).exists() and stored(deactivated).count() == 1


def test_an_empty_secret_never_verifies_even_its_own_signature(alice: Developer) -> None:
    empty = create_project(alice, "Empty")
    row = set_webhook_secret(empty, secret=OTHER_SECRET)
    row.set_secret("webhook_secret", "")
    row.save()
    forget_secrets(empty.pk)
    assert send(empty, an_event(), secret="").status_code == 404
    assert not stored(empty).exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b'{"id": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[]",
        b"null",
        b"5",
        b'"evt"',
        b"{}",
        b'{"object": "event", "livemode": false}',
        b'{"object": "event", "livemode": false, "id": "evt_1"}',
        b'{"object": "event", "livemode": false, "id": 5, "type": "x"}',
        b'{"object": "event", "livemode": false, "id": "", "type": "x"}',
        b'{"object": "event", "livemode": false, "id": "evt_\\n", "type": "x"}',
        b'{"object": "event", "livemode": false, "id": "' + b"e" * 256 + b'", "type": "x"}',
        b'{"object": "event", "livemode": false, "id": "evt_1", "type": "' + b"t" * 129 + b'"}',
        b'{"object": "event", "livemode": "false", "id": "evt_1", "type": "x"}',
        b'{"object": "event", "livemode": 0, "id": "evt_1", "type": "x"}',
        b'{"object": "event", "id": "evt_1", "type": "x"}',
        b'{"object": "charge", "livemode": false, "id": "evt_1", "type": "x"}',
        b'{"object": "event", "livemode": false, "id": "evt_1", "type": "x", "data": NaN}',
        b'{"object": "event", "livemode": false, "id": "evt_1", "type": "x", "data": 1e999}',
        b'{"object": "event", "livemode": false, "id": "evt_1", "type": "x", "data": ' + b"9" * 5000 + b"}",
        b'{"object": "event", "livemode": false, "id": "evt_1", "type": "x", "data": '
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}",
    ],
)
def test_a_signed_body_that_is_no_event_is_400(acme: "Project", body: bytes) -> None:
    answer = send(acme, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_event")
    assert not stored(acme).exists()


@pytest.mark.parametrize("size", [MIB + 1, 10 * MIB])
def test_a_larger_body_is_413_before_the_signature_is_looked_at(acme: "Project", size: int) -> None:
    with CaptureQueriesContext(connection) as queries:
        answer = send(acme, b"x" * size, header="garbage")
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert len(queries) == 0
    assert not stored(acme).exists()


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head", "options"])
def test_only_post_is_taken(acme: "Project", method: str) -> None:
    for path in (webhook_path(acme), "/webhook/stripe"):
        answer = getattr(Client(), method)(path)
        assert (answer.status_code, answer["Allow"]) == (405, "POST")


def test_odd_slashes_are_not_redirected(acme: "Project") -> None:
    path = webhook_path(acme)
    for odd in (path + "/", path.replace("/webhooks/", "/webhooks//"), path + "//", "/webhook/stripe/"):
        assert send(acme, an_event(), path=odd).status_code == 404
    assert not stored(acme).exists()


def test_cookies_are_neither_read_nor_set(acme: "Project", alice: Developer) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice.user, backend="django.contrib.auth.backends.ModelBackend")
    with CaptureQueriesContext(connection) as queries:
        answer = send(acme, an_event(), client=client)
    assert answer.status_code == 200
    assert len(queries) == 1
    assert "Set-Cookie" not in answer and not answer.cookies


# Edge: the shared address


def test_the_shared_address_stores_for_the_project_whose_secret_verifies(
    acme: "Project", other_project: "Project"
) -> None:
    mine, theirs = f"whsec_{uuid.uuid4().hex}", f"whsec_{uuid.uuid4().hex}"
    for project, secret in ((acme, mine), (other_project, theirs)):
        project.shared_webhook = True
        project.save()
        set_webhook_secret(project, secret=secret)
    assert send(acme, an_event(), secret=theirs, path="/webhook/stripe").status_code == 200
    assert (stored(acme).count(), stored(other_project).count()) == (0, 1)
    assert send(acme, an_event(livemode=True), secret=mine, path="/webhook/stripe").status_code == 400
    assert send(acme, an_event(), secret=OTHER_SECRET, path="/webhook/stripe").status_code == 400
    with CaptureQueriesContext(connection) as queries:
        assert send(acme, an_event(), secret=mine, path="/webhook/stripe").status_code == 200
    assert len(queries) == 1
    assert stored(acme).count() == 1
    for project in (acme, other_project):
        project.shared_webhook = False
        project.save()
        forget_secrets(project.pk)
    assert send(acme, an_event(), secret=mine, path="/webhook/stripe").status_code in (400, 404)


# Race and trouble


def test_five_copies_of_each_event_on_eight_connections_are_one_row_each(acme: "Project") -> None:
    events = [an_event() for _ in range(8)]
    start = threading.Barrier(8)
    answers: list[int] = []

    def sender(number: int) -> None:
        start.wait()
        for turn in range(5):
            answers.append(send(acme, events[(number + turn) % 8]).status_code)
        connection.close()

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 40
    assert sorted(stored(acme).values_list("event_id", flat=True)) == sorted(event["id"] for event in events)


def test_a_database_that_cannot_write_answers_503_and_the_resend_is_stored(acme: "Project") -> None:
    event = an_event()
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    # The session itself is put right: it is kept for others, whoever gets it next.
    session: Any = connection.connection
    try:
        refused = send(acme, event)
    finally:
        if not session.closed:
            session.execute("SET default_transaction_read_only = off")
        connection.close()
    assert refused.status_code == 503, refused.content
    assert not stored(acme).exists()
    assert send(acme, event).status_code == 200
    assert stored(acme).count() == 1


def test_a_secret_whose_encryption_key_is_missing_is_503_so_that_stripe_sends_again(
    acme: "Project", settings: Any
) -> None:
    forget_secrets(acme.pk)
    ring = settings.ENCRYPTION_KEYS
    settings.ENCRYPTION_KEYS = "other:" + ring.partition(":")[2]
    assert send(acme, an_event()).status_code == 503
    settings.ENCRYPTION_KEYS = ring
    assert send(acme, an_event()).status_code == 200


def test_a_broken_connection_is_replaced_within_the_request(acme: "Project") -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    assert send(acme, an_event()).status_code == 200
    assert stored(acme).count() == 1
