"""/api/v1/projects/{id}/webhook-endpoints: made, changed, rotated, tested; nothing private is ever called or shown."""

from typing import Any

import pytest
from django.db import connection
from standardwebhooks import Webhook

from common.encryption import DecryptionError
from notifications.event_types import CHOICES, EVENT_TYPES
from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services import endpoints
from projects.models import Project, Role
from tests.builders import waits_until_free
from tests.cast import Developer, set_role
from tests.notifications.consumer import Consumer
from tests.notifications.listening import Listening, deliver, listen, record
from tests.payments.shop import at_once


def path_of(project: Project, *leaves: Any, mode: str = "test") -> str:
    query = "" if mode == "test" else "?test_mode=false"
    return "/".join([f"/api/v1/projects/{project.pk}/webhook-endpoints", *map(str, leaves)]) + query


def send(caller: Developer, method: str, path: str, body: Any = None, **headers: str) -> Any:
    more: dict[str, Any] = {} if body is None else {"data": body, "content_type": "application/json"}
    return getattr(caller.client, method)(path, headers=headers or None, **more)


# Works


def test_an_endpoint_is_made_read_changed_and_deleted_and_its_secret_shown_once(
    acme: Project, alice: Developer, app: Consumer
) -> None:
    body = {"url": app.url(), "event_types": ["payment.*", "credits.low", "payment.*"], "description": "Shop"}
    made = send(alice, "post", path_of(acme), body)
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    shown = made.json()
    secret = shown.pop("secret")
    assert secret.startswith("whsec_") and len(Webhook(secret)._whsecret) == 32
    assert shown["secret_masked"] == f"whsec_...{secret[-4:]}"
    assert (shown["event_types"], shown["is_active"], shown["is_test_mode"]) == (
        ["credits.low", "payment.*"],
        True,
        True,
    )
    read = send(alice, "get", path_of(acme, shown["id"]))
    assert (read.status_code, read.json()) == (200, shown)
    assert send(alice, "get", path_of(acme)).json() == {"webhook_endpoints": [shown], "total": 1}
    changed = send(alice, "put", path_of(acme, shown["id"]), {"event_types": ["*"], "is_active": False}).json()
    assert (changed["event_types"], changed["is_active"], changed["disabled_reason"]) == (["*"], False, "switched_off")
    assert (changed["url"], changed["description"]) == (app.url(), "Shop")
    again = send(alice, "put", path_of(acme, shown["id"]), {"is_active": True, "url": app.url("/new")}).json()
    assert (again["is_active"], again["disabled_at"], again["url"]) == (True, None, app.url("/new"))
    row = WebhookEndpoint.objects.get(pk=shown["id"])
    assert secret not in row.secret and row.get_secret() == secret and secret[6:20] not in repr(row)
    record(acme)
    deliver(acme)
    assert send(alice, "delete", path_of(acme, shown["id"])).status_code == 204
    assert send(alice, "get", path_of(acme, shown["id"])).json()["code"] == "webhook_endpoint_not_found"
    assert not WebhookDelivery.objects.for_project(acme).exists()


def test_a_rotation_shows_the_new_secret_once_and_says_how_long_the_old_one_signs(
    acme: Project, alice: Developer, listening: Listening
) -> None:
    path = path_of(acme, listening.endpoint.pk, "rotate-secret")
    rotated = send(alice, "post", path, {}).json()
    assert rotated["secret"] != listening.secret and rotated["previous_secret_until"] is not None
    row = WebhookEndpoint.objects.get(pk=listening.endpoint.pk)
    assert endpoints.signing_secrets(row) == [rotated["secret"], listening.secret]
    leaked = send(alice, "post", path, {"overlap_hours": 0}).json()
    row.refresh_from_db()
    assert endpoints.signing_secrets(row) == [leaked["secret"]]
    assert (leaked["previous_secret_until"], row.previous_secret) == (None, "")


