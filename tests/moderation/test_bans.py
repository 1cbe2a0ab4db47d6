"""Bans: refused at once everywhere a user speaks or is spoken for, undone by letting them in again, both with who and why."""

from typing import Any

import pytest
from django.utils import timezone

from common.errors import ApiError
from entitlements.models import Entitlement
from moderation.models import ActionLog
from projects.models import EndUser, Project
from projects.services.end_users import set_end_user_active
from tests.cast import AppServer, AppUser, Developer, create_app_user, set_role
from tests.payments.shop import at_once

USER = "/api/v1/payments/stripe"
CREDITS = "/api/v1/payments/credits/balance"


def users_at(project: Project, user: AppUser) -> str:
    return f"/api/v1/projects/{project.pk}/users/{user.end_user.pk}"


def change(caller: Developer, url: str, body: dict[str, Any]) -> Any:
    return caller.client.patch(url, body, content_type="application/json")


def test_a_ban_holds_at_once_for_the_user_and_for_who_speaks_for_them_and_is_undone(
    acme: Project, dana: AppUser, erin: AppUser, acme_server: AppServer, bob: Developer
) -> None:
    assert dana.client.get(f"{USER}/my-licenses").status_code == 200
    Entitlement.objects.create(project=acme, mode="test", end_user=dana.end_user, changed_at=timezone.now())
    banned = change(bob, users_at(acme, dana), {"is_active": False, "reason": "  Shares the account.  "})
    assert (banned.status_code, banned.json()["is_active"]) == (200, False)
    refusals = [
        dana.client.get(f"{USER}/my-licenses"),
        dana.client.post(f"{USER}/checkout-session", {}, content_type="application/json"),
        dana.client.get(CREDITS),
        acme_server.client.get(f"{CREDITS}?user_id={dana.user_id}"),
        acme_server.client.post(
            f"/api/v1/projects/{acme.pk}/end-user-tokens", {"user_id": dana.user_id}, content_type="application/json"
        ),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer in refusals] == [(403, "end_user_banned")] * 5
    # What an app checks without a call: the epoch of the tokens issued so far is over.
    assert Entitlement.objects.get(project=acme, mode="test", end_user=dana.end_user).epoch > 0
    assert erin.client.get(f"{USER}/my-licenses").status_code == 200
    assert (
        change(bob, users_at(acme, dana), {"is_active": True, "reason": "Talked to them."}).json()["banned_at"] is None
    )
    assert dana.client.get(f"{USER}/my-licenses").status_code == 200
    lines = ActionLog.objects.for_project(acme).order_by("at", "id")
    assert [(line.action, line.subject, line.actor, line.reason) for line in lines] == [
        ("end_user.ban", str(dana.end_user.pk), bob.user, "Shares the account."),
        ("end_user.unban", str(dana.end_user.pk), bob.user, "Talked to them."),
    ]


def test_who_may_not_ban_bans_nobody(acme: Project, dana: AppUser, bob: Developer, charlie: Developer) -> None:
    set_role(acme, bob, "viewer")
    assert change(bob, users_at(acme, dana), {"is_active": False}).status_code == 403
    assert change(charlie, users_at(acme, dana), {"is_active": False}).status_code == 404
    assert change(bob, users_at(acme, dana), {"is_active": False, "reason": "x" * 1001}).status_code in (403, 422)
    dana.end_user.refresh_from_db()
    assert dana.end_user.is_active and not ActionLog.objects.for_project(acme).exists()


def test_of_many_bans_at_once_one_is_logged_and_whoever_was_anonymised_stays_out(acme: Project) -> None:
    user = create_app_user(acme, "gone").end_user
    at_once(4, lambda _: set_end_user_active(end_user=EndUser.objects.get(pk=user.pk), is_active=False))
    assert ActionLog.objects.for_project(acme).filter(action="end_user.ban").count() == 1
    EndUser.objects.filter(pk=user.pk).update(anonymised_at=user.created_at)
    with pytest.raises(ApiError, match="anonymised"):
        set_end_user_active(end_user=EndUser.objects.get(pk=user.pk), is_active=True)
