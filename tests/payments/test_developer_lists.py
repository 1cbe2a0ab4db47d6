"""The lists of subscriptions, payments and projects that a developer reads."""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from payments.models import StripeConfig, StripeCredentials
from projects.models import Membership, Project, Role
from tests.payments.actors import Developer, config_path, create_developer, create_project
from tests.payments.rows import create_end_user, create_payment, create_plan, create_subscription

SUBSCRIPTIONS = "/api/v1/payments/subscriptions"
TRANSACTIONS = "/api/v1/payments/transactions"
PROJECTS = "/api/v1/payments/projects"
Create = Callable[..., Any]

# Path of the list, name of its array, what makes a row of it.
AGGREGATED = [(SUBSCRIPTIONS, "subscriptions", create_subscription), (TRANSACTIONS, "payments", create_payment)]
OF_PROJECT = [("subscriptions", "subscriptions", create_subscription), ("payments", "payments", create_payment)]

SUBSCRIPTION_FIELDS = {
    "id", "project_id", "user_id", "is_test_mode", "subscription_id", "customer_id", "status", "plan_name", "quantity",
    "current_period_start", "current_period_end", "cancel_at", "cancelled_at", "created_at", "external_user_id",
    "price_id", "plan_code", "cancel_at_period_end", "trial_end", "plan_active", "plan_expires",
}  # fmt: skip
PAYMENT_FIELDS = {
    "id", "project_id", "subscription_id", "user_id", "is_test_mode", "payment_intent_id", "status", "amount_cents",
    "currency", "description", "refunded_amount_cents", "created_at", "external_user_id", "invoice_id", "receipt_url",
    "invoice_pdf", "failure_code", "disputed",
}  # fmt: skip


@pytest.fixture
def project() -> Project:
    return create_project()


@pytest.fixture
def owner(project: Project) -> Developer:
    return create_developer(project)


def ids(response: Any, array: str) -> list[str]:
    return [row["id"] for row in response.json()[array]]


def test_a_subscription_has_every_field_of_the_contract(owner: Developer, project: Project) -> None:
    plan = create_plan(project, code="maker", name="Maker")
    user = create_end_user(project, external_id="dana")
    at = dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC)
    row = create_subscription(
        project, end_user=user, plan=plan, stripe_price_id="price_1", quantity=3, created_at=at, trial_end=at
    )
    body = owner.get(SUBSCRIPTIONS).json()["subscriptions"][0]
    assert set(body) == SUBSCRIPTION_FIELDS | {"project_name", "provider"}
    assert body["id"] == str(row.pk)
    assert body["project_id"] == str(project.pk)
    assert (body["project_name"], body["provider"]) == (project.name, "stripe")
    assert (body["user_id"], body["external_user_id"]) == (str(user.pk), "dana")
    assert (body["plan_name"], body["plan_code"], body["plan_active"]) == ("Maker", "maker", True)
    assert body["plan_expires"] == body["current_period_end"]
    assert (body["is_test_mode"], body["quantity"], body["cancel_at_period_end"]) == (True, 3, False)
    assert body["created_at"] == body["trial_end"] == "2026-03-01T12:30:00Z"
    assert (body["cancel_at"], body["cancelled_at"]) == (None, None)
    assert body["subscription_id"] == row.stripe_subscription_id
    of_project = owner.get(config_path(project, "subscriptions")).json()["subscriptions"][0]
    assert of_project == {name: value for name, value in body.items() if name in SUBSCRIPTION_FIELDS}


def test_a_payment_has_every_field_of_the_contract(owner: Developer, project: Project) -> None:
    subscription = create_subscription(project)
    row = create_payment(project, subscription=subscription, currency="JPY", amount_cents=500, disputed=True)
    body = owner.get(TRANSACTIONS).json()["payments"][0]
    assert set(body) == PAYMENT_FIELDS | {"project_name", "provider"}
    assert body["id"] == str(row.pk)
    assert body["subscription_id"] == str(subscription.pk)
    assert (body["amount_cents"], body["currency"], body["refunded_amount_cents"]) == (500, "jpy", 0)
    assert (body["user_id"], body["external_user_id"], body["description"], body["receipt_url"]) == (None,) * 4
    assert body["disputed"] is True
    of_project = owner.get(config_path(project, "payments")).json()["payments"][0]
    assert of_project == {name: value for name, value in body.items() if name in PAYMENT_FIELDS}


