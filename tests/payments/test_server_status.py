"""GET /status/{app}/{user_id} and its compatible path: an app's server asks what a user is on."""

import datetime as dt
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from payments.models import StripeCustomer
from projects.models import ApiKey, EndUser, Project
from tests.payments.rows import create_plan, create_subscription, stripe_id


def ask(server: Any, user_id: str, app: str | None = None, query: str = "") -> Any:
    base = f"/status/{app}" if app else "/api/v1/payments/status"
    return server.client.get(f"{base}/{quote(user_id, safe='')}{query}")


def free(project: Project, user_id: str) -> dict[str, Any]:
    month = clock.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return {
        "app_id": project.slug,
        "user_id": user_id,
        "tier": "free",
        "stripe_customer_id": None,
        "stripe_subscription_id": None,
        "plan_active": False,
        "plan_expires": None,
        "current_period_end": None,
        "credits": {
            "available": 0,
            "reserved": 0,
            "debt": 0,
            "buckets": {"plan_daily": 0, "plan_periodic": 0, "bonus": 0, "purchased": 0},
        },
        "token_budget": {
            "limit": 0,
            "used": 0,
            "remaining": 0,
            "period_start": f"{month:%Y-%m-%dT%H:%M:%SZ}",
            "period_end": f"{(month + dt.timedelta(days=32)).replace(day=1):%Y-%m-%dT%H:%M:%SZ}",
        },
    }


@pytest.mark.parametrize("by_slug", [True, False])
def test_it_says_what_a_user_is_on(acme: Project, acme_server: Any, dana: Any, by_slug: bool) -> None:
    plan = create_plan(acme, code="maker", name="Maker")
    row = create_subscription(acme, end_user=dana.end_user, plan=plan)
    answer = ask(acme_server, dana.user_id, acme.slug if by_slug else None)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert set(body) == set(free(acme, ""))
    assert (body["app_id"], body["user_id"], body["tier"]) == (acme.slug, dana.user_id, "maker")
    assert body["stripe_subscription_id"] == row.stripe_subscription_id
    assert body["stripe_customer_id"] == row.stripe_customer_id
    assert body["plan_active"] is True
    assert body["current_period_end"].endswith("Z")


def test_a_user_who_never_paid_is_on_the_free_tier(acme: Project, acme_server: Any, erin: Any) -> None:
    for user_id in (erin.user_id, "nobody", "a/b c", "ü|1"):
        answer = ask(acme_server, user_id)
        assert (answer.status_code, answer.json()) == (200, free(acme, user_id))
    assert not EndUser.objects.for_project(acme).filter(external_id="nobody").exists()


def test_a_paying_user_whose_price_no_plan_knows_is_not_on_the_free_tier(
    acme: Project, acme_server: Any, dana: Any
) -> None:
    create_plan(acme, code="hobby", free=True)
    create_subscription(acme, end_user=dana.end_user, plan=None)
    body = ask(acme_server, dana.user_id).json()
    assert (body["tier"], body["plan_active"]) == ("unknown", True)


def test_the_free_tier_has_the_name_of_the_free_plan(acme: Project, acme_server: Any, erin: Any) -> None:
    create_plan(acme, code="hobby", free=True)
    assert ask(acme_server, erin.user_id).json()["tier"] == "hobby"


def test_a_customer_without_a_subscription_is_named(acme: Project, acme_server: Any, dana: Any) -> None:
    import uuid

    customer = StripeCustomer.objects.create(
        id=uuid.uuid4(), project=acme, mode="test", end_user=dana.end_user, stripe_customer_id=stripe_id("cus")
    )
    assert ask(acme_server, dana.user_id).json()["stripe_customer_id"] == customer.stripe_customer_id


@pytest.mark.parametrize(
    ("status", "since_days", "active"),
    [
        ("trialing", 0, True),
        ("past_due", 1, True),
        ("past_due", 4, False),
        ("unpaid", 1, False),
        ("canceled", 0, False),
    ],
)
def test_the_tier_holds_as_long_as_access_does(
    acme: Project, acme_server: Any, dana: Any, status: str, since_days: int, active: bool
) -> None:
    create_subscription(
        acme,
        end_user=dana.end_user,
        plan=create_plan(acme, code="maker"),
        status=status,
        past_due_since=clock.now() - dt.timedelta(days=since_days) if since_days else None,
    )
    body = ask(acme_server, dana.user_id).json()
    assert (body["plan_active"], body["tier"]) == (active, "maker" if active else "free")


def test_the_key_decides_the_mode(acme: Project, acme_server: Any, acme_live_server: Any, dana: Any) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme, code="maker"), mode="live")
    assert ask(acme_server, dana.user_id).json()["tier"] == "free"
    assert ask(acme_live_server, dana.user_id).json()["tier"] == "maker"
    assert ask(acme_live_server, dana.user_id, query="?test_mode=true").json()["code"] == "mode_mismatch"


def test_another_projects_user_is_a_stranger(
    acme: Project, other_project: Project, other_server: Any, dana: Any
) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme, code="maker"))
    assert ask(other_server, dana.user_id).json() == free(other_project, dana.user_id)
    theirs, unknown = ask(other_server, dana.user_id, acme.slug), ask(other_server, dana.user_id, "nobody-has-this")
    assert (theirs.status_code, theirs.content) == (404, unknown.content)


@pytest.mark.parametrize("odd", ["\u0000", "u" * 300, "a\tb"])
def test_an_odd_id_is_a_stranger(acme: Project, acme_server: Any, odd: str) -> None:
    answer = ask(acme_server, odd)
    assert (answer.status_code, answer.json()) == (200, free(acme, odd))


def test_only_the_projects_key_is_taken(client: Any, alice: Any, dana: Any, acme: Project) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, dana.headers):
        for path in (f"/status/{acme.slug}/{dana.user_id}", f"/api/v1/payments/status/{dana.user_id}"):
            assert client.get(path, headers=headers).status_code == 401


def test_a_revoked_key_is_refused_from_the_next_request_on(acme: Project, acme_server: Any, dana: Any) -> None:
    assert ask(acme_server, dana.user_id).status_code == 200
    ApiKey.objects.for_project(acme).update(is_active=False)
    assert ask(acme_server, dana.user_id).status_code == 401


def test_the_number_of_queries_does_not_grow(acme: Project, acme_server: Any, dana: Any) -> None:
    ask(acme_server, dana.user_id)
    counts = []
    for _ in range(2):
        for _ in range(5):
            create_subscription(acme, end_user=dana.end_user, status="canceled")
        with CaptureQueriesContext(connection) as queries:
            ask(acme_server, dana.user_id)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 5
