"""The admin of billing policies and of subscriptions' history."""

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from moderation.models import ActionLog
from payments.models import BillingPolicy, SubscriptionChange
from projects.models import Membership, Project, Role
from tests.payments.actors import create_project
from tests.payments.rows import create_subscription

FORM: dict[str, Any] = {
    "entitled_statuses": ["active", "incomplete"],
    "grace_hours": "24",
    "full_refund_revokes": "on",
    "dispute_revokes": "opened",
    "billing_address_collection": "on",
}


def sign_in(project: Project, role: str) -> tuple[Client, User]:
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "x" * 12, is_staff=True)
    Membership.objects.create(project=project, user=user, role=role)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client, user


def change_page(policy: BillingPolicy) -> str:
    return reverse("admin:payments_billingpolicy_change", args=[policy.pk])


# Works


def test_a_developer_sets_the_policy_of_their_project_and_the_log_says_so() -> None:
    project = create_project()
    client, user = sign_in(project, Role.DEVELOPER)
    added = client.post(reverse("admin:payments_billingpolicy_add"), FORM | {"project": str(project.pk)})
    assert added.status_code == 302, added.content.decode()[:2000]
    policy = BillingPolicy.objects.for_project(project).get()
    assert (policy.entitled_statuses, policy.grace_hours, policy.dispute_revokes) == (
        ["active", "incomplete"], 24, "opened",
    )  # fmt: skip
    changed = client.post(change_page(policy), FORM | {"grace_hours": "48"})
    assert changed.status_code == 302
    lines = list(ActionLog.objects.for_project(project).order_by("at", "id"))
    assert [line.actor_label for line in lines] == [user.email] * 2
    assert lines[0].details["entitled_statuses"] == [["active", "trialing"], ["active", "incomplete"]]
    assert lines[1].details == {"grace_hours": [24, 48]}


def test_a_subscriptions_page_says_why_it_is_so() -> None:
    project = create_project()
    row = create_subscription(project)
    SubscriptionChange.objects.create(
        project=project, mode="test", subscription=row, kind="status", source="webhook",
        before={"status": "active"}, after={"status": "past_due"}, event_type="customer.subscription.updated",
    )  # fmt: skip
    client, _ = sign_in(project, Role.VIEWER)
    page = client.get(reverse("admin:payments_subscription_change", args=[row.pk])).content.decode()
    assert "status: active → past_due" in page and "customer.subscription.updated" in page
    listed = client.get(reverse("admin:payments_subscriptionchange_changelist") + f"?q={row.stripe_subscription_id}")
    assert "status: active → past_due" in listed.content.decode()


def test_the_pages_explain_themselves_and_begin_with_the_defaults() -> None:
    project = create_project()
    client, _ = sign_in(project, Role.DEVELOPER)
    listing = reverse("admin:payments_billingpolicy_changelist")
    assert "the defaults apply" in client.get(listing).content.decode()
    form = client.get(reverse("admin:payments_billingpolicy_add")).content.decode()
    ticked = re.findall(r'name="entitled_statuses" value="(\w+)"[^>]*\schecked[\s>]', form)
    assert ticked == ["active", "trialing"]
    for said in ("Stripe Tax", "takes away what it bought", "promotion codes made in", "enter a tax id"):
        assert said in form
    policy = BillingPolicy.objects.create(project=project, entitled_statuses=["active"])
    shown = client.get(change_page(policy)).content.decode()
    assert f"Billing policy of {project.name}" in shown
    assert re.findall(r'name="entitled_statuses" value="(\w+)"[^>]*\schecked[\s>]', shown) == ["active"]


# Refuses


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("entitled_statuses", ["trialing"], "Add active"),
        ("entitled_statuses", ["active", "unpaid"], "not one of the available choices"),
        ("grace_hours", "1441", "0 to 1440 hours"),
    ],
)
def test_what_cannot_be_is_refused_in_words(field: str, value: Any, shown: str) -> None:
    project = create_project()
    policy = BillingPolicy.objects.create(project=project)
    client, _ = sign_in(project, Role.DEVELOPER)
    answer = client.post(change_page(policy), FORM | {field: value})
    assert (answer.status_code, shown in answer.content.decode()) == (200, True)
    policy.refresh_from_db()
    assert (policy.entitled_statuses, policy.grace_hours) == (["active", "trialing"], 72)
    assert not ActionLog.objects.for_project(project).exists()


def test_nobody_sets_the_policy_of_somebody_elses_project() -> None:
    mine, theirs = create_project(), create_project()
    policy = BillingPolicy.objects.create(project=theirs)
    client, _ = sign_in(mine, Role.OWNER)
    assert client.post(change_page(policy), FORM).status_code in (302, 403, 404)
    answer = client.post(reverse("admin:payments_billingpolicy_add"), FORM | {"project": str(create_project().pk)})
    assert answer.status_code == 200
    viewer, _ = sign_in(theirs, Role.VIEWER)
    assert viewer.post(change_page(policy), FORM).status_code == 403
    policy.refresh_from_db()
    assert policy.grace_hours == 72
    assert not ActionLog.objects.for_project(theirs).exists()
