"""Acting on review items: each deed with its right, its reason and its line in the log, one item or many, once."""

import datetime as dt
import re
import uuid
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from backoffice.review_pages import ACTED_MAX
from backoffice.services.review_rules import look_for_trouble
from backoffice.staff_pages import ROWS_MAX
from entitlements.services import ledger
from licenses.models import LicenseState
from moderation.models import ActionLog, ReviewItem, ReviewNote
from moderation.services.review import open_review_item
from notifications.models import OutboxRow
from notifications.services.running import carry_out_row
from payments.models import WebhookEvent
from projects.models import EndUser, Membership, Project, Role
from tests.licenses.licensing import license_in_hand
from tests.payments.rows import create_end_user, create_payment, create_subscription
from tests.payments.shop import at_once

QUEUE = "admin:moderation_reviewitem_changelist"


def open_item(project: Project, **more: Any) -> ReviewItem:
    key = uuid.uuid4().hex
    values: dict[str, Any] = {"mode": "test", "kind": "report", "title": "A report", "subject": "s"} | more
    open_review_item(project_id=project.pk, cause_key=key, **values)
    return ReviewItem.objects.get(project=project, cause_key=key)


def moderator(*rights: str) -> Client:
    """Sign somebody in who may decide, and has these rights besides."""
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    user.groups.add(Group.objects.get(name="Moderator"))
    for right in rights:
        user.user_permissions.add(Permission.objects.get(codename=right.partition(".")[2]))
    return signed_in(user)


def signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def member(project: Project, role: str) -> Client:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    Membership.objects.create(project=project, user=user, role=role)
    return signed_in(user)


def press(client: Client, item: ReviewItem, **form: str) -> Any:
    return client.post(f"/admin/moderation/reviewitem/{item.pk}/act/", {"reason": "Because."} | form)


def named_on(page: Any) -> dict[str, str]:
    """Read what the page that asks says it would be done to, as its form says it again."""
    return dict(re.findall(r'name="(named_[^"]+)" value="([^"]+)"', page.content.decode()))


def act(client: Client, item: ReviewItem, **form: str) -> Any:
    """Fill the form in; what is confirmed was asked for before."""
    if "confirmed" in form:
        form |= named_on(press(client, item, **{name: form[name] for name in form if name != "confirmed"}))
    return press(client, item, **form)


def act_on_all(client: Client, items: list[ReviewItem], **form: str) -> Any:
    data = {"action": "act_selected", "_selected_action": [str(item.pk) for item in items], "reason": "Because."} | form
    return client.post(reverse(QUEUE), data)


def status_of(item: ReviewItem) -> str:
    item.refresh_from_db()
    return item.status


# Works


def test_each_deed_asks_first_then_is_done_logged_and_decides_the_item(acme: Project) -> None:
    client = moderator()
    user = create_end_user(acme, email="erin@example.com")
    warned, banned = open_item(acme, end_user_id=user.pk), open_item(acme, end_user_id=user.pk)
    license = license_in_hand(acme)
    revoked = open_item(acme, kind="stuck_license", subject=str(license.pk))
    payment = create_payment(acme)
    refunded = open_item(acme, kind="fraud_warning", details={"payment_intent_id": payment.payment_intent_id})
    dead = OutboxRow.objects.create(project=acme, mode="test", kind="mail", effect_key=uuid.uuid4().hex, status="dead")
    event = WebhookEvent.objects.create(project=acme, mode="test", event_id=f"evt_{uuid.uuid4().hex}", status="dead")
    effect_item, event_item = (
        open_item(acme, kind="dead_letter", subject=one) for one in (str(dead.pk), event.event_id)
    )
    asked: list[tuple[ReviewItem, dict[str, str]]] = [
        (warned, {"deed": "warn", "message": "Please stop."}), (banned, {"deed": "ban"}), (revoked, {"deed": "revoke"}),
        (refunded, {"deed": "refund"}), (effect_item, {"deed": "replay"}), (event_item, {"deed": "replay"}),
    ]  # fmt: skip
    for item, form in asked:
        assert b"Yes, do it" in act(client, item, **form).content
        assert status_of(item) == "pending" and not ActionLog.objects.filter(subject=str(item.pk)).exists()
        assert act(client, item, **form, confirmed="yes").status_code == 302
        assert status_of(item) == "approved" and item.note.endswith("Because.")
    mail = OutboxRow.objects.get(project=acme, effect_key=f"mail:warning:{warned.pk}")
    assert mail.payload["context"] == {"message": "Please stop."} and mail.end_user == user
    for row in (user, license, dead, event):
        row.refresh_from_db()
    assert (user.is_active, license.state, dead.status, event.status) == (
        False, LicenseState.REVOKED, "pending", "pending",
    )  # fmt: skip
    refund = OutboxRow.objects.get(project=acme, kind="stripe_refund")
    assert (refund.payload["amount_cents"], refund.payload["access"]) == (1000, "revoke")
    actions = ActionLog.objects.for_project(acme).exclude(action__startswith="review.")
    assert {line.action for line in actions} >= {
        "end_user.warn", "end_user.ban", "license.revoke", "payment.refund", "outbox.replay", "webhook_event.replay",
    }  # fmt: skip
    assert all(line.actor is not None for line in ActionLog.objects.for_project(acme))
    assert ActionLog.objects.for_project(acme).filter(action="review.approved").count() == 6


