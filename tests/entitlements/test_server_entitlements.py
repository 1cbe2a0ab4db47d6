"""GET entitlements/{user_id}: an app's server reads what a user may do, also of one whom nobody knows yet."""

from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from projects.models import EndUser, Project
from tests.cast import AppServer, AppUser
from tests.payments.rows import create_end_user, create_plan, create_subscription


def ask(caller: Any, user_id: str, query: str = "") -> Any:
    return caller.client.get(f"/api/v1/payments/entitlements/{quote(user_id, safe='')}{query}")


# Works


def test_a_server_reads_its_users_and_a_user_themselves(acme: Project, acme_server: AppServer, dana: AppUser) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme, code="maker", requests_per_minute=60))
    body = ask(acme_server, dana.user_id).json()
    assert (body["user_id"], body["plan"], body["plan_active"]) == (dana.user_id, "maker", True)
    assert body["limits"]["requests_per_minute"] == 60
    assert ask(dana, dana.user_id).json() == body
    with CaptureQueriesContext(connection) as who_asks:
        ask(acme_server, dana.user_id, "?test_mode=maybe")
    with CaptureQueriesContext(connection) as queries:
        ask(acme_server, dana.user_id)
    assert len(queries) == len(who_asks) + 1


@pytest.mark.parametrize("user_id", ["nobody", "token", "epochs", "a/b c", "ü|1", "x" * 300])
def test_a_stranger_has_the_free_plan_and_does_not_appear(acme: Project, acme_server: AppServer, user_id: str) -> None:
    create_plan(acme, code="hobby", free=True, credits_per_day=10)
    before = EndUser.objects.for_project(acme).count()
    answer = ask(acme_server, user_id)
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert (body["user_id"], body["plan"], body["plan_active"], body["epoch"]) == (user_id, "hobby", False, 0)
    assert body["credits"]["available"] == 10
    assert EndUser.objects.for_project(acme).count() == before


def test_a_user_whose_id_is_a_word_of_the_path_is_read(acme: Project, acme_server: AppServer) -> None:
    user = create_end_user(acme, external_id="token")
    create_subscription(acme, end_user=user, plan=create_plan(acme, code="maker"))
    assert ask(acme_server, "token").json()["plan"] == "maker"


def test_the_key_decides_the_mode(
    acme: Project, acme_server: AppServer, acme_live_server: AppServer, dana: AppUser
) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme, code="maker"))
    assert ask(acme_live_server, dana.user_id).json()["plan"] == "free"
    assert ask(acme_server, dana.user_id, "?test_mode=false").status_code == 400


# Refuses


def test_another_projects_users_are_strangers_and_another_user_is_not_found(
    acme: Project, other_server: AppServer, dana: AppUser, erin: AppUser
) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme, code="maker"))
    assert ask(other_server, dana.user_id).json()["plan"] == "free"
    assert ask(erin, dana.user_id).status_code == 404