@pytest.mark.parametrize(("path", "array", "create"), AGGREGATED)
def test_the_callers_projects_are_listed_together_and_no_other(path: str, array: str, create: Create) -> None:
    mine, also_mine, theirs = create_project("One"), create_project("Two"), create_project("Theirs")
    developer = create_developer(mine, role=Role.VIEWER)
    Membership.objects.create(project=also_mine, user=developer.user, role=Role.DEVELOPER)
    rows = [create(mine, mode="test"), create(also_mine, mode="live"), create(theirs)]
    body = developer.get(path).json()
    assert {row["id"] for row in body[array]} == {str(rows[0].pk), str(rows[1].pk)}
    assert {row["project_name"] for row in body[array]} == {"One", "Two"}
    assert (body["total"], body["page"], body["page_size"]) == (2, 1, 50)
    stranger = create_developer(create_project())
    assert stranger.get(path).json() == {array: [], "total": 0, "page": 1, "page_size": 50}


@pytest.mark.parametrize(("path", "array", "create"), AGGREGATED)
def test_filters_narrow_the_aggregated_lists(path: str, array: str, create: Create, project: Project) -> None:
    other = create_project()
    developer = create_developer(project, other)
    test, live, elsewhere = create(project), create(project, mode="live"), create(other)
    odd = create(project, status="canceled")
    every = {str(row.pk) for row in (test, live, elsewhere, odd)}
    assert set(ids(developer.get(path), array)) == every
    assert ids(developer.get(f"{path}?test_mode=false"), array) == [str(live.pk)]
    assert str(live.pk) not in ids(developer.get(f"{path}?test_mode=true"), array)
    assert ids(developer.get(f"{path}?project_id={other.pk}"), array) == [str(elsewhere.pk)]
    assert ids(developer.get(f"{path}?status=canceled"), array) == [str(odd.pk)]
    assert ids(developer.get(f"{path}?status=canceled&test_mode=0"), array) == []


@pytest.mark.parametrize("path", [SUBSCRIPTIONS, TRANSACTIONS])
def test_another_developers_project_id_answers_like_one_that_does_not_exist(path: str, owner: Developer) -> None:
    theirs = create_project()
    create_developer(theirs)
    responses = [owner.get(f"{path}?project_id={theirs.pk}"), owner.get(f"{path}?project_id={uuid.uuid4()}")]
    assert [response.status_code for response in responses] == [404, 404]
    assert responses[0].content == responses[1].content


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("test_mode=perhaps", "test_mode"),
        ("test_mode=", "test_mode"),
        ("test_mode=%00", "test_mode"),
        ("project_id=not-an-id", "project_id"),
        ("project_id=", "project_id"),
        ("project_id=%00", "project_id"),
        ("project_id={01a1fe06-92b8-7308-a3fa-c2f2a7465c71}", "project_id"),
        ("status=unknown", "status"),
        ("status=%00", "status"),
        ("status=%ed%a0%80", "status"),
        ("status=' OR 1=1 --", "status"),
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1.5", "page"),
        ("page=1e3", "page"),
        ("page=99999999999999999999", "page"),
        ("page=%D9%A1", "page"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("page_size=abc", "page_size"),
        ("cursor=abc", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=%ff%fe", "cursor"),
        ("cursor=WyIwMDMyLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwgIngiXQ", "cursor"),
    ],
)
@pytest.mark.parametrize("path", [SUBSCRIPTIONS, TRANSACTIONS])
def test_a_bad_parameter_is_422_and_named(owner: Developer, path: str, query: str, name: str) -> None:
    response = owner.get(f"{path}?{query}")
    assert response.status_code == 422
    assert [problem["loc"] for problem in response.json()["detail"]] == [["query", name]]


