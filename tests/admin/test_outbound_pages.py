"""The admin of the app's webhook endpoints: who sees and does what, that no secret is shown, and how many queries a list takes."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backoffice.webhook_pages import FOR_DEVELOPERS
from moderation.models import ActionLog
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services.outbound import send_test
from projects.models import Membership, Project, Role
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
    client = sign_in(project=acme, role=Role.DEVELOPER)
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


def test_an_endpoint_that_was_only_tested_says_so_and_tests_are_marked_in_the_list(
    acme: Project, app: Consumer
) -> None:
    client = sign_in(project=acme, role=Role.DEVELOPER)
    listening = listen(acme, app)
    page = url(WebhookEndpoint, "changelist")
    assert "Not used yet" in text(client.get(page))
    assert send_test(endpoint=listening.endpoint, event_type="payment.refunded").status == "delivered"
    assert "Only tested" in text(client.get(page))
    assert "Only tested" in text(client.get(url(WebhookEndpoint, "change", listening.endpoint.pk)))
    record(acme)
    deliver(acme)
    shown = text(client.get(page))
    assert "Works" in shown and "Only tested" not in shown
    assert text(client.get(url(WebhookDelivery, "changelist"))).count("(test)") == 1


def test_viewers_see_that_events_arrive_and_neither_the_path_of_an_address_nor_what_was_said(
    acme: Project, other_project: Project, app: Consumer
) -> None:
    client = sign_in(project=acme, role=Role.VIEWER)
    Membership.objects.create(project=other_project, user_id=client.session["_auth_user_id"], role=Role.DEVELOPER)
    mine, theirs = listen(acme, app, "/token-1?key=token-2"), listen(other_project, app, "/path-1")
    record(acme, description="Zoë's lamp")
    app.answers = ["500"]
    deliver(acme)
    pages = [
        url(WebhookEndpoint, "changelist"), url(WebhookEndpoint, "change", mine.endpoint.pk),
        url(WebhookDelivery, "changelist"), url(WebhookDelivery, "change", mine.delivery().pk),
    ]  # fmt: skip
    for page in pages:
        shown = text(client.get(page))
        assert f"{app.host}/..." in shown and "token-" not in shown
    assert "lamp" not in shown and "seen \ufffd" not in shown and shown.count(FOR_DEVELOPERS) == 2
    assert f"{app.host}/path-1" in text(client.get(pages[0]))
    assert str(theirs.endpoint.pk) not in text(client.get(f"{pages[0]}?q=path"))
    assert str(theirs.endpoint.pk) in text(sign_in(group="Support").get(f"{pages[0]}?q=path-1"))


def test_developers_see_their_own_and_strangers_nothing(acme: Project, other_project: Project, app: Consumer) -> None:
    mine, theirs = listen(acme, app), listen(other_project, app, "/theirs")
    client = sign_in(project=acme, role=Role.DEVELOPER)
    shown = text(client.get(url(WebhookEndpoint, "changelist")))
    assert str(mine.endpoint.pk) in shown and str(theirs.endpoint.pk) not in shown
    assert client.get(url(WebhookEndpoint, "change", theirs.endpoint.pk)).status_code == 302
    act(client, WebhookEndpoint, "switch_off", theirs.endpoint, confirmed="yes", reason="Asked")
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
    assert act(client, WebhookDelivery, "replay_selected", delivery, confirmed="yes", reason="Asked").status_code == 302
    assert deliver(acme) == 1 and len(app.seen) == 2
    assert "1 endpoint will be switched off" in text(act(client, WebhookEndpoint, "switch_off", listening.endpoint))
    act(client, WebhookEndpoint, "switch_off", listening.endpoint, confirmed="yes", reason="Asked")
    act(client, WebhookDelivery, "replay_selected", delivery, confirmed="yes", reason="Asked")
    assert listening.delivery().status == "delivered"
    act(client, WebhookEndpoint, "switch_on", listening.endpoint, confirmed="yes", reason="Asked")
    logged = ActionLog.objects.for_project(acme).order_by("at").values_list("action", flat=True)
    assert list(logged) == ["webhook_delivery.replay", "webhook_endpoint.off", "webhook_endpoint.on"]


@pytest.mark.parametrize(("group", "may"), [("Support", False), ("Moderator", True)])
def test_support_reads_and_moderators_act(group: str, may: bool, acme: Project, app: Consumer) -> None:
    client = sign_in(group=group)
    listening = listen(acme, app)
    text(client.get(url(WebhookEndpoint, "change", listening.endpoint.pk)))
    act(client, WebhookEndpoint, "switch_off", listening.endpoint, confirmed="yes", reason="Asked")
    listening.endpoint.refresh_from_db()
    assert (listening.endpoint.disabled_reason == "switched_off") is may
