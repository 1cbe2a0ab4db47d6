"""Old bodies are emptied in bounded steps, keys stay for good, and the waiting set stays small whatever the history."""

import datetime as dt
import json
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from payments.models import WebhookEvent
from payments.services import inbox, retention
from payments.services.processing import FOREIGN_SINCE_EMPTIED
from payments.services.retention import empty_old_bodies
from projects.models import Project
from tests.cast import AppUser
from tests.payments.actors import config_path, create_developer, create_project
from tests.payments.deliveries import (
    an_event,
    deliver,
    process_all,
    purchase,
    send,
    set_webhook_secret,
    stored,
)
from tests.payments.shop import Shop, connect_stripe

HISTORY = 200_000


def age(project: Project, days: int, **filters: Any) -> None:
    stored(project).filter(**filters).update(received_at=Now() - dt.timedelta(days=days))


def emptied(project: Project) -> set[str]:
    return set(stored(project).filter(payload__isnull=True).values_list("event_id", flat=True))


@pytest.fixture
def taken(acme: Project) -> Project:
    """Five events of every fate, all older than the retention."""
    set_webhook_secret(acme)
    for status in WebhookEvent.Status.values:
        send(acme, an_event(id=f"evt_{status}"))
        stored(acme).filter(event_id=f"evt_{status}").update(status=status)
    age(acme, 91)
    return acme


def test_what_is_done_is_emptied_and_what_waits_keeps_its_body(taken: Project, settings: Any) -> None:
    assert settings.EVENT_BODY_RETENTION_DAYS == 90
    send(taken, an_event(id="evt_young"))
    stored(taken).filter(event_id="evt_young").update(status="processed", received_at=Now() - dt.timedelta(days=89))
    empty_old_bodies()
    assert emptied(taken) == {"evt_processed", "evt_ignored", "evt_dead"}
    row = stored(taken).get(event_id="evt_processed")
    assert row.emptied_at is not None
    assert (row.type, row.object_id != "", row.root != "") == ("customer.subscription.updated", True, True)
    at = row.emptied_at
    empty_old_bodies()
    row.refresh_from_db()
    assert row.emptied_at == at


def test_a_key_stays_so_that_a_late_delivery_is_still_a_duplicate(taken: Project) -> None:
    empty_old_bodies()
    count = stored(taken).count()
    assert send(taken, an_event(id="evt_processed")).status_code == 200
    assert stored(taken).count() == count
    row = stored(taken).get(event_id="evt_processed")
    assert (row.status, row.payload) == ("processed", None)


def test_it_goes_in_batches_and_says_how_many(taken: Project) -> None:
    empty_old_bodies()
    for number in range(5):
        send(taken, an_event(id=f"evt_more_{number}"))
    age(taken, 91, event_id__startswith="evt_more")
    stored(taken).filter(event_id__startswith="evt_more").update(status="processed")
    assert empty_old_bodies(batch=2, seconds_max=0) == 2
    assert empty_old_bodies(batch=2) == 3
    assert empty_old_bodies(batch=2) == 0


def test_an_emptied_event_still_replays_and_is_shown_as_emptied(shop: Shop, dana: AppUser) -> None:
    set_webhook_secret(shop.project)
    deliver(shop, purchase(shop, dana, shop.price(1000)))
    row = stored(shop.project).get(type="customer.subscription.created")
    stored(shop.project).filter(pk=row.pk).update(status="dead")
    age(shop.project, 91, pk=row.pk)
    empty_old_bodies()
    owner = create_developer(shop.project)
    shown = owner.get(config_path(shop.project, f"webhook-events/{row.event_id}")).json()
    assert (shown["body"], shown["emptied_at"] is not None) == (None, True)
    replayed = owner.post(config_path(shop.project, f"webhook-events/{row.event_id}/replay"), {})
    assert replayed.json() == {"replayed": 1}
    process_all(shop.project)
    row.refresh_from_db()
    assert (row.status, row.error) == ("processed", "")


def test_an_emptied_event_that_only_its_body_could_place_says_so(shop: Shop, settings: Any) -> None:
    settings.EVENT_MAX_ATTEMPTS = 1
    set_webhook_secret(shop.project)
    event = an_event("invoice.upcoming", data={"object": {"object": "invoice", "customer": "cus_x", "lines": {}}})
    deliver(shop, [event], process=False)
    stored(shop.project).update(status="processed")
    age(shop.project, 91)
    empty_old_bodies()
    stored(shop.project).update(status="pending", next_attempt_at=Now())
    process_all(shop.project)
    row = stored(shop.project).get()
    assert row.status == "dead"
    assert "retention has emptied" in row.error
    sharing = create_project("Sharing")
    connect_stripe(sharing, shop.account)
    stored(shop.project).update(status="pending", next_attempt_at=Now(), root="cus_unknown")
    process_all(shop.project)
    row.refresh_from_db()
    assert (row.status, row.error) == ("ignored", FOREIGN_SINCE_EMPTIED)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(inner for part in plan.get("Plans", []) for inner in nodes(part))]


def explain(sql: str, values: list[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", values)
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan, nodes(plan)


class _TakenBack(Exception):
    """Ends a transaction whose rows nobody else shall ever see."""


@pytest.mark.slow
def test_leasing_touches_only_what_waits_however_long_the_history(acme: Project) -> None:
    with pytest.raises(_TakenBack), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '120s'")
        cursor.execute(
            """
            INSERT INTO payments_webhookevent (id, project_id, mode, event_id, type, api_version, stripe_account_id,
                object_id, root, status, attempts, error, wait_reason, received_at)
            SELECT gen_random_uuid(), %s, 'test', 'evt_' || n, 'invoice.paid', '', '', 'in_' || n, 'cus_' || n,
                CASE WHEN n <= %s THEN 'processed' ELSE 'pending' END, 0, '', '',
                now() - make_interval(days => 100) + make_interval(secs => n)
            FROM generate_series(1, %s) n
            """,
            [acme.pk, HISTORY, HISTORY + 10],
        )
        cursor.execute("ANALYZE payments_webhookevent")
        leasing, parts = explain(inbox._LEASE, [inbox.GROUPS_PER_ACCOUNT_MAX, 8, 30, 100])
        scans = [
            part
            for part in parts
            if part.get("Relation Name") == "payments_webhookevent" and "Scan" in part["Node Type"]
        ]
        assert scans and all(scan["Node Type"] != "Seq Scan" for scan in scans), [scan["Node Type"] for scan in scans]
        assert max(scan["Actual Rows"] for scan in scans) < 1000
        assert leasing["Shared Hit Blocks"] + leasing["Shared Read Blocks"] < 2000
        _, parts = explain(retention._EMPTY, [90, 1000])
        assert "webhook_event_body_kept" in {part.get("Index Name") for part in parts}
        raise _TakenBack
    with connection.cursor() as cursor:
        cursor.execute("VACUUM payments_webhookevent")
    assert not stored(acme).exists()
