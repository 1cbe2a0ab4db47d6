"""GET my-subscription: one answer to "what is this user on?", from our own rows, in two queries."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from common import clock
from payments.models import BillingPolicy, StripeConfig, StripeCredentials
from projects.models import Project
from tests.cast import create_app_user
from tests.payments.rows import create_plan, create_subscription
from tests.payments.shop import STRIPE, get

pytestmark = pytest.mark.usefixtures("configured")
LEAF = "my-subscription"


@pytest.fixture
def configured(acme: Project) -> None:
    """Acme has keys for both modes; nothing here reaches Stripe with them."""
    config = StripeConfig.objects.create(project=acme)
    for mode in ("test", "live"):
        row = StripeCredentials(config=config, project=acme, mode=mode)
        row.set_secret("secret_key", f"sk_{mode}_neverSentAnywhere")
        row.save()


def test_it_answers_with_the_whole_subscription(acme: Project, dana: Any) -> None:
    plan = create_plan(acme, code="pro", name="Pro")
    row = create_subscription(acme, end_user=dana.end_user, plan=plan, stripe_price_id="price_1", quantity=2)
    answer = get(dana, LEAF)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert body["id"] == str(row.pk)
    assert body["project_id"] == str(acme.pk)
    assert body["user_id"] == str(dana.end_user.pk)
    assert body["external_user_id"] == dana.user_id
    assert body["subscription_id"] == row.stripe_subscription_id
    assert (body["status"], body["plan_name"], body["plan_code"], body["plan_active"]) == ("active", "Pro", "pro", True)
    assert (body["price_id"], body["quantity"], body["is_test_mode"]) == ("price_1", 2, True)
    assert body["current_period_end"].endswith("Z")


def test_it_answers_null_without_a_subscription(dana: Any) -> None:
    answer = get(dana, LEAF)
    assert (answer.status_code, answer.content) == (200, b"null")


def test_the_best_status_wins_then_the_newest(acme: Project, dana: Any) -> None:
    now = clock.now()
    create_subscription(acme, end_user=dana.end_user, status="canceled", created_at=now)
    older = create_subscription(acme, end_user=dana.end_user, created_at=now - dt.timedelta(days=9))
    assert get(dana, LEAF).json()["id"] == str(older.pk)
    newer = create_subscription(acme, end_user=dana.end_user, created_at=now - dt.timedelta(days=3))
    assert get(dana, LEAF).json()["id"] == str(newer.pk)


def test_what_was_taken_away_stands_behind_what_still_runs(acme: Project, dana: Any) -> None:
    taken = create_subscription(acme, end_user=dana.end_user, access_revoked_at=clock.now())
    ended = create_subscription(acme, end_user=dana.end_user, status="canceled")
    assert get(dana, LEAF).json()["id"] == str(taken.pk) != str(ended.pk)
    assert get(dana, LEAF).json()["plan_active"] is False
    trial = create_subscription(
        acme, end_user=dana.end_user, status="trialing", created_at=clock.now() - dt.timedelta(days=9)
    )
    mine = get(dana, LEAF).json()
    assert (mine["id"], mine["plan_active"]) == (str(trial.pk), True)


@pytest.mark.parametrize("subscribed", [True, False])
def test_it_takes_two_queries(acme: Project, dana: Any, subscribed: bool) -> None:
    if subscribed:
        create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme))
        BillingPolicy.objects.create(project=acme)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert get(dana, LEAF).status_code == 200
    assert len(queries) <= 2, [query["sql"] for query in queries]


def test_live_and_test_are_apart(acme: Project, dana: Any) -> None:
    create_subscription(acme, end_user=dana.end_user, mode="live")
    assert get(dana, LEAF).json() is None
    assert get(dana, LEAF, "?test_mode=true").json() is None
    assert get(dana, LEAF, "?test_mode=false").json()["is_test_mode"] is False


def test_another_users_subscription_is_not_shown(acme: Project, dana: Any, erin: Any) -> None:
    create_subscription(acme, end_user=dana.end_user)
    assert get(erin, LEAF).json() is None


def test_a_user_of_the_same_name_in_another_project_sees_nothing(acme: Project, dana: Any, frank: Any) -> None:
    create_subscription(acme, end_user=dana.end_user)
    answer = get(frank, LEAF)
    assert answer.status_code == 404
    assert answer.json()["code"] == "stripe_not_configured"


def test_a_mode_without_keys_is_404(acme: Project, dana: Any) -> None:
    create_subscription(acme, end_user=dana.end_user, mode="live")
    StripeCredentials.objects.for_project(acme).filter(mode="live").delete()
    answer = get(dana, LEAF, "?test_mode=false")
    assert answer.status_code == 404
    assert answer.json()["code"] == "stripe_not_configured"
    assert answer.json()["action"] == "configure_stripe"


def test_a_switched_off_configuration_is_404(acme: Project, dana: Any) -> None:
    create_subscription(acme, end_user=dana.end_user)
    StripeConfig.objects.for_project(acme).update(is_active=False)
    assert get(dana, LEAF).status_code == 404


def test_a_test_only_token_never_reaches_live(acme: Project) -> None:
    tester = create_app_user(acme, "tester", test_only=True)
    create_subscription(acme, end_user=tester.end_user, mode="live")
    assert get(tester, LEAF).status_code == 200
    assert get(tester, LEAF, "?test_mode=false").status_code == 401


def test_an_odd_test_mode_is_422_and_named(dana: Any) -> None:
    answer = get(dana, LEAF, "?test_mode=perhaps")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "test_mode"]


def test_only_an_end_users_token_is_taken(client: Any, alice: Any, acme_server: Any) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, acme_server.headers):
        answer = client.get(f"{STRIPE}/{LEAF}", headers=headers)
        assert answer.status_code == 401, headers
        assert "WWW-Authenticate" in answer.headers