def test_a_subscription_is_named_and_ended_from_the_queue(acme: Project, other_project: Project) -> None:
    client, payer = moderator(), create_end_user(acme, external_id="payer")
    running = create_subscription(acme, end_user=payer)
    payment = create_payment(acme, end_user=payer, subscription=running)
    theirs = create_subscription(other_project)
    about_payment = open_item(acme, kind="fraud_warning", details={"payment_intent_id": payment.payment_intent_id})
    about_user = open_item(acme, end_user_id=payer.pk)
    reporter = {"reported_by": {"kind": "end_user", "id": str(create_end_user(acme).pk)}}
    typed = [
        open_item(acme, subject=one.stripe_subscription_id, details=reporter | {"reference": payment.payment_intent_id})
        for one in (running, theirs)
    ]
    ended = {"deed": "revoke_subscription"}
    # What somebody typed into a report names nobody's subscription.
    for item in typed:
        assert act(client, item, **ended, confirmed="yes").status_code == 200 and status_of(item) == "pending"
    for item in (about_payment, about_user):
        asked = act(client, item, **ended).content.decode()
        assert running.stripe_subscription_id in asked and "payer" in asked and "Nothing is paid back." in asked
        assert not OutboxRow.objects.filter(project=acme, kind="stripe_staff_change").exists()
    support = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    support.groups.add(Group.objects.get(name="Support"))
    assert act(signed_in(support), about_payment, **ended, confirmed="yes").status_code == 403
    assert status_of(about_payment) == "pending"
    assert act(client, about_payment, **ended, confirmed="yes").status_code == 302
    (row,) = OutboxRow.objects.filter(project=acme, kind="stripe_staff_change")
    assert (row.payload["change"], row.payload["subscription_id"]) == ("cancel_now", running.stripe_subscription_id)
    line = ActionLog.objects.for_project(acme).get(action="subscription.cancel")
    assert (line.subject, line.reason, status_of(about_payment)) == (
        row.payload["subscription_id"],
        "Because.",
        "approved",
    )
    # Once it has ended nothing is left to end.
    type(running).objects.filter(pk=running.pk).update(status="canceled")
    assert act(client, about_user, **ended, confirmed="yes").status_code == 200 and status_of(about_user) == "pending"


