"""Search, the end user's page, the preview, the event's and the project's page: what is on them, and for whom."""

import datetime as dt
import re
import uuid
from html import unescape
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from backoffice.services.search import Search
from backoffice.services.support_case import EVENTS_SHOWN, read_case
from entitlements.services.credit_adjustments import adjust_credits
from licenses.models import License
from notifications.models import OutboxRow
from payments.models import StripeCredentials, StripeCustomer, Subscription, WebhookEvent
from projects.models import EndUser, Role
from tests.admin.desk import Desk, make_desk
from tests.admin.test_payments_pages import sign_in
from tests.payments.rows import create_end_user, create_invoice, create_payment, create_subscription, stripe_id

USER_QUERIES_MAX = 32
SEARCH_QUERIES_MAX = 15


@pytest.fixture(scope="module")
def desks(django_db_setup: None, django_db_blocker: Any) -> tuple[Desk, Desk]:
    """Two projects of two owners, in which the same has happened."""
    with django_db_blocker.unblock():
        return make_desk("Acme"), make_desk("Other")


def search(client: Client, text: str) -> Any:
    return client.get("/admin/search/", {"q": text})


def user_page(desk: Desk, mode: str = "test") -> str:
    return reverse("backoffice:end-user-in-mode", args=[desk.user.pk, mode])


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return unescape(answer.content.decode())