def test_the_test_button_sends_an_example_at_once_and_shows_the_answer(
    acme: Project, alice: Developer, app: Consumer, listening: Listening
) -> None:
    path = path_of(acme, listening.endpoint.pk, "test")
    sent = send(alice, "post", path, {}).json()
    assert (sent["status"], sent["attempts"], sent["status_code"], sent["is_test"]) == ("delivered", 1, 200, True)
    assert sent["body"]["type"] == "webhook.test" and sent["body"]["data"]["project_id"] == str(acme.pk)
    assert sent["log"][0]["answer"] == "seen \ufffd hook"
    assert Webhook(listening.secret).verify(app.seen[0].body, app.seen[0].headers) == sent["body"]
    endpoints.change_endpoint(endpoint=listening.endpoint, fields={"is_active": False, "url": app.url("/410")})
    failed = send(alice, "post", path, {"event_type": "subscription.renewed"}).json()
    assert (failed["status"], failed["error"], failed["next_attempt_at"]) == ("failed", "It answered 410.", None)
    assert app.seen[1].event["data"]["plan_code"] == "pro"
    # A test says nothing about the endpoint, and is told to nobody else.
    listening.endpoint.refresh_from_db()
    assert (listening.endpoint.failures_in_row, listening.endpoint.disabled_reason) == (0, "switched_off")
    listen(acme, app, "/other")
    deliver(acme)
    assert len(app.seen) == 2


def test_deliveries_are_listed_by_page_and_cursor_and_one_is_read_whole(
    acme: Project, alice: Developer, bob: Developer, app: Consumer, listening: Listening
) -> None:
    for number in range(3):
        record(acme, "payment.failed" if number else "payment.succeeded", number=number)
    app.answers = ["ok", "500", "ok"]
    deliver(acme)
    path = path_of(acme, listening.endpoint.pk, "deliveries")
    page = send(alice, "get", f"{path}?page_size=2").json()
    assert (page["total"], len(page["webhook_deliveries"])) == (3, 2)
    first = send(alice, "get", f"{path}?cursor=&page_size=2").json()
    rest = send(alice, "get", f"{path}?cursor={first['next_cursor']}&page_size=2").json()
    assert [row["id"] for row in first["webhook_deliveries"]] == [row["id"] for row in page["webhook_deliveries"]]
    assert (len(rest["webhook_deliveries"]), rest["next_cursor"]) == (1, None)
    assert len(send(alice, "get", f"{path}?status=delivered").json()["webhook_deliveries"]) == 2
    assert len(send(alice, "get", f"{path}?event_type=payment.failed").json()["webhook_deliveries"]) == 2
    one = page["webhook_deliveries"][0]
    whole = send(alice, "get", f"{path}/{one['id']}").json()
    event = WebhookDelivery.objects.get(pk=one["id"]).event
    assert whole["body"]["data"] == event.payload["data"] and len(whole["log"]) == 1
    assert {name: whole[name] for name in one} == one
    # A viewer sees that it went, and neither what the endpoint answered nor where exactly it is.
    set_role(acme, bob, Role.VIEWER)
    assert send(bob, "get", path).status_code == 200
    assert send(bob, "get", f"{path}/{one['id']}").status_code == 403
    shown = [send(bob, "get", path_of(acme, listening.endpoint.pk)).json()]
    shown += send(bob, "get", path_of(acme)).json()["webhook_endpoints"]
    assert [row["url"] for row in shown] == [app.url("/...")] * 2


# Refuses


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example/hook",
        "https://127.0.0.1/hook",
        "https://127.0.0.1:1/",
        "https://[::1]/",
        "https://0.0.0.0/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://[fd00::8]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[2002:7f00:1::]/",
        "https://[64:ff9b::7f00:1]/",
        "file:///etc/passwd",
        "gopher://app.example/",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "https://user@app.example/",
        "https://exämple.com/",
        "https://app.example./",
        "https://app.example:6379/",
        "https://app.example/\r\nX: y",
        "https://app.example/#part",
        "//app.example/",
        "localhost",
        "",
        " ",
        "https://" + "a" * 3000 + ".example/",
    ],
)
def test_an_address_that_may_not_be_called_is_refused_when_it_is_saved(
    url: str, acme: Project, alice: Developer, app: Consumer, listening: Listening, settings: Any
) -> None:
    # Opened to what this service uses, and so not to what any developer may have called.
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1", "app.example"]
    one = path_of(acme, listening.endpoint.pk)
    for method, path in (("post", path_of(acme)), ("put", one)):
        refused = send(alice, method, path, {"url": url})
        assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "url"]), refused.content
    listening.endpoint.refresh_from_db()
    assert listening.endpoint.url == app.url() and WebhookEndpoint.objects.for_project(acme).count() == 1


