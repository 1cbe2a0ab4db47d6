"""The admin of the app's webhook endpoints: who sees and does what, that no secret is shown, and how many queries a list takes."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from moderation.models import ActionLog
from notifications.models import WebhookDelivery, WebhookEndpoint
from projects.models import Project, Role
from tests.admin.test_payments_pages import sign_in, url
from tests.notifications.conftest import app as app
from tests.notifications.consumer import Consumer
from tests.notifications.listening import deliver, listen, record


def act(client: Any, model: Any, action: str, *rows: Any, **more: str) -> Any:
    data: dict[str, Any] = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(url(model, "changelist"), data | more)


def text(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_pages_show_what_was_sent_and_answered_and_no_secret(acme: Project, app: Consumer) -> None:
    client = sign_in(project=acme, role=Role.VIEWER)
    listening = listen(acme, app, "/500", event_types=["payment.*"], description="<b>Shop</b>")
    record(acme, description="<script>alert(1)</script> whsec_abcdefgh12345678")
    deliver(acme)
    shown = text(client.get(url(WebhookEndpoint, "change", listening.endpoint.pk)))
    assert listening.endpoint.secret_masked in shown and "payment.*" in shown and "&lt;b&gt;Shop" in shown
    assert listening.secret[6:] not in shown and listening.endpoint.secret not in shown
    shown = text(client.get(url(WebhookDelivery, "change", listening.delivery().pk)))
    assert "It answered 500." in shown and "seen \ufffd 500" in shown
    assert "<script>alert" not in shown and "whsec_abcdefgh" not in shown
    page = url(WebhookDelivery, "changelist")
    assert f"{app.host}/500" in text(client.get(f"{page}?event_type=payment.succeeded"))
    assert f"{app.host}/500" not in text(client.get(f"{page}?event_type=payment.failed"))
    with CaptureQueriesContext(connection) as few:
        assert f"{app.host}/500" in text(client.get(page))
    for _ in range(8):
        record(acme)
    deliver(acme)
    with CaptureQueriesContext(connection) as many:
        client.get(page)
    assert len(many) == len(few)
    assert not any('"notifications_webhookdelivery"."log"' in query["sql"] for query in many.captured_queries)


def test_developers_see_their_own_and_strangers_nothing(acme: Project, other_project: Project, app: Consumer) -> None:
    mine, theirs = listen(acme, app), listen(other_project, app, "/theirs")
    client = sign_in(project=acme, role=Role.DEVELOPER)
    shown = text(client.get(url(WebhookEndpoint, "changelist")))
    assert str(mine.endpoint.pk) in shown and str(theirs.endpoint.pk) not in shown
    assert client.get(url(WebhookEndpoint, "change", theirs.endpoint.pk)).status_code == 302
    act(client, WebhookEndpoint, "switch_off", theirs.endpoint, confirmed="yes")
    theirs.endpoint.refresh_from_db()
    assert theirs.endpoint.disabled_at is None
    for page in ("add", "delete"):
        arguments = () if page == "add" else (mine.endpoint.pk,)
        assert client.get(url(WebhookEndpoint, page, *arguments)).status_code == 403


def test_endpoints_are_switched_and_webhooks_sent_again_after_a_confirmation_and_logged(
    acme: Project, app: Consumer
) -> None:
    client = sign_in(project=acme, role=Role.DEVELOPER)
    listening = listen(acme, app)
    record(acme)
    deliver(acme)
    delivery = listening.delivery()
    assert "1 webhook will be sent again" in text(act(client, WebhookDelivery, "replay_selected", delivery))
    assert listening.delivery().status == "delivered"
    assert act(client, WebhookDelivery, "replay_selected", delivery, confirmed="yes").status_code == 302
    assert deliver(acme) == 1 and len(app.seen) == 2
    assert "1 endpoint will be switched off" in text(act(client, WebhookEndpoint, "switch_off", listening.endpoint))
    act(client, WebhookEndpoint, "switch_off", listening.endpoint, confirmed="yes")
    act(client, WebhookDelivery, "replay_selected", delivery, confirmed="yes")
    assert listening.delivery().status == "delivered"
    act(client, WebhookEndpoint, "switch_on", listening.endpoint, confirmed="yes")
    logged = ActionLog.objects.for_project(acme).order_by("at").values_list("action", flat=True)
    assert list(logged) == ["webhook_delivery.replay", "webhook_endpoint.off", "webhook_endpoint.on"]


@pytest.mark.parametrize(("group", "may"), [("Support", False), ("Moderator", True)])
def test_support_reads_and_moderators_act(group: str, may: bool, acme: Project, app: Consumer) -> None:
    client = sign_in(group=group)
    listening = listen(acme, app)
    text(client.get(url(WebhookEndpoint, "change", listening.endpoint.pk)))
    act(client, WebhookEndpoint, "switch_off", listening.endpoint, confirmed="yes")
    listening.endpoint.refresh_from_db()
    assert (listening.endpoint.disabled_reason == "switched_off") is may
