"""GET and PUT billing-policy: who has access and what checkout asks for, from the next request on."""

import datetime as dt
from typing import Any

import pytest

from common import clock
from moderation.models import ActionLog
from payments.models import BillingPolicy, StripeConfig, StripeCredentials, Subscription
from projects.models import Project, Role
from tests.cast import AppUser
from tests.payments.actors import config_path, create_developer, create_project
from tests.payments.rows import create_plan, create_subscription
from tests.payments.shop import get

LEAF = "billing-policy"
DEFAULTS = {
    "entitled_statuses": ["active", "trialing"],
    "grace_hours": 72,
    "full_refund_revokes": True,
    "dispute_revokes": "lost",
    "billing_address_collection": True,
    "tax_id_collection": False,
    "automatic_tax": False,
    "allow_promotion_codes": True,
}


def policy(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    body = answer.json()
    return {name: body[name] for name in DEFAULTS}


@pytest.fixture
def configured(acme: Project) -> Project:
    """Acme has a key for test mode; nothing here reaches Stripe with it."""
    config = StripeConfig.objects.create(project=acme)
    row = StripeCredentials(config=config, project=acme, mode="test")
    row.set_secret("secret_key", "sk_test_neverSentAnywhere")
    row.save()
    return acme


# Works


def test_a_project_without_a_policy_has_the_defaults() -> None:
    project = create_project()
    answer = create_developer(project, role=Role.VIEWER).get(config_path(project, LEAF))
    assert policy(answer) == DEFAULTS
    assert set(answer.json()) == {*DEFAULTS, "project_id", "updated_at"}
    assert (answer.json()["project_id"], answer.json()["updated_at"]) == (str(project.pk), None)
    assert not BillingPolicy.objects.for_project(project).exists()


def test_what_is_given_changes_and_the_rest_stays() -> None:
    project = create_project()
    developer = create_developer(project, role=Role.DEVELOPER)
    first = developer.put(config_path(project, LEAF), {"grace_hours": 24, "dispute_revokes": "opened"})
    assert policy(first) == DEFAULTS | {"grace_hours": 24, "dispute_revokes": "opened"}
    second = developer.put(config_path(project, LEAF), {"automatic_tax": True})
    assert policy(second) == DEFAULTS | {"grace_hours": 24, "dispute_revokes": "opened", "automatic_tax": True}
    assert policy(developer.get(config_path(project, LEAF))) == policy(second)
    assert second.json()["updated_at"].endswith("Z")


def test_who_changed_what_is_logged_and_a_change_of_nothing_is_not() -> None:
    project = create_project()
    developer = create_developer(project)
    developer.put(config_path(project, LEAF), {"grace_hours": 24})
    developer.put(config_path(project, LEAF), {"grace_hours": 24})
    (line,) = ActionLog.objects.for_project(project)
    assert (line.action, line.actor_label) == ("billing_policy.changed", developer.user.email)
    assert line.details == {"grace_hours": [72, 24]}


def test_a_change_holds_from_the_next_request_on(configured: Project, dana: AppUser) -> None:
    row = create_subscription(configured, end_user=dana.end_user, plan=create_plan(configured), status="past_due")
    Subscription.objects.filter(pk=row.pk).update(past_due_since=clock.now() - dt.timedelta(hours=30))
    developer = create_developer(configured)
    listed = config_path(configured, "subscriptions")

    def active() -> set[bool]:
        return {
            get(dana, "my-subscription").json()["plan_active"],
            developer.get(listed).json()["subscriptions"][0]["plan_active"],
            developer.get("/api/v1/payments/subscriptions").json()["subscriptions"][0]["plan_active"],
        }

    assert active() == {True}
    developer.put(config_path(configured, LEAF), {"grace_hours": 24})
    assert active() == {False}
    developer.put(config_path(configured, LEAF), {"grace_hours": 48})
    assert active() == {True}
    Subscription.objects.filter(pk=row.pk).update(status="incomplete", past_due_since=None)
    assert active() == {False}
    developer.put(config_path(configured, LEAF), {"entitled_statuses": ["active", "incomplete"]})
    assert active() == {True}
    Subscription.objects.filter(pk=row.pk).update(status="trialing")
    assert active() == {False}


# Refuses


@pytest.mark.parametrize(
    ("body", "field", "mend"),
    [
        ({"entitled_statuses": ["active", "past_due"]}, "entitled_statuses", "grace_hours"),
        ({"entitled_statuses": ["active", "unpaid"]}, "entitled_statuses", "choose among"),
        ({"entitled_statuses": ["active", "paused"]}, "entitled_statuses", "choose among"),
        ({"entitled_statuses": ["trialing"]}, "entitled_statuses", "Add active"),
        ({"entitled_statuses": []}, "entitled_statuses", "Add active"),
        ({"entitled_statuses": ["active", "active"]}, "entitled_statuses", "once"),
        ({"entitled_statuses": "active"}, "entitled_statuses", "list"),
        ({"entitled_statuses": None}, "entitled_statuses", "null"),
        ({"grace_hours": -1}, "grace_hours", "greater"),
        ({"grace_hours": 1441}, "grace_hours", "1440"),
        ({"grace_hours": "24"}, "grace_hours", "integer"),
        ({"dispute_revokes": "maybe"}, "dispute_revokes", "lost, opened, never"),
        ({"full_refund_revokes": "yes"}, "full_refund_revokes", "boolean"),
        ({"automatic_tax": 1}, "automatic_tax", "boolean"),
    ],
)
def test_a_wrong_field_is_named_with_its_mend_and_nothing_changes(body: dict[str, Any], field: str, mend: str) -> None:
    project = create_project()
    developer = create_developer(project)
    answer = developer.put(config_path(project, LEAF), {"tax_id_collection": True} | body)
    assert answer.status_code == 422, answer.content
    (problem,) = answer.json()["detail"]
    assert problem["loc"][:2] == ["body", field]
    assert mend in problem["msg"]
    assert policy(developer.get(config_path(project, LEAF))) == DEFAULTS


def test_a_viewer_reads_and_does_not_change() -> None:
    project = create_project()
    viewer = create_developer(project, role=Role.VIEWER)
    assert viewer.put(config_path(project, LEAF), {"grace_hours": 1}).status_code == 403
    assert policy(viewer.get(config_path(project, LEAF))) == DEFAULTS


def test_another_projects_policy_is_404() -> None:
    project = create_project()
    stranger = create_developer(create_project())
    assert stranger.get(config_path(project, LEAF)).status_code == 404
    assert stranger.put(config_path(project, LEAF), {"grace_hours": 1}).status_code == 404
    assert not BillingPolicy.objects.for_project(project).exists()
