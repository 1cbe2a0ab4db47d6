"""Dead letters through the API: what came, why it failed, its body without secrets, and replaying it exactly once (F22)."""

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from moderation.models import ActionLog
from notifications.models import OutboxRow
from payments.models import Subscription, WebhookEvent
from payments.services.inbox import lease_due_groups
from payments.services.processing import Handler, process_group
from payments.webhooks import HANDLERS
from projects.models import Project, Role
from tests.cast import AppUser
from tests.payments.actors import Developer, config_path, create_developer, create_project
from tests.payments.deliveries import (
    an_event,
    deliver,
    make_due,
    process_all,
    purchase,
    send,
    set_webhook_secret,
    stored,
)
from tests.payments.shop import Shop, at_once

ITEM = {
    "id", "event_id", "type", "object_id", "is_test_mode", "status", "attempts", "error", "wait_reason", "source",
    "stripe_created_at", "received_at", "handled_at", "failed_at", "next_attempt_at", "emptied_at",
}  # fmt: skip


@pytest.fixture
def owner(acme: Project) -> Developer:
    return create_developer(acme)


@pytest.fixture
def inbox(acme: Project) -> Project:
    """Three dead letters of two types, an ignored, a processed and a waiting event, and a live dead letter."""
    set_webhook_secret(acme)
    set_webhook_secret(acme, "live")
    for event_id, status, event_type in (
        ("evt_a", "dead", "invoice.paid"),
        ("evt_b", "dead", "invoice.paid"),
        ("evt_c", "dead", "customer.updated"),
        ("evt_ignored", "ignored", "invoice.paid"),
        ("evt_done", "processed", "invoice.paid"),
        ("evt_waiting", "pending", "invoice.paid"),
    ):
        send(acme, an_event(event_type, id=event_id))
        stored(acme).filter(event_id=event_id).update(status=status, attempts=8, error="ValueError: broken")
    send(acme, an_event(id="evt_live", livemode=True), mode="live")
    stored(acme).filter(event_id="evt_live").update(status="dead")
    return acme


def path(project: Project, leaf: str = "", query: str = "") -> str:
    return config_path(project, f"webhook-events{leaf}{query}")


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [event["event_id"] for event in answer.json()["webhook_events"]]


def status_of(project: Project, event_id: str) -> str:
    return str(stored(project).get(event_id=event_id).status)


def test_dead_letters_are_listed_with_their_error_newest_first(owner: Developer, inbox: Project) -> None:
    answer = owner.get(path(inbox, query="?status=dead"))
    assert ids(answer) == ["evt_c", "evt_b", "evt_a"]
    body = answer.json()
    assert (body["total"], body["page"], body["page_size"]) == (3, 1, 50)
    found = body["webhook_events"][0]
    assert set(found) == ITEM
    assert (found["attempts"], found["error"], found["next_attempt_at"]) == (8, "ValueError: broken", None)
    assert ids(owner.get(path(inbox, query="?status=dead&type=customer.updated"))) == ["evt_c"]
    assert ids(owner.get(path(inbox, query="?status=dead&test_mode=false"))) == ["evt_live"]
    assert len(ids(owner.get(path(inbox)))) == 6
    first = owner.get(path(inbox, query="?cursor=&page_size=4"))
    rest = owner.get(path(inbox, query=f"?page_size=4&cursor={first.json()['next_cursor']}"))
    assert [*ids(first), *ids(rest)] == ids(owner.get(path(inbox)))
    with CaptureQueriesContext(connection) as captured:
        owner.get(path(inbox, query="?cursor="))
    assert len(captured) <= 5
    assert not any('"payload"' in query["sql"] for query in captured.captured_queries)