@pytest.mark.parametrize("query", ["test_mode=perhaps", "page=0", "page_size=101", "cursor=x"])
@pytest.mark.parametrize("leaf", ["subscriptions", "payments"])
def test_a_bad_parameter_of_a_projects_list_is_422(owner: Developer, project: Project, leaf: str, query: str) -> None:
    assert owner.get(f"{config_path(project, leaf)}?{query}").status_code == 422


@pytest.mark.parametrize(
    "query",
    [
        "ordering=-project__stripe_credentials__secret_key",
        "order_by=password",
        "project__memberships__user__password__startswith=a",
        "end_user__email__contains=%40",
        "search=%27",
        "fields=secret",
        "status__in=active",
    ],
)
@pytest.mark.parametrize(("path", "array", "create"), AGGREGATED)
def test_a_parameter_that_nobody_documented_changes_nothing(
    owner: Developer, project: Project, path: str, array: str, create: Create, query: str
) -> None:
    for _ in range(3):
        create(project)
    assert owner.get(f"{path}?{query}").json() == owner.get(path).json()


@pytest.mark.parametrize(("leaf", "array", "create"), OF_PROJECT)
def test_a_projects_list_shows_test_mode_unless_asked(
    owner: Developer, project: Project, leaf: str, array: str, create: Create
) -> None:
    test, live = create(project), create(project, mode="live")
    create(create_project())
    path = config_path(project, leaf)
    assert ids(owner.get(path), array) == ids(owner.get(f"{path}?test_mode=true"), array) == [str(test.pk)]
    assert ids(owner.get(f"{path}?test_mode=false"), array) == [str(live.pk)]
    assert owner.get(path).json()["total"] == 1