def test_what_this_service_uses_no_developer_has_called(acme: Project, alice: Developer, settings: Any) -> None:
    settings.OUTGOING_ALLOWED_HOSTS, settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1"], []
    refused = send(alice, "post", path_of(acme), {"url": "http://127.0.0.1/hook"})
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "url"]), refused.content
    assert not WebhookEndpoint.objects.for_project(acme).exists()


@pytest.mark.parametrize(
    ("leaf", "body", "field"),
    [
        ("", {}, "url"),
        ("", {"url": 5}, "url"),
        ("", {"url": "https://app.example/", "event_types": []}, "event_types"),
        ("", {"url": "https://app.example/", "event_types": ["payment.made"]}, "event_types"),
        ("", {"url": "https://app.example/", "event_types": "payment.*"}, "event_types"),
        ("", {"url": "https://app.example/", "event_types": ["webhook.test"]}, "event_types"),
        ("", {"url": "https://app.example/", "description": "a\x00b"}, "description"),
        ("", {"url": "https://app.example/", "description": "a" * 256}, "description"),
        ("rotate-secret", {"overlap_hours": -1}, "overlap_hours"),
        ("rotate-secret", {"overlap_hours": 169}, "overlap_hours"),
        ("rotate-secret", {"overlap_hours": 1.5}, "overlap_hours"),
        ("test", {"event_type": "payment.made"}, "event_type"),
        ("replay", {}, "since"),
        ("replay", {"since": "yesterday"}, "since"),
        ("replay", {"since": "0032-01-01T00:00:00+00:19"}, "since"),
        ("replay", {"since": "2026-01-01T00:00:00Z", "which": "some"}, "which"),
    ],
)
def test_a_field_that_is_wrong_is_named(
    leaf: str, body: Any, field: str, acme: Project, alice: Developer, listening: Listening
) -> None:
    before = WebhookEndpoint.objects.for_project(acme).values().get()
    path = path_of(acme, listening.endpoint.pk, leaf) if leaf else path_of(acme)
    refused = send(alice, "post", path, body)
    assert (refused.status_code, refused.json()["detail"][0]["loc"][:2]) == (422, ["body", field]), refused.content
    assert WebhookEndpoint.objects.for_project(acme).values().get() == before


def test_an_endpoint_of_another_mode_or_project_is_not_there(
    acme: Project, alice: Developer, charlie: Developer, other_project: Project, app: Consumer
) -> None:
    live, theirs = listen(acme, app, mode="live").endpoint, listen(other_project, app).endpoint
    for endpoint in (live, theirs):
        for method, leaves in (("get", ()), ("put", ()), ("delete", ()), ("post", ("test",)), ("get", ("deliveries",))):
            body: dict[str, Any] | None = {} if method in ("put", "post") else None
            refused = send(alice, method, path_of(acme, endpoint.pk, *leaves), body)
            assert (refused.status_code, refused.json()["code"]) == (404, "webhook_endpoint_not_found")
    assert send(alice, "get", path_of(acme, live.pk, mode="live")).json()["is_test_mode"] is False
    other = listen(acme, app).endpoint
    record(other_project)
    deliver(other_project)
    (delivery,) = WebhookDelivery.objects.for_project(other_project)
    refused = send(alice, "get", path_of(acme, other.pk, "deliveries", delivery.pk))
    assert (refused.status_code, refused.json()["code"]) == (404, "webhook_delivery_not_found")
    assert WebhookEndpoint.objects.filter(pk__in=[live.pk, theirs.pk], disabled_at=None).count() == 2