def test_items_are_assigned_noted_and_acted_on_in_bulk(acme: Project) -> None:
    client, other = moderator(), moderator()
    items = [open_item(acme, end_user_id=create_end_user(acme).pk) for _ in range(3)]
    taken = client.post(
        reverse(QUEUE), {"action": "take_selected", "_selected_action": [str(one.pk) for one in items[:2]]}
    )
    assert taken.status_code == 302
    me = User.objects.get(pk=client.session["_auth_user_id"])
    them = User.objects.get(pk=other.session["_auth_user_id"])
    assert ReviewItem.objects.filter(assigned_to=me).count() == 2
    act(client, items[0], deed="assign", assignee=str(them.pk), reason="Knows the case.", confirmed="yes")
    act(client, items[0], deed="note", reason="<b>Called</b> the user.", confirmed="yes")
    items[0].refresh_from_db()
    assert (items[0].status, items[0].assigned_to) == ("pending", them)
    assert ReviewNote.objects.get(item=items[0]).author_label == me.email
    shown = client.get(reverse("admin:moderation_reviewitem_change", args=[items[0].pk])).content.decode()
    assert "&lt;b&gt;Called&lt;/b&gt; the user." in shown and "<b>Called</b>" not in shown
    assert b"Ban the user" in act_on_all(client, items).content
    assert EndUser.objects.for_project(acme).filter(is_active=False).count() == 0
    act_on_all(client, items, deed="ban", confirmed="yes")
    assert EndUser.objects.for_project(acme).filter(is_active=False).count() == 3
    assert [status_of(item) for item in items] == ["approved"] * 3


def test_a_refund_names_payment_payer_and_amount_before_it_is_meant(acme: Project) -> None:
    client, user = moderator(), create_end_user(acme, external_id="user-of-the-payment")
    subscription = create_subscription(acme, end_user=user)
    payment = create_payment(acme, end_user=user, subscription=subscription, amount_cents=1200)
    item = open_item(acme, kind="fraud_warning", details={"payment_intent_id": payment.payment_intent_id})
    page = act(client, item, deed="refund").content.decode()
    assert (
        f"12.00 USD of {payment.payment_intent_id}, paid by user-of-the-payment. Its subscription goes on billing"
        in page
    )
    assert "goes on billing" not in act(client, item, deed="dismiss").content.decode()


def test_a_thousand_rows_are_confirmed_at_once(acme: Project) -> None:
    item, client = open_item(acme), moderator()
    form = {"action": "dismiss_selected", "confirmed": "yes", "reason": "Tests.", "select_across": "0", "index": "0"}
    chosen = [str(item.pk), *(str(uuid.uuid4()) for _ in range(ROWS_MAX - 1))]
    assert client.post(reverse(QUEUE), form | {"_selected_action": chosen}).status_code == 302
    assert status_of(item) == "dismissed"


# Refuses


def test_a_report_reaches_no_payment_of_somebody_else(acme: Project) -> None:
    client = moderator()
    victim, reporter = create_end_user(acme), create_end_user(acme)
    payment = create_payment(acme, end_user=victim)
    license = license_in_hand(acme)
    type(license).objects.filter(pk=license.pk).update(payment_intent_id=payment.payment_intent_id)
    intent = payment.payment_intent_id
    typed = {"reference": intent, "reported_by": {"kind": "end_user", "id": str(reporter.pk)}}
    item = open_item(acme, subject=intent, details=typed)
    for deed in ("refund", "revoke"):
        assert "not one of the available choices" in act(client, item, deed=deed, confirmed="yes").content.decode()
    assert status_of(item) == "pending"
    # Their own payment, one of whom the report is about, and what the app's server names are to be acted on.
    own = open_item(acme, subject=intent, details=typed | {"reported_by": {"kind": "end_user", "id": str(victim.pk)}})
    about = open_item(acme, subject=intent, details=typed, end_user_id=victim.pk)
    server = open_item(acme, subject=intent, details=typed | {"reported_by": {"kind": "server"}})
    for good in (own, about, server):
        assert intent in act(client, good, deed="refund").content.decode()
    assert not OutboxRow.objects.for_project(acme).filter(kind="stripe_refund").exists()