def test_everything_that_support_is_told_leads_to_the_right_row(desks: tuple[Desk, Desk]) -> None:
    ours, _ = desks
    client = sign_in(group="Support")
    page = reverse("backoffice:end-user", args=[ours.user.pk])
    # One hit is opened at once.
    for told in (ours.user.external_id, ours.user.external_id.upper(), str(ours.user.pk), ours.email):
        found = search(client, told)
        assert (found.status_code, found.get("Location")) == (302, page), told
    assert client.get(page)["Location"] == user_page(ours)
    assert client.get(page + "?mode=live")["Location"] == user_page(ours, "live")
    assert client.get("/admin/search/", {"q": ours.email, "mode": "live"})["Location"] == page + "?mode=live"
    event = search(client, ours.dead.event_id)
    assert event["Location"] == reverse("backoffice:event", args=[ours.dead.pk])
    for told in (
        ours.customer_id, ours.subscription.stripe_subscription_id, ours.payment.payment_intent_id,
        ours.license.username, f"@{ours.license.username}", ours.license.stripe_session_id,
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as asked:
            shown = text(search(client, str(told)))
        assert len(asked) <= SEARCH_QUERIES_MAX
        assert user_page(ours) in shown or page in shown, told
    assert "Type at least two characters" in text(search(client, "d"))
    for odd in ("%", "%%%", "sub_x", "' OR 1=1 --", "\x00\x00", "a" * 400, "evt_<script>"):
        assert "<script>" not in search(client, odd).content.decode()


def test_the_menus_field_finds_pages_and_people_and_leads_to_the_whole_search(desks: tuple[Desk, Desk]) -> None:
    ours, other = desks
    client = sign_in(group="Support")
    path = reverse("backoffice:search")
    # The theme asks the address of that name, which is this page's, too: it must answer a list and no whole page.
    html = text(client.get("/admin/"))
    assert f'hx-get="{path}?menu=1"' in html and 'action="/admin/search/"' in html and reverse("admin:search") == path
    shown = text(client.get(path, {"menu": "1", "q": ours.email}))
    assert (
        "<html" not in shown
        and reverse("backoffice:end-user", args=[ours.user.pk]) in shown
        and "/admin/search/?q=" in shown
    )
    assert reverse("admin:payments_dispute_changelist") in text(client.get(path, {"menu": "1", "q": "disput"}))
    assert text(client.get(path, {"menu": "1", "q": " "})).strip() == ""
    developer = sign_in(project=ours.project, role=Role.DEVELOPER)
    assert str(other.user.pk) not in text(developer.get(path, {"menu": "1", "q": other.email}))
    assert "/admin/accounts/" not in text(developer.get(path, {"menu": "1", "q": "user"}))


def test_what_staff_did_is_there_whatever_it_was_done_to_and_events_are_the_newest(desks: tuple[Desk, Desk]) -> None:
    ours, _ = desks
    user = create_end_user(ours.project)
    whose: dict[str, Any] = {"project_id": ours.project.pk, "mode": "test"}
    boss = User.objects.create_user(f"{stripe_id('b')}@example.com", "x" * 12, is_superuser=True)
    adjust_credits(**whose, end_user_id=user.pk, amount=5, reason="Sorry for that.", actor=boss, key=stripe_id("k"))
    customer = stripe_id("cus")
    StripeCustomer.objects.create(id=uuid.uuid4(), **whose, stripe_customer_id=customer, end_user=user)
    for number in range(EVENTS_SHOWN + 5):
        WebhookEvent.objects.create(
            **whose, event_id=f"{stripe_id('evt')}-{number}", type="customer.updated", object_id=customer, root=customer,
            status="dead" if number == 0 else "pending", received_at=timezone.now() + dt.timedelta(seconds=number),
        )  # fmt: skip
    case = read_case(end_user=EndUser.objects.select_related("project").get(pk=user.pk), mode="test")
    assert [line.reason for line in case.log] == ["Sorry for that."]
    numbers = [int(row.event_id.partition("-")[2]) for row in case.events]
    assert numbers == [0, *range(EVENTS_SHOWN + 4, 5, -1)]


def test_names_are_searched_through_indexes_however_many_there_are(desks: tuple[Desk, Desk]) -> None:
    found = Search(desks[0].email, lambda model: model._default_manager.all(), [desks[0].project.pk])
    with CaptureQueriesContext(connection) as asked:
        assert [one.model for one in found.run()] == [EndUser, License, StripeCustomer]
    used = {"projects_enduser": "end_user_email_begins", "licenses_license": "license_email_begins",
            "payments_stripecustomer": "stripe_customer_email_begins"}  # fmt: skip
    for table, index in used.items():
        (read,) = [query["sql"] for query in asked.captured_queries if f'FROM "{table}"' in query["sql"]]
        with transaction.atomic(), connection.cursor() as cursor:
            # Few rows are read faster as a whole: what is asked is whether the index could be used at all.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {read}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert index in plan and "Seq Scan" not in plan.split("projects_project")[0], plan


def test_a_developer_finds_and_opens_nothing_of_another_project(desks: tuple[Desk, Desk]) -> None:
    ours, theirs = desks
    client = sign_in(project=ours.project, role=Role.VIEWER)
    for told in (
        theirs.email, theirs.user.external_id, theirs.customer_id, theirs.subscription.stripe_subscription_id,
        theirs.payment.payment_intent_id, theirs.license.username, theirs.dead.event_id, str(theirs.user.pk),
        str(theirs.project.pk), theirs.project.slug,
    ):  # fmt: skip
        assert "Nothing of yours matches" in text(search(client, str(told))), told
    nobody = sign_in()
    event = reverse("backoffice:event", args=[theirs.dead.pk])
    project = reverse("backoffice:project", args=[theirs.project.pk])
    roll = reverse("backoffice:roll-secret", args=[theirs.project.pk, "test"])
    for address in (user_page(theirs), f"{user_page(theirs)}preview/", event, project, roll):
        assert client.get(address).status_code == 404, address
        assert nobody.get(address).status_code == 404, address
        assert Client().get(address).status_code == 302, address
    assert client.post(roll, {"confirmed": "yes", "reason": "x"}).status_code == 404


def test_one_screen_answers_a_call_in_a_bounded_number_of_statements(desks: tuple[Desk, Desk]) -> None:
    ours, _ = desks
    client = sign_in(project=ours.project, role=Role.DEVELOPER)
    shown = text(client.get(user_page(ours)))
    for expected in (
        ours.user.external_id, ours.email, ours.customer_id, "Maker", "70 can be spent", "status: trialing → active",
        "24.00 USD", "4.00 USD", "card_declined", "Pro for good", ours.license.username, "Mail: receipt", "Disputed",
        "customer.subscription.updated was given up: It broke.", "Read everything from Stripe", "Send again",
    ):  # fmt: skip
        assert str(expected) in shown, expected
    with CaptureQueriesContext(connection) as few:
        client.get(user_page(ours))
    for _ in range(12):
        payment = create_payment(ours.project, mode="test", end_user=ours.user)
        create_subscription(ours.project, end_user=ours.user, status="canceled", ended_at=timezone.now())
        create_invoice(ours.project, end_user=ours.user)
        OutboxRow.objects.create(
            project=ours.project, mode="test", kind="mail", effect_key=f"mail:x:{payment.pk}", end_user=ours.user
        )
    with CaptureQueriesContext(connection) as many:
        client.get(user_page(ours))
    assert len(many) <= max(len(few), USER_QUERIES_MAX) and len(many) <= len(few) + 1, (len(few), len(many))
    # The other mode is empty, and says where they are.
    assert "They have a subscription in test mode" in text(client.get(user_page(ours, "live")))


def test_who_only_reads_is_offered_nothing_that_they_may_not_do(desks: tuple[Desk, Desk]) -> None:
    _, theirs = desks
    viewer = text(sign_in(project=theirs.project, role=Role.VIEWER).get(user_page(theirs)))
    support = text(sign_in(group="Support").get(user_page(theirs)))
    moderator = text(sign_in(group="Moderator").get(user_page(theirs)))
    refund = reverse("admin:payments_transaction_refund", args=[theirs.payment.pk])
    sync = reverse("backoffice:sync-user", args=[theirs.user.pk, "test"])
    assert [refund in page for page in (viewer, support, moderator)] == [False, False, True]
    assert [sync in page for page in (viewer, support, moderator)] == [False, True, True]
    assert ["replay_selected" in page for page in (viewer, support, moderator)] == [False, False, True]
    assert ["resend_selected" in page for page in (viewer, support, moderator)] == [False, True, True]
    # A developer hands out what is kept; erasing is the owner's.
    developer, owner = (
        text(sign_in(project=theirs.project, role=role).get(user_page(theirs))) for role in (Role.DEVELOPER, Role.OWNER)
    )
    hand_out, erase = (
        reverse(f"backoffice:{name}", args=[theirs.user.pk]) for name in ("personal-data", "anonymise-user")
    )
    assert [hand_out in page for page in (moderator, developer, owner)] == [False, True, True]
    assert [erase in page for page in (moderator, developer, owner)] == [False, False, True]


CAUSES: list[tuple[dict[str, Any], str]] = [
    ({"status": "past_due", "past_due_since": "2026-01-01T00:00:00Z"}, "The last payment failed"),
    ({"status": "canceled", "cancellation_reason": "cancellation_requested"}, "The subscription ended"),
    ({"status": "incomplete"}, "The first payment never went through"),
    ({"access_revoked_at": "2026-01-01T00:00:00Z", "access_revoked_by": "re_1"}, "Access was taken away on 2026-01-01 by re_1"),
    ({"plan": None, "stripe_price_id": "price_odd"}, "They pay the price price_odd, which no plan"),
]  # fmt: skip


def test_the_page_says_why_somebody_has_no_access() -> None:
    desk = make_desk("Causes")
    client = sign_in(superuser=True)
    rows = Subscription.objects.filter(pk=desk.subscription.pk)
    before = {name: getattr(desk.subscription, name) for changes, _ in CAUSES for name in changes}
    for changes, said in CAUSES:
        rows.update(**(before | changes))
        assert said in text(client.get(user_page(desk))), said
    rows.update(**before)
    WebhookEvent.objects.filter(project=desk.project).delete()
    assert "What stands out" not in text(client.get(user_page(desk)))
    rows.delete()
    assert "Stripe knows them, and no subscription of theirs is here" in text(client.get(user_page(desk)))
    namesake = create_end_user(desk.project, email=desk.email.upper())
    shown = text(client.get(user_page(desk)))
    assert f"another user of the app, {namesake.external_id}" in shown
    EndUser.objects.filter(pk=desk.user.pk).update(banned_at=timezone.now(), is_active=False)
    assert "The user is banned" in text(client.get(user_page(desk)))
    StripeCredentials.objects.filter(project=desk.project).delete()
    assert "has no test keys" in text(client.get(user_page(desk)))


def test_the_preview_is_what_the_user_is_answered_and_cannot_write(desks: tuple[Desk, Desk]) -> None:
    ours, _ = desks
    shown = text(sign_in(group="Support").get(f"{user_page(ours)}preview/"))
    assert ours.subscription.stripe_subscription_id in shown and '"available": 70' in shown
    for words in ("Maker: active, renews ", "70 can be spent", "70 bonus"):
        assert words in shown, words
    # What the tests before have paid comes first.
    assert re.search(r"Newest payments</h2><ul><li>[0-9 :-]{16} UTC: [0-9]+\.00 USD, (succeeded|failed) – pi_", shown)
    with CaptureQueriesContext(connection) as asked:
        live = text(sign_in(group="Support").get(f"{user_page(ours, 'live')}preview/"))
    assert live.count("refused") == 2 and "stripe_not_configured" in live
    assert any(query["sql"] == "SET TRANSACTION READ ONLY" for query in asked.captured_queries)
    for path in (user_page(ours), f"{user_page(ours)}preview/"):
        assert sign_in(superuser=True).post(path).status_code == 405


def test_an_events_page_tells_its_story(desks: tuple[Desk, Desk]) -> None:
    ours, _ = desks
    client = sign_in(project=ours.project, role=Role.DEVELOPER)
    dead = text(client.get(reverse("backoffice:event", args=[ours.dead.pk])))
    assert "It broke. 8 attempts so far. It was given up." in dead and "pi_1_secret_2" not in dead
    assert user_page(ours) in dead and 'value="replay_selected"' in dead
    handled = text(client.get(reverse("backoffice:event", args=[ours.handled.pk])))
    titles = re.findall(r"<strong>(?:<a [^>]+>)?([^<]+)", handled.split("What happened")[1])
    assert titles[0] == "Received" and set(titles[1:4]) == {"Subscription: status", "Effect: mail", "Handled"}
    assert ours.mail.effect_key in handled and 'value="replay_selected"' not in handled
    found = reverse("backoffice:event", args=[ours.dead.pk])
    assert found in handled, "the other event of the same object"
    support = text(sign_in(group="Support").get(found))
    assert 'value="replay_selected"' not in support


def test_a_name_with_markup_is_text_everywhere(desks: tuple[Desk, Desk]) -> None:
    ours, _ = desks
    evil = "<img src=x onerror=alert(1)>"
    user = create_end_user(ours.project, external_id=f"{evil}{stripe_id('x')}")
    ours.dead.__class__.objects.filter(pk=ours.dead.pk).update(error=evil)
    client = sign_in(superuser=True)
    for address in (
        reverse("backoffice:end-user-in-mode", args=[user.pk, "test"]), reverse("backoffice:event", args=[ours.dead.pk]),
        reverse("backoffice:project", args=[ours.project.pk]), f"/admin/search/?q={evil}", user_page(ours),
    ):  # fmt: skip
        assert evil not in client.get(address).content.decode(), address