def test_a_secret_that_is_moved_to_another_endpoint_is_unreadable(acme: Project, app: Consumer) -> None:
    one, other = listen(acme, app).endpoint, listen(acme, app).endpoint
    other.secret = one.secret
    with pytest.raises(DecryptionError):
        other.get_secret()


# Edge


def test_a_new_address_is_judged_anew(acme: Project, app: Consumer) -> None:
    listening = listen(acme, app, "/500")
    record(acme)
    deliver(acme)
    changed = endpoints.change_endpoint(endpoint=listening.endpoint, fields={"url": app.url("/mended")})
    assert (changed.failures_in_row, changed.failing_since) == (0, None)
    WebhookDelivery.objects.for_project(acme).update(next_attempt_at=changed.created_at)
    deliver(acme)
    assert [one.path for one in app.seen] == ["/500", "/mended"]


def test_a_change_keeps_what_somebody_else_changed_since_it_was_read(acme: Project, app: Consumer) -> None:
    read = listen(acme, app).endpoint
    endpoints.change_endpoint(endpoint=read, fields={"url": app.url("/moved"), "event_types": ["payment.*"]})
    changed = endpoints.change_endpoint(endpoint=read, fields={"description": "Shop"})
    assert (changed.url, changed.event_types, changed.description) == (app.url("/moved"), ["payment.*"], "Shop")


@pytest.mark.no_db
def test_every_type_can_be_asked_for_and_every_noun() -> None:
    assert {name for name in CHOICES if "*" not in name} == set(EVENT_TYPES) - {"webhook.test"}
    assert {name.partition(".")[0] for name in CHOICES} - {"*"} == {
        name.partition(".")[0] for name in EVENT_TYPES if name != "webhook.test"
    }


# Race


def test_no_more_than_sixteen_endpoints_are_made_however_many_ask_at_once(
    acme: Project, alice: Developer, app: Consumer
) -> None:
    for _ in range(endpoints.ENDPOINTS_MAX - 1):
        listen(acme, app)
    answers = at_once(3, lambda _: send(alice, "post", path_of(acme), {"url": app.url()}))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert {answer.json().get("code") for answer in answers} == {None, "too_many_webhook_endpoints"}
    assert WebhookEndpoint.objects.for_project(acme).count() == endpoints.ENDPOINTS_MAX
    listen(acme, app, mode="live")


def test_endpoints_are_counted_by_one_at_a_time(acme: Project, alice: Developer, app: Consumer) -> None:
    row = Project.objects.select_for_update(no_key=True).filter(pk=acme.pk)
    assert waits_until_free(row, lambda: send(alice, "post", path_of(acme), {"url": app.url()}).status_code) == 201


def test_rotations_at_once_leave_a_pair_of_secrets_that_were_both_shown(
    acme: Project, app: Consumer, listening: Listening
) -> None:
    def rotate(_: int) -> str:
        return endpoints.rotate_secret(endpoint=WebhookEndpoint.objects.get(pk=listening.endpoint.pk)).secret

    shown = at_once(3, rotate)
    row = WebhookEndpoint.objects.get(pk=listening.endpoint.pk)
    assert set(endpoints.signing_secrets(row)) < set(shown) and len(endpoints.signing_secrets(row)) == 2


def test_no_secret_is_in_a_table(acme: Project, alice: Developer, listening: Listening) -> None:
    path = path_of(acme, listening.endpoint.pk, "rotate-secret")
    made = send(alice, "post", path, {}, **{"Idempotency-Key": f"rotate-{listening.endpoint.pk}"}).json()["secret"]
    record(acme)
    deliver(acme)
    with connection.cursor() as cursor:
        for model in (WebhookEndpoint, WebhookDelivery, OutboxRow):
            cursor.execute(f"SELECT t::text FROM {model._meta.db_table} t WHERE project_id = %s", [acme.pk])
            text = repr(cursor.fetchall())
            assert made[6:] not in text and listening.secret[6:] not in text
        cursor.execute(
            "SELECT t::text FROM projects_idempotencyrecord t WHERE key = %s", [f"rotate-{listening.endpoint.pk}"]
        )
        assert made[6:] not in repr(cursor.fetchall())