def test_nothing_is_done_without_the_right_a_reason_or_something_to_do_it_to(
    acme: Project, other_project: Project
) -> None:
    user = create_end_user(acme, email="erin@example.com")
    item = open_item(acme, end_user_id=user.pk, details={"payment_intent_id": create_payment(acme).payment_intent_id})
    support = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    support.groups.add(Group.objects.get(name="Support"))
    # To whom does not work in the project there is no such item.
    refused = {signed_in(support): 403, member(acme, Role.VIEWER): 403, member(other_project, Role.OWNER): 302}
    for client, status in refused.items():
        assert act(client, item, deed="ban", confirmed="yes").status_code == status
        act_on_all(client, [item], deed="ban", confirmed="yes")
    developer, staff = member(acme, Role.DEVELOPER), moderator()
    # Money goes back by staff alone.
    assert b"Refund the payment" not in developer.get(f"/admin/moderation/reviewitem/{item.pk}/act/").content
    act(developer, item, deed="refund", confirmed="yes")
    act(staff, item, deed="ban", reason=" ", confirmed="yes")
    act(staff, item, deed="warn", message="", confirmed="yes")
    act(staff, item, deed="revoke", confirmed="yes")
    staff.get(f"/admin/moderation/reviewitem/{item.pk}/act/?deed=ban&confirmed=yes&reason=x")
    user.refresh_from_db()
    assert user.is_active and status_of(item) == "pending"
    assert not OutboxRow.objects.for_project(acme).exists() and not ActionLog.objects.for_project(acme).exists()


def test_nothing_is_done_to_what_was_not_named(acme: Project) -> None:
    client, user = moderator(), create_end_user(acme)
    payment = create_payment(acme, end_user=user, amount_cents=1200)
    about = {"payment_intent_id": payment.payment_intent_id}
    refunded, ended = open_item(acme, kind="fraud_warning", details=about), open_item(acme, end_user_id=user.pk)
    revoked = open_item(acme, kind="fraud_warning", details=about)
    first, second = (license_in_hand(acme) for _ in range(2))
    licenses = type(first).objects
    licenses.filter(pk=first.pk).update(payment_intent_id=payment.payment_intent_id)
    create_subscription(acme, end_user=user, status="past_due")
    cases = ((refunded, "refund"), (revoked, "revoke"), (ended, "revoke_subscription"))
    named = {deed: named_on(press(client, item, deed=deed)) for item, deed in cases}
    assert named["refund"] == {f"named_{refunded.pk}": f"{payment.payment_intent_id} 1200 usd"}
    # Part of it went back, another licence stands for the payment, and the user has subscribed anew.
    type(payment).objects.filter(pk=payment.pk).update(refunded_amount_cents=200)
    licenses.filter(pk=first.pk).update(payment_intent_id="pi_of_another")
    licenses.filter(pk=second.pk).update(payment_intent_id=payment.payment_intent_id)
    newer = create_subscription(acme, end_user=user)
    for item, deed in cases:
        for said in (named[deed], {}):
            answer = press(client, item, deed=deed, confirmed="yes", **said)
            assert answer.status_code == 302 and "look again" in str(client.get(answer["Location"]).content)
            assert status_of(item) == "pending"
    assert not OutboxRow.objects.for_project(acme).exists() and not ActionLog.objects.for_project(acme).exists()
    assert not licenses.filter(pk__in=[first.pk, second.pk], state=LicenseState.REVOKED).exists()
    for item, deed in cases:
        assert act(client, item, deed=deed, confirmed="yes").status_code == 302 and status_of(item) == "approved"
    asked = {row.kind: row.payload for row in OutboxRow.objects.for_project(acme).filter(kind__startswith="stripe_")}
    assert asked["stripe_refund"]["amount_cents"] == 1000
    assert asked["stripe_staff_change"]["subscription_id"] == newer.stripe_subscription_id
    assert licenses.get(pk=second.pk).state == LicenseState.REVOKED


