"""The review queue: one item per cause, decided once, by whom and why in a log that nobody can change."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import User
from common.errors import FieldError
from moderation.models import ActionLog, ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import AlreadyDecided, decide_review_item, open_review_item
from notifications.models import OutboxRow
from notifications.services.running import replay_rows
from payments.models import Dispute
from projects.models import Membership, Project, Role
from tests.cast import Developer
from tests.payments.rows import create_dispute, create_end_user, create_payment
from tests.payments.shop import at_once


def open_item(project: Project, key: str = "", **more: Any) -> ReviewItem:
    key = key or uuid.uuid4().hex
    values = {"mode": "test", "kind": "dispute", "title": "A dispute", "subject": "du_1"} | more
    open_review_item(project_id=project.pk, cause_key=key, **values)
    return ReviewItem.objects.get(project=project, mode=values["mode"], cause_key=key)


def dead_row(project: Project) -> OutboxRow:
    return OutboxRow.objects.create(
        project=project, mode="test", kind="mail", effect_key=uuid.uuid4().hex, status="dead", error="Down.",
        payload={"context": {"client_secret": "CANARYclientsecret"}},
    )  # fmt: skip


def sign_in(*, project: Project | None = None, role: str = "", group: str = "", superuser: bool = False) -> Client:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    User.objects.filter(pk=user.pk).update(is_superuser=superuser)
    if project is not None:
        Membership.objects.create(project=project, user=user, role=role)
    if group:
        user.groups.add(Group.objects.get(name=group))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def page(model: Any, name: str = "changelist", *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=arguments)


def press(client: Client, row: Any, action: str, **more: str) -> Any:
    data = {"action": action, "_selected_action": [str(row.pk)]} | more
    return client.post(page(type(row)), data)


# Works


def test_a_cause_makes_one_item_per_project_and_mode_also_after_it_was_decided(
    acme: Project, other_project: Project, alice: Developer
) -> None:
    item = open_item(acme, "dispute:du_1")
    assert not open_review_item(project_id=acme.pk, mode="test", kind="dispute", cause_key="dispute:du_1", title="x")
    decide_review_item(item=item, status="dismissed", actor=alice.user, reason="Known.")
    assert not open_review_item(project_id=acme.pk, mode="test", kind="dispute", cause_key="dispute:du_1", title="x")
    open_item(acme, "dispute:du_1", mode="live")
    open_item(other_project, "dispute:du_1")
    assert ReviewItem.objects.filter(cause_key="dispute:du_1", project__in=[acme, other_project]).count() == 3


def test_a_decision_is_logged_with_who_and_why(acme: Project, alice: Developer) -> None:
    item = open_item(acme)
    decide_review_item(item=item, status="approved", actor=alice.user, reason="  Evidence sent.  ")
    item.refresh_from_db()
    assert (item.status, item.note, item.assigned_to) == ("approved", "Evidence sent.", alice.user)
    assert item.resolved_at is not None
    line = ActionLog.objects.for_project(acme).get()
    assert (line.action, line.subject, line.actor_label, line.reason) == (
        "review.approved", str(item.pk), alice.user.email, "Evidence sent.",
    )  # fmt: skip


# Refuses


def test_a_decision_without_a_reason_or_about_a_decided_item_changes_nothing(acme: Project, alice: Developer) -> None:
    item = open_item(acme)
    for reason in ("", "   ", "x" * 1001):
        with pytest.raises(FieldError):
            decide_review_item(item=item, status="approved", actor=alice.user, reason=reason)
    decide_review_item(item=item, status="approved", actor=alice.user, reason="Yes.")
    with pytest.raises(AlreadyDecided):
        decide_review_item(item=item, status="dismissed", actor=alice.user, reason="No.")
    item.refresh_from_db()
    assert (item.status, item.note, ActionLog.objects.for_project(acme).count()) == ("approved", "Yes.", 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE moderation_actionlog SET reason = 'another'",
        "DELETE FROM moderation_actionlog",
        "TRUNCATE moderation_actionlog",
        "TRUNCATE moderation_actionlog CASCADE",
    ],
)
def test_the_log_cannot_be_changed_by_any_statement(acme: Project, alice: Developer, statement: str) -> None:
    line = log_action(action="probe", subject="x", actor=alice.user, reason="because", project_id=acme.pk)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    for change in (line.delete, lambda: ActionLog.objects.filter(pk=line.pk).update(reason="another")):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            change()
    assert ActionLog.objects.get(pk=line.pk).reason == "because"


def test_the_log_outlives_the_project_and_the_person(charlie: Developer) -> None:
    project = Project.objects.create(name="Short", slug=f"p-{uuid.uuid4().hex[:16]}")
    email = charlie.user.email
    line = log_action(action="probe", subject="x", actor=charlie.user, project_id=project.pk, mode="test")
    open_item(project, end_user_id=create_end_user(project).pk)
    project_id, user_id = project.pk, charlie.user.pk
    project.delete()
    charlie.user.delete()
    kept = ActionLog.objects.get(pk=line.pk)
    assert (kept.project_id, kept.actor_id, kept.actor_label) == (project_id, user_id, email)
    html = sign_in(superuser=True).get(page(ActionLog, "change", line.pk)).content.decode()
    assert email in html and str(project_id) in html


# Race


def test_two_moderators_at_once_decide_once(acme: Project, alice: Developer) -> None:
    item = open_item(acme)

    def decide(number: int) -> str:
        try:
            status = "approved" if number % 2 else "dismissed"
            decide_review_item(item=item, status=status, actor=alice.user, reason=status)
        except AlreadyDecided:
            return ""
        return status

    won = [status for status in at_once(4, decide) if status]
    item.refresh_from_db()
    assert won == [item.status] and ActionLog.objects.for_project(acme).count() == 1


# The admin's pages


def test_a_moderator_and_a_developer_of_the_project_decide_with_a_reason(acme: Project) -> None:
    for client, status in (
        (sign_in(group="Moderator"), "approve"),
        (sign_in(project=acme, role=Role.DEVELOPER), "dismiss"),
    ):
        item = open_item(acme)
        asked = press(client, item, f"{status}_selected")
        assert asked.status_code == 200 and 'name="reason"' in asked.content.decode()
        assert "Say why" in press(client, item, f"{status}_selected", confirmed="yes", reason=" ").content.decode()
        item.refresh_from_db()
        assert item.status == "pending"
        assert "1 pending item will" in asked.content.decode()
        assert press(client, item, f"{status}_selected", confirmed="yes", reason="Because.").status_code == 302
        done = {"approve": "1 item approved.", "dismiss": "1 item dismissed."}[status]
        assert done in client.get(page(ReviewItem)).content.decode()
        item.refresh_from_db()
        assert (item.status, item.note) == ({"approve": "approved", "dismiss": "dismissed"}[status], "Because.")
    assert ActionLog.objects.for_project(acme).count() == 2


def test_an_items_page_says_what_the_answers_mean_and_leads_to_its_dispute(acme: Project) -> None:
    dispute = create_dispute(create_payment(acme))
    client = sign_in(project=acme, role=Role.DEVELOPER)
    found = open_item(acme, subject=dispute.stripe_dispute_id)
    html = client.get(page(ReviewItem, "change", found.pk)).content.decode()
    assert "Approve: the report is right" in html and page(Dispute, "change", dispute.pk) in html
    elsewhere = open_item(acme, mode="live", subject=dispute.stripe_dispute_id)
    other = client.get(page(ReviewItem, "change", elsewhere.pk))
    assert other.status_code == 200 and page(Dispute, "change", dispute.pk) not in other.content.decode()


def test_who_may_only_read_decides_and_replays_nothing(acme: Project, other_project: Project) -> None:
    item, row = open_item(acme), dead_row(acme)
    outsiders = [sign_in(project=other_project, role=Role.OWNER)]
    readers = [sign_in(group="Support"), sign_in(project=acme, role=Role.VIEWER)]
    for client in readers + outsiders:
        press(client, item, "approve_selected", confirmed="yes", reason="Because.")
        press(client, row, "replay_selected", confirmed="yes", reason="Mended.")
        assert client.post(page(ReviewItem, "change", item.pk), {"status": "approved"}).status_code in (302, 403)
        assert client.post(page(OutboxRow, "delete", row.pk), {"post": "yes"}).status_code in (302, 403)
    item.refresh_from_db()
    row.refresh_from_db()
    assert (item.status, row.status, ActionLog.objects.for_project(acme).count()) == ("pending", "dead", 0)


def test_dead_effects_are_replayed_once_and_logged(acme: Project) -> None:
    client, row = sign_in(project=acme, role=Role.DEVELOPER), dead_row(acme)
    assert press(client, row, "replay_selected").status_code == 200
    row.refresh_from_db()
    assert row.status == "dead"
    for _ in range(2):
        assert press(client, row, "replay_selected", confirmed="yes", reason="Mended.").status_code == 302
    row.refresh_from_db()
    assert (row.status, row.attempts, row.error) == ("pending", 0, "")
    line = ActionLog.objects.for_project(acme).get()
    assert (line.action, line.details["error"]) == ("outbox.replay", "Down.")
    assert replay_rows(OutboxRow.objects.for_project(acme)) == 0


def test_a_mails_page_that_acts_for_the_buyer_is_shown_as_its_host_only(acme: Project) -> None:
    row = dead_row(acme)
    link = "https://checkout.stripe.com/c/pay/cs_test_CANARYpage#fid"
    context = {"url": link, "reason": "expired", "plan_name": "Maker", "steps": [{"url": link}]}
    payload = {"template": "checkout_retry", "to": None, "context": context}
    OutboxRow.objects.filter(pk=row.pk).update(payload=payload, result={"url": link})
    for client in (sign_in(project=acme, role=Role.OWNER), sign_in(superuser=True)):
        shown = client.get(page(OutboxRow, "change", row.pk)).content.decode()
        assert "CANARY" not in shown and "Maker" in shown
        assert shown.count("https://checkout.stripe.com/[hidden]") == 3


@pytest.mark.parametrize("model", [ReviewItem, OutboxRow, ActionLog])
def test_a_developer_sees_their_own_projects_rows_only(acme: Project, other_project: Project, model: Any) -> None:
    Project.objects.filter(pk=other_project.pk).update(name="Somebody Elses Secret Name")

    def make(project: Project) -> Any:
        if model is ReviewItem:
            return open_item(project)
        if model is OutboxRow:
            return dead_row(project)
        return log_action(action="probe", subject="x", actor=None, project_id=project.pk)

    mine, theirs = make(acme), make(other_project)
    client = sign_in(project=acme, role=Role.VIEWER)
    for query in ("", "?q=probe", f"?of_project={other_project.pk}"):
        html = client.get(page(model) + query).content.decode()
        assert f"/{theirs.pk}/change/" not in html and "Somebody Elses Secret Name" not in html
    listing = client.get(page(model))
    assert listing.status_code == 200 and f"/{mine.pk}/change/" in listing.content.decode()
    shown = client.get(page(model, "change", mine.pk))
    assert shown.status_code == 200 and "CANARY" not in shown.content.decode()
    assert client.get(page(model, "change", theirs.pk)).status_code in (302, 403)
    for name in ("add",):
        assert client.get(page(model, name)).status_code == 403
    assert client.get(page(model) + "?project__memberships__user__password__startswith=a").status_code in (302, 400)
    staff = sign_in(superuser=True)
    html = staff.get(page(model) + (f"?of_project={acme.pk}" if model is not ActionLog else "")).content.decode()
    assert f"/{mine.pk}/change/" in html
    assert staff.post(page(model, "delete", mine.pk), {"post": "yes"}).status_code == 403