def test_an_event_is_read_with_its_body_and_without_secrets(owner: Developer, acme: Project) -> None:
    set_webhook_secret(acme)
    event = an_event("payment_intent.succeeded")
    event["data"]["object"] |= {"client_secret": "pi_1_secret_2", "metadata": {"password": "hunter22", "note": "fine"}}
    event["data"]["object"]["description"] = "key sk_live_" + "abcdef0123456789"
    # Whoever opens these acts for the buyer.
    pages = {"url": "https://checkout.stripe.com/c/pay/open", "recovery": {"url": "https://buy.stripe.com/again"}}
    event["data"]["object"] |= pages
    send(acme, event)
    row = stored(acme).get()
    for name in (event["id"], str(row.pk)):
        answer = owner.get(path(acme, f"/{name}"))
        assert (answer.status_code, set(answer.json())) == (200, ITEM | {"body"})
        body = answer.json()["body"]
        assert body["data"]["object"]["id"] == event["data"]["object"]["id"]
        assert body["data"]["object"]["metadata"]["note"] == "fine"
        assert body["data"]["object"]["url"] == "https://checkout.stripe.com/[hidden]"
        for secret in ("pi_1_secret_2", "hunter22", "abcdef0123456789", "c/pay/open", "stripe.com/again"):
            assert secret not in answer.content.decode()


def test_one_event_is_replayed_once_however_often_it_is_pressed(owner: Developer, inbox: Project) -> None:
    pressed = at_once(4, lambda _: owner.post(path(inbox, "/evt_a/replay"), {}).json())
    assert sorted(answer["replayed"] for answer in pressed) == [0, 0, 0, 1]
    assert status_of(inbox, "evt_a") != "dead"
    assert owner.post(path(inbox, "/evt_done/replay"), {}).json() == {"replayed": 0}
    assert (status_of(inbox, "evt_done"), status_of(inbox, "evt_b")) == ("processed", "dead")
    assert owner.post(path(inbox, "/evt_ignored/replay"), {}).json() == {"replayed": 1}
    logged = ActionLog.objects.filter(project_id=inbox.pk, action="webhook_event.replay")
    assert sorted(logged.values_list("subject", "actor_label")) == [
        ("evt_a", owner.user.email), ("evt_ignored", owner.user.email),
    ]  # fmt: skip


def test_many_are_replayed_by_id_or_all_dead_of_a_mode(owner: Developer, inbox: Project) -> None:
    chosen = [str(stored(inbox).get(event_id=name).pk) for name in ("evt_a", "evt_done")]
    assert owner.post(path(inbox, "/replay"), {"ids": chosen}).json() == {"replayed": 1}
    assert owner.post(path(inbox, "/replay"), {"all_dead": True, "type": "customer.updated"}).json() == {"replayed": 1}
    assert status_of(inbox, "evt_b") == "dead"
    assert owner.post(path(inbox, "/replay"), {"all_dead": True}).json() == {"replayed": 1}
    assert owner.post(path(inbox, "/replay"), {"all_dead": True}).json() == {"replayed": 0}
    assert (status_of(inbox, "evt_live"), status_of(inbox, "evt_ignored")) == ("dead", "ignored")


def test_f22_a_poison_event_is_laid_aside_the_rest_flows_and_after_the_fix_it_happens_once(
    shop: Shop, dana: AppUser, owner: Developer, settings: Any
) -> None:
    settings.EVENT_MAX_ATTEMPTS = 2
    set_webhook_secret(shop.project)
    events = purchase(shop, dana, shop.price(1000))
    poison = next(event for event in events if event["type"] == "checkout.session.completed")

    def fails(*_: Any) -> Any:
        raise ValueError("a defect in the handler")

    broken = HANDLERS | {poison["type"]: Handler(fails, "", "")}
    deliver(shop, [poison], process=False)
    for _ in range(2):
        make_due(shop.project)
        for group in lease_due_groups(limit=200):
            if group.project_id == shop.project.pk:
                process_group(group, broken)
    letter = stored(shop.project).get()
    assert (letter.status, letter.attempts) == ("dead", 2)
    assert "a defect in the handler" in letter.error and letter.failed_at is not None
    config = owner.get(config_path(shop.project)).json()
    assert (config["test_dead_events"], config["test_oldest_pending_at"]) == (1, None)
    assert config["test_last_failure_at"] is not None
    deliver(shop, [event for event in events if event is not poison])
    assert Subscription.objects.for_project(shop.project).get().status == "active"
    effects = sorted(OutboxRow.objects.filter(project=shop.project).values_list("effect_key", flat=True))
    answers = at_once(3, lambda _: owner.post(path(shop.project, f"/{poison['id']}/replay"), {}).json()["replayed"])
    assert sorted(answers) == [0, 0, 1]
    process_all(shop.project)
    letter.refresh_from_db()
    assert (letter.status, letter.error) == ("processed", "")
    assert owner.post(path(shop.project, f"/{poison['id']}/replay"), {}).json() == {"replayed": 0}
    keys = list(OutboxRow.objects.filter(project=shop.project).values_list("effect_key", flat=True))
    assert len(keys) == len(set(keys)) and set(effects) <= set(keys)
    assert owner.get(config_path(shop.project)).json()["test_dead_events"] == 0


