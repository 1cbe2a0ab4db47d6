"""Connections and LiteLLM users in the admin: support and developers read them, nobody changes them, and no key is shown."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import ROLE_SUPPORT, User
from entitlements.models import Connection, ProvisionedUser
from moderation.models import ActionLog
from tests.entitlements.provisioned import World


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def staff(name: str, world: World, **fields: Any) -> Client:
    user = User.objects.create_user(
        f"{name}-{world.project.pk.hex}@example.com", "correct horse battery", is_staff=True, **fields
    )
    if name == "support":
        user.groups.add(Group.objects.get_or_create(name=ROLE_SUPPORT)[0])
    return browser_of(user)


PAGES = ("connection", "provisioneduser")


@pytest.fixture
def filled(world: World) -> World:
    world.hold(world.plan("pro", compute_budget_cents=2000, requests_per_minute=60))
    world.run()
    return world


def test_support_and_the_projects_developers_see_limits_and_no_key(filled: World, charlie: Any) -> None:
    User.objects.filter(pk__in=[filled.owner.user.pk, charlie.user.pk]).update(is_staff=True)
    for user in (filled.owner.user, charlie.user):
        user.refresh_from_db()
    rows = [
        Connection.objects.for_project(filled.project).get(),
        ProvisionedUser.objects.for_project(filled.project).get(),
    ]
    for browser in (staff("support", filled), browser_of(filled.owner.user)):
        for page, row in zip(PAGES, rows, strict=True):
            listed = browser.get(f"/admin/entitlements/{page}/")
            shown = browser.get(f"/admin/entitlements/{page}/{row.pk}/change/")
            assert (listed.status_code, shown.status_code) == (200, 200)
            text = listed.content.decode() + shown.content.decode()
            assert filled.proxy.master_key not in text and row.pk.hex[-6:] in text.replace("-", "")
        assert "pro: budget $20.00, each 30d, rpm 60, tpm unlimited" in text and "max_budget 20.0" in text
    stranger = browser_of(charlie.user)
    for page, row in zip(PAGES, rows, strict=True):
        assert filled.user_id() not in stranger.get(f"/admin/entitlements/{page}/").content.decode()
        assert stranger.get(f"/admin/entitlements/{page}/{row.pk}/change/").status_code in (302, 403, 404)


def test_nobody_changes_a_row_by_hand_and_who_has_it_read_again_is_written_down(filled: World) -> None:
    root = staff("root", filled, is_superuser=True)
    row = ProvisionedUser.objects.for_project(filled.project).get()
    for page in PAGES:
        assert root.get(f"/admin/entitlements/{page}/add/").status_code == 403
    assert root.post(f"/admin/entitlements/provisioneduser/{row.pk}/change/", {"status": "failed"}).status_code == 403
    assert root.post(f"/admin/entitlements/provisioneduser/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert filled.provisioned().status == "applied" and filled.provisioned().last_read_at is not None
    pressed = root.post(
        "/admin/entitlements/provisioneduser/", {"action": "read_again", "_selected_action": [str(row.pk)]}
    )
    assert (pressed.status_code, filled.provisioned().last_read_at) == (302, None)
    line = ActionLog.objects.for_project(filled.project).get(action="litellm.compare")
    assert line.actor_label.startswith("root-") and line.mode == row.mode


def test_whether_a_connection_works_is_plain_text_on_its_page(filled: World) -> None:
    root = staff("root", filled, is_superuser=True)
    row = Connection.objects.for_project(filled.project).get()
    for problem, shown in (("", "Yes"), (Connection.Problem.KEY_REJECTED, "No: The key is refused")):
        Connection.objects.for_project(filled.project).update(problem=problem)
        page = root.get(f"/admin/entitlements/connection/{row.pk}/change/").content.decode()
        assert re.search(rf">\s*{shown}\s*<", page) and "(&#x27;" not in page
    listed = root.get("/admin/entitlements/connection/").content.decode()
    assert "The key is refused" in listed and "(&#x27;" not in listed