@pytest.mark.parametrize(("path", "array", "create"), AGGREGATED)
def test_pages_and_cursors_walk_the_same_rows_newest_first(
    owner: Developer, project: Project, path: str, array: str, create: Create
) -> None:
    moment = clock.now().replace(microsecond=0)
    # Many in the same second: ties are broken by id.
    rows = [create(project, created_at=moment - dt.timedelta(seconds=number // 4)) for number in range(11)]
    expected = [str(row.pk) for row in sorted(rows, key=lambda row: (row.created_at, row.pk), reverse=True)]
    paged: list[str] = []
    for page in (1, 2, 3, 4):
        body = owner.get(f"{path}?page={page}&page_size=3").json()
        assert (body["total"], body["page"], body["page_size"]) == (11, page, 3)
        paged += [row["id"] for row in body[array]]
    assert paged == expected
    assert owner.get(f"{path}?page=5&page_size=3").json()[array] == []
    walked: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        body = owner.get(f"{path}?cursor={cursor}&page_size=3").json()
        assert set(body) == {array, "page_size", "next_cursor"}
        walked += [row["id"] for row in body[array]]
        cursor = body["next_cursor"]
    assert walked == expected


@pytest.mark.parametrize(("path", "array", "create"), AGGREGATED)
def test_a_row_that_arrives_meanwhile_does_not_shift_a_cursor(
    owner: Developer, project: Project, path: str, array: str, create: Create
) -> None:
    moment = clock.now()
    rows = [create(project, created_at=moment - dt.timedelta(minutes=number)) for number in range(4)]
    first = owner.get(f"{path}?cursor=&page_size=2").json()
    create(project, created_at=moment + dt.timedelta(minutes=1))
    second = owner.get(f"{path}?cursor={first['next_cursor']}&page_size=2").json()
    assert [row["id"] for row in second[array]] == [str(row.pk) for row in rows[2:]]


@pytest.mark.parametrize("paging", ["page=1", "cursor="])
@pytest.mark.parametrize(("path", "array", "create"), AGGREGATED)
def test_a_list_takes_as_many_queries_for_many_rows_as_for_one(
    project: Project, path: str, array: str, create: Create, paging: str
) -> None:
    other = create_project()
    developer = create_developer(project, other)
    create(project, end_user=create_end_user(project))

    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert developer.get(f"{path}?{paging}").status_code == 200
        return len(captured)

    few = count()
    for number in range(12):
        owned = (project, other)[number % 2]
        is_payment = array == "payments"
        related = {"subscription": create_subscription(owned)} if is_payment else {"plan": create_plan(owned)}
        create(owned, end_user=create_end_user(owned), **related)
    assert count() == few <= 4


@pytest.mark.parametrize("leaf", ["subscriptions", "payments"])
def test_a_projects_list_takes_constant_queries(owner: Developer, project: Project, leaf: str) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.get(config_path(project, leaf)).status_code == 200
        return len(captured)

    few = count()
    for _ in range(8):
        user = create_end_user(project)
        subscription = create_subscription(project, end_user=user, plan=create_plan(project))
        create_payment(project, end_user=user, subscription=subscription)
    assert count() == few <= 4


def test_projects_say_how_far_they_are_set_up() -> None:
    bare = create_project("Bare", description="first")
    ready = create_project("Ready", is_active=False)
    off = create_project("Off")
    create_project("Not mine")
    developer = create_developer(bare, ready, off, role=Role.VIEWER)
    for project, active in ((ready, True), (off, False)):
        config = StripeConfig.objects.create(project=project, is_active=active)
        row = StripeCredentials(config=config, project=project, mode="live", configured_at=clock.now())
        row.set_secret("secret_key", "sk_live_0123456789")
        row.save()
        only_publishable = StripeCredentials(config=config, project=project, mode="test", configured_at=clock.now())
        only_publishable.set_secret("publishable_key", "pk_test_0123456789")
        only_publishable.save()
    body = developer.get(PROJECTS).json()
    rows = {row["name"]: row for row in body["projects"]}
    assert body["total"] == len(rows) == 3
    assert set(rows["Bare"]) == {
        "id", "name", "description", "has_payment_config", "has_test_credentials", "has_live_credentials",
        "test_configured_at", "live_configured_at", "is_active", "created_at",
    }  # fmt: skip
    assert (rows["Bare"]["description"], rows["Bare"]["has_payment_config"]) == ("first", False)
    assert (rows["Ready"]["has_payment_config"], rows["Ready"]["is_active"]) == (True, False)
    assert (rows["Ready"]["has_test_credentials"], rows["Ready"]["has_live_credentials"]) == (False, True)
    assert rows["Ready"]["live_configured_at"].endswith("Z")
    assert rows["Ready"]["test_configured_at"] is None
    assert (rows["Off"]["has_payment_config"], rows["Off"]["has_live_credentials"]) == (False, True)


def test_projects_take_constant_queries() -> None:
    projects = [create_project() for _ in range(6)]
    developer = create_developer(*projects)
    StripeConfig.objects.create(project=projects[0])

    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            developer.get(PROJECTS)
        return len(captured)

    few = count()
    for project in projects[1:]:
        StripeConfig.objects.create(project=project)
    assert count() == few <= 4


def test_a_removed_member_sees_nothing_from_the_next_request_on(owner: Developer, project: Project) -> None:
    create_payment(project)
    assert owner.get(TRANSACTIONS).json()["total"] == 1
    Membership.objects.for_project(project).filter(user=owner.user).delete()
    assert owner.get(TRANSACTIONS).json()["total"] == 0
    assert owner.get(config_path(project, "payments")).status_code == 404


@pytest.mark.parametrize("path", [SUBSCRIPTIONS, TRANSACTIONS, PROJECTS, "/api/v1/payments/stats"])
def test_no_token_is_401(path: str, owner: Developer) -> None:
    response = Developer(owner.user, "garbage").get(path)
    assert response.status_code == 401
    assert set(response.json()) == {"detail", "code"}
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