def test_a_viewer_reads_and_does_not_replay(inbox: Project) -> None:
    viewer = create_developer(inbox, role=Role.VIEWER)
    assert viewer.get(path(inbox, "/evt_a")).status_code == 200
    for leaf, body in (("/evt_a/replay", {}), ("/replay", {"all_dead": True})):
        answer = viewer.post(path(inbox, leaf), body)
        assert (answer.status_code, answer.json()["code"]) == (403, "role_too_low")
    assert status_of(inbox, "evt_a") == "dead"


def test_somebody_elses_event_answers_like_one_that_does_not_exist(inbox: Project, other_project: Project) -> None:
    stranger = create_developer(other_project)
    theirs = str(stored(inbox).get(event_id="evt_a").pk)
    for name in (theirs, "evt_a", str(uuid.uuid4()), "evt_nobody", "%00", "evt_live"):
        assert stranger.get(path(other_project, f"/{name}")).json()["code"] == "event_not_found", name
        assert stranger.post(path(other_project, f"/{name}/replay"), {}).status_code == 404
    mixed = stranger.post(path(other_project, "/replay"), {"ids": [theirs]})
    unknown = stranger.post(path(other_project, "/replay"), {"ids": [str(uuid.uuid4())]})
    assert mixed.status_code == 404 and mixed.content == unknown.content
    assert stranger.post(path(other_project, "/replay"), {"all_dead": True}).json() == {"replayed": 0}
    live = str(stored(inbox).get(event_id="evt_live").pk)
    assert create_developer(inbox).post(path(inbox, "/replay"), {"ids": [live]}).status_code == 404
    assert WebhookEvent.objects.filter(project=inbox, status="dead").count() == 4


@pytest.mark.parametrize(
    "body",
    [
        {}, {"ids": []}, {"ids": "evt_a"}, {"ids": ["evt_a"]}, {"all_dead": False}, {"all_dead": "yes"}, {"ids": None},
        {"ids": [str(uuid.UUID(int=1))], "all_dead": True}, {"ids": [str(uuid.UUID(int=1))] * 101},
        {"all_dead": True, "type": 7}, {"all_dead": True, "type": "x" * 200},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_body_is_422_and_replays_nothing(owner: Developer, inbox: Project, body: dict[str, Any]) -> None:
    assert owner.post(path(inbox, "/replay"), body).status_code == 422
    assert status_of(inbox, "evt_a") == "dead"


@pytest.mark.parametrize("query", ["?status=lost", "?type=%0a", f"?type={'x' * 200}", "?test_mode=2", "?cursor=x"])
def test_a_wrong_filter_is_422(query: str) -> None:
    project = create_project()
    assert create_developer(project).get(path(project, query=query)).status_code == 422


def test_the_health_of_a_mode_shows_in_the_configuration(owner: Developer, inbox: Project) -> None:
    body = owner.get(config_path(inbox)).json()
    waiting = stored(inbox).get(event_id="evt_waiting")
    assert (body["test_dead_events"], body["live_dead_events"]) == (3, 1)
    shown = waiting.received_at.isoformat().replace("+00:00", "Z")
    assert body["test_oldest_pending_at"] == body["test_last_event_at"] == shown
    assert (body["live_oldest_pending_at"], body["test_last_failure_at"]) == (None, None)


def test_refused_signatures_are_told_in_the_log_once_a_minute_and_cost_nothing(
    inbox: Project, caplog: pytest.LogCaptureFixture
) -> None:
    send(inbox, an_event())
    with CaptureQueriesContext(connection) as captured:
        codes = {send(inbox, an_event(), secret="whsec_" + "wrong" * 6).status_code for _ in range(5)}
    assert codes == {400}
    assert len(captured) == 0
    told = [record.getMessage() for record in caplog.records if "webhook_signature_refused" in record.getMessage()]
    assert told == [f"webhook_signature_refused project={inbox.pk} mode=test count=1"]