def test_a_page_of_many_items_reads_what_they_are_about_together_and_takes_so_many(acme: Project) -> None:
    client, items = moderator(), []
    for _ in range(8):
        payment = create_payment(acme, end_user=create_end_user(acme))
        items += [
            open_item(acme, kind="fraud_warning", details={"payment_intent_id": payment.payment_intent_id}),
            open_item(acme, end_user_id=create_subscription(acme, end_user=create_end_user(acme)).end_user_id),
        ]

    def queries(chosen: list[ReviewItem], **form: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            page = act_on_all(client, chosen, **form)
        assert page.status_code == 200 and b"review item" in page.content
        return len(asked)

    for form in ({}, {"deed": "revoke_subscription"}):
        queries(items[:2], **form)
        assert queries(items, **form) == queries(items[:2], **form)
    ReviewItem.objects.bulk_create(
        ReviewItem(project=acme, mode="test", kind="report", title="Spam", cause_key=uuid.uuid4().hex)
        for _ in range(ACTED_MAX)
    )
    everything = list(ReviewItem.objects.for_project(acme))
    asked = act_on_all(client, everything).content.decode()
    assert f"Act on {ACTED_MAX} review items" in asked and f"These are the {ACTED_MAX} oldest" in asked
    assert "oldest of what you chose" not in act_on_all(client, everything[:2]).content.decode()
    assert act_on_all(client, everything, deed="dismiss", confirmed="yes").status_code == 302
    assert ReviewItem.objects.for_project(acme).filter(status="dismissed").count() == ACTED_MAX


# Race


def test_of_two_who_act_at_once_one_does(acme: Project) -> None:
    item, payment = open_item(acme, kind="fraud_warning"), create_payment(acme)
    ReviewItem.objects.filter(pk=item.pk).update(details={"payment_intent_id": payment.payment_intent_id})
    clients = [moderator() for _ in range(3)]
    named = named_on(press(clients[0], item, deed="refund"))
    at_once(3, lambda number: press(clients[number], item, deed="refund", confirmed="yes", **named))
    assert OutboxRow.objects.for_project(acme).filter(kind="stripe_refund").count() == 1
    assert ActionLog.objects.for_project(acme).filter(action="review.approved").count() == 1


# The rules


def test_rules_open_one_item_about_each_subject_and_again_only_after_a_day(acme: Project) -> None:
    tester, payer = create_end_user(acme), create_end_user(acme)
    for number in range(6):
        create_payment(acme, end_user=tester, status="failed")
        if number < 4:
            create_payment(acme, end_user=payer, status="failed")
    spender = create_end_user(acme)
    whose: Any = {"project_id": acme.pk, "mode": "test", "end_user_id": spender.pk}
    ledger.grant_credits(**whose, bucket="bonus", amount=10_000, key=f"test:{uuid.uuid4()}")
    ledger.spend_credits(**whose, amount=6000, key=f"test:{uuid.uuid4()}", actor=ledger.END_USER)
    event = WebhookEvent.objects.create(
        project=acme, mode="test", event_id=f"evt_{uuid.uuid4().hex}", type="invoice.paid", status="dead", error="Odd.",
        failed_at=timezone.now(),
    )  # fmt: skip
    assert at_once(3, lambda _: look_for_trouble())
    found = ReviewItem.objects.for_project(acme).order_by("kind")
    assert [(item.kind, item.subject) for item in found] == [
        ("dead_letter", event.event_id), ("failed_payments", str(tester.pk)), ("odd_credit_use", str(spender.pk)),
    ]  # fmt: skip
    assert found[1].end_user == tester and found[1].details["failed_payments"] == 6
    # Decided, and found again within the day: nothing new. An event that dies again is new.
    found.update(status="dismissed")
    WebhookEvent.objects.filter(pk=event.pk).update(failed_at=timezone.now() + dt.timedelta(seconds=1))
    look_for_trouble()
    assert sorted(found.filter(status="pending").values_list("kind", flat=True)) == ["dead_letter"]


def test_a_warning_is_mailed_to_the_user(acme: Project, mailoutbox: Any) -> None:
    user = create_end_user(acme, email="erin@example.com")
    item = open_item(acme, end_user_id=user.pk)
    act(moderator(), item, deed="warn", message="Please <stop>\nnow.", confirmed="yes")
    row = OutboxRow.objects.get(effect_key=f"mail:warning:{item.pk}")
    OutboxRow.objects.filter(pk=row.pk).update(
        status="processing", lease_token=uuid.uuid4(), lease_until=timezone.now() + dt.timedelta(minutes=1)
    )
    row.refresh_from_db()
    carry_out_row(row)
    (mail,) = mailoutbox
    assert mail.to == ["erin@example.com"] and "Please <stop> now." in mail.body
    assert "Please &lt;stop&gt; now." in mail.alternatives[0][0]
