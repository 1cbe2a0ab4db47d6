"""/api/v1/projects/{id}/connections/github: the token goes in examined and never comes out."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from accounts.models import ROLE_SUPPORT, User
from licenses.models import GitHubConnection
from licenses.services import github_client, github_connection
from licenses.services.github import GITHUB_CONNECTION, GitHub
from licenses.services.github_connection import examine_connections
from licenses.services.github_state import note_problem
from moderation.models import ActionLog, ReviewItem
from notifications.models import OutboxRow
from projects.models import Project
from tests.cast import Developer, create_project, set_role
from tests.github import DAY, TEAM, Organization, create_organization
from tests.payments.shop import at_once


@dataclass
class World:
    """Acme, and an organisation that it could be connected to."""

    project: Project
    owner: Developer
    org: Organization

    def address(self, leaf: str = "", *, live: bool = False) -> str:
        """Where the connection is."""
        query = "?test_mode=false" if live else ""
        return f"/api/v1/projects/{self.project.pk}/connections/github{leaf}{query}"

    def put(self, *, live: bool = False, who: Developer | None = None, **fields: Any) -> Any:
        """Set the connection; the organisation's own team and token where nothing else is said."""
        body = {"organization": self.org.login, "team_slug": TEAM, "token": self.org.token} | fields
        body = {name: value for name, value in body.items() if value != "left out"}
        client = (who or self.owner).client
        return client.put(self.address(live=live), data=body, content_type="application/json")

    def get(self, who: Developer | None = None, *, live: bool = False) -> Any:
        """Read the connection."""
        return (who or self.owner).client.get(self.address(live=live))

    def delete(self, who: Developer | None = None) -> Any:
        """Delete the connection."""
        return (who or self.owner).client.delete(self.address())

    def check(self) -> dict[str, Any]:
        """Ask whether it works."""
        answer = self.owner.client.post(self.address("/check"), data={}, content_type="application/json")
        assert answer.status_code == 200, answer.content
        return dict(answer.json())

    def row(self, mode: str = "test") -> GitHubConnection:
        """Read the stored connection."""
        return GitHubConnection.objects.for_project(self.project).get(mode=mode)


@pytest.fixture
def world(acme: Any, alice: Any, org: Organization) -> World:
    return World(acme, alice, org)


def refusal(answer: Any) -> tuple[str, str]:
    """Return the field that an answer refuses, and why."""
    assert answer.status_code == 422, answer.content
    error = answer.json()["detail"][0]
    return error["loc"][-1], error["msg"]


def test_a_token_is_examined_written_and_never_shown(world: World) -> None:
    assert world.get().json()["code"] == "connection_not_found"
    put = world.put()
    assert put.status_code == 200, put.content
    body = put.json()
    assert (body["organization"], body["team_slug"], body["kind"]) == (world.org.login, TEAM, "github")
    assert (body["is_test_mode"], body["problem"], body["seats"]) == (True, None, 0)
    assert (body["token_login"], body["token_expires_at"]) == (world.org.owner, None)
    assert body["token_masked"] == f"...{world.org.token[-4:]}" and body["answered_at"]
    assert world.get().json() == body
    row = world.row()
    assert row.get_token() == world.org.token
    shown = put.content.decode() + world.get().content.decode() + repr(row) + str(row) + row.token
    assert world.org.token not in shown
    with database.cursor() as cursor:
        token = f"%{world.org.token}%"
        cursor.execute("SELECT count(*) FROM licenses_githubconnection c WHERE c::text LIKE %s", [token])
        assert cursor.fetchone() == (0,)
    verdict = world.check()
    assert (verdict["ok"], verdict["problem"]) == (True, None)
    assert [one["name"] for one in verdict["findings"]] == [
        "token", "organization", "owner", "base_permission", "team", "invitations", "members",
    ]  # fmt: skip
    assert all(one["ok"] for one in verdict["findings"])
    # Looking changes nothing: the one DELETE is of an invitation that cannot exist.
    changed = {line for line in world.org.requests() if not line.startswith("GET ")}
    assert changed == {f"DELETE /orgs/{world.org.login}/invitations/0"}
    assert list(ActionLog.objects.for_project(world.project).values_list("action", "mode")) == [
        ("github_connection.save", "test")
    ]


def test_each_mode_has_its_own_and_roles_hold(world: World, bob: Developer, charlie: Developer) -> None:
    assert world.put(live=True).status_code == 200
    assert world.get().status_code == 404 and world.get(live=True).status_code == 200
    # The ciphertext of one mode is worth nothing in the other.
    stolen = GitHubConnection(project=world.project, mode="test", organization="a", team_slug="b")
    stolen.token = world.row("live").token
    with pytest.raises(Exception, match="does not decrypt"):
        stolen.get_token()
    assert world.put(who=bob).status_code == 200
    set_role(world.project, bob, "viewer")
    assert world.get(bob).status_code == 200
    assert [world.put(who=bob).status_code, world.delete(bob).status_code] == [403, 403]
    assert [world.put(who=charlie).status_code, world.get(charlie).status_code] == [404, 404]
    assert GitHubConnection.objects.for_project(world.project).count() == 2


def test_what_is_missing_is_named_and_nothing_is_saved(world: World) -> None:
    org = world.org
    login, _ = org.person()
    org.set_role(login, "member")
    cases = [
        ({"token": "github_pat_wrong"}, "token", "refuses the token"),
        ({"organization": "nobody-has-this"}, "organization", "no organisation"),
        ({"organization": create_organization(org.url).login}, "token", "does not belong"),
        ({"team_slug": "no-such-team"}, "team_slug", "no team"),
        ({"token": org.new_token(user=login)}, "token", "does not own"),
        ({"token": org.new_token(permissions={"members": "read"})}, "token", "may not change members"),
        ({"token": org.new_token(permissions={})}, "token", "Members: read and write"),
        ({"token": org.new_token(kind="classic", permissions={"scopes": ["read:org"]})}, "token", "may not change"),
        ({"token": org.new_token(kind="classic", permissions={"scopes": []})}, "token", "does not belong"),
        ({"token": "left out"}, "token", "Give a token"),
        ({"token": "a b"}, "token", "visible characters"),
        ({"organization": "../x"}, "organization", "its address"),
        ({"team_slug": "a/b"}, "team_slug", "its address"),
    ]
    for fields, name, text in cases:
        given: dict[str, Any] = fields
        where, message = refusal(world.put(**given))
        assert (where, text in message) == (name, True), (fields, where, message)
    org.settings(requires_single_sign_on=True)
    where, message = refusal(world.put(token=org.new_token(authorised=False)))
    assert where == "token" and "single sign-on" in message
    assert not GitHubConnection.objects.for_project(world.project).exists()
    org.settings(requires_single_sign_on=False)
    assert world.put(token=org.new_token(kind="classic")).status_code == 200


def test_an_apps_token_is_no_use(world: World) -> None:
    world.org.fault("GET /user", "status:403")
    where, message = refusal(world.put())
    assert where == "token" and "no person's token" in message


def test_what_will_stop_buyers_is_a_warning(world: World) -> None:
    world.org.settings(requires_two_factor=True, seats=1)
    assert world.put(token=world.org.new_token(expires_in=3 * DAY)).status_code == 200
    expires_at = world.row().token_expires_at
    assert expires_at is not None and dt.timedelta(days=2) < expires_at - timezone.now() < dt.timedelta(days=4)
    verdict = world.check()
    assert verdict["ok"] is True
    warned = {one["name"] for one in verdict["findings"] if one["is_warning"]}
    assert warned == {"token_expiry", "two_factor", "seats"}
    # GitHub names the present as the end of some tokens that have none.
    assert world.put(token=world.org.new_token(expires_in=300)).status_code == 200
    assert world.row().token_expires_at is None


def test_members_who_would_see_every_repository_are_no_connection(world: World) -> None:
    for permission in ("read", "write", "admin", "odd"):
        world.org.settings(default_repository_permission=permission)
        where, message = refusal(world.put())
        assert where == "organization" and 'Base permissions to "No permission"' in message, permission
    assert not GitHubConnection.objects.for_project(world.project).exists()
    # Some tokens may not be shown it.
    world.org.settings(default_repository_permission=None)
    assert world.put().status_code == 200
    verdict = world.check()
    assert verdict["ok"] and [one["name"] for one in verdict["findings"] if one["is_warning"]] == ["base_permission"]
    world.org.settings(default_repository_permission="read")
    verdict = world.check()
    assert (verdict["ok"], verdict["problem"]) == (False, "base_permission")
    # That somebody can be invited does not make it right.
    GitHub(world.project, "test").invite(world.org.person()[0])
    assert world.row().problem == "base_permission"
    assert ReviewItem.objects.for_project(world.project).count() == 1
    world.org.settings(default_repository_permission="none")
    assert world.check()["ok"] and world.row().problem == ""


def test_a_token_is_kept_until_another_is_given(world: World) -> None:
    world.put()
    world.org.add_team("beta")
    for left in ("left out", None):
        assert world.put(token=left, team_slug="beta").status_code == 200
    assert (world.row().get_token(), world.row().team_slug) == (world.org.token, "beta")
    another = world.org.new_token()
    assert world.put(token=another).status_code == 200
    assert world.row().get_token() == another
    row = world.row()
    row.token = "v1:gone:AAAA"
    row.save()
    assert refusal(world.put(token=None)) == ("token", "The stored token cannot be read: give it again.")
    verdict = world.check()
    assert (verdict["ok"], verdict["problem"]) == (False, "token_unreadable")


@pytest.mark.parametrize("do", ["hang", "status:500", "html", "huge", "redirect", "refuse:primary", "list"])
def test_a_github_that_is_away_is_saved_and_checked_later(
    do: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_client, "TIMEOUT_SECONDS", 0.4)
    world.org.fault("GET /user", do, seconds=1)
    assert world.put().status_code == 200
    assert world.row().problem in ("unreachable", "unexpected")
    assert world.check() | {"findings": [], "message": ""} == {
        "ok": True,
        "problem": None,
        "findings": [],
        "message": "",
    }
    assert (world.row().problem, world.row().token_login) == ("", world.org.owner)


def test_what_breaks_later_is_found_put_before_a_person_once_and_mended(world: World) -> None:
    world.put()
    world.org.revoke_tokens()
    for _ in range(2):
        verdict = world.check()
        assert (verdict["ok"], verdict["problem"]) == (False, "token_rejected")
    items = ReviewItem.objects.for_project(world.project)
    assert [item.title for item in items] == ["The connection to GitHub does not work: The token is refused"]
    alerts = OutboxRow.objects.for_project(world.project).filter(kind="alert")
    assert [alert.payload["title"] for alert in alerts] == [items[0].title]
    waiting = OutboxRow.objects.create(
        project=world.project, mode="test", kind="github_invite", effect_key="test:waits", payload={},
        next_attempt_at=timezone.now() + dt.timedelta(hours=1), wait_reason=GITHUB_CONNECTION,
    )  # fmt: skip
    assert world.put(token=world.org.new_token()).status_code == 200
    waiting.refresh_from_db()
    assert (waiting.wait_reason, waiting.next_attempt_at <= timezone.now()) == ("", True)
    assert world.row().problem == ""
    # What was read before the connection was saved says nothing about the one that is there now.
    old = world.row()
    world.put(token=world.org.new_token())
    note_problem(old, "token_rejected")
    assert world.row().problem == "" and items.count() == 1


def test_what_changed_at_github_is_found_by_the_daily_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    GitHubConnection.objects.exclude(project=world.project).update(is_active=False)
    assert world.put().status_code == 200
    world.org.settings(default_repository_permission="write")
    assert examine_connections() == 1 and world.row().problem == "base_permission"
    assert ReviewItem.objects.for_project(world.project).count() == 1
    world.org.settings(default_repository_permission="none")
    assert examine_connections() == 1 and world.row().problem == ""
    # While GitHub is away not everybody's connection is asked about, and of a deleted project's never.
    for number in range(4):
        project = create_project(world.owner, f"Shop {number}")
        row = GitHubConnection(project=project, mode="live", organization=world.org.login, team_slug=TEAM)
        row.set_token(world.org.token)
        row.save()
    monkeypatch.setattr(github_connection, "SILENT_MAX", 2)
    world.org.fault("GET *", "status:502", times=99)
    assert examine_connections() == 2
    world.org.clear_faults()
    Project.objects.exclude(pk=world.project.pk).filter(github_connections__is_active=True).update(is_active=False)
    assert examine_connections() == 1


def test_a_deleted_connection_forgets_its_token(world: World) -> None:
    world.put()
    assert world.delete().status_code == 204
    row = world.row()
    assert (row.is_active, row.token, row.token_masked, row.token_login) == (False, "", "", "")
    assert [world.get().status_code, world.delete().status_code] == [404, 404]
    assert refusal(world.put(token="left out"))[0] == "token"
    assert world.put().status_code == 200 and world.row().pk == row.pk
    # Nobody had been let in, so nobody is told.
    assert not ReviewItem.objects.for_project(world.project).exists()


def test_of_two_that_save_at_once_one_wins_and_nothing_is_mixed(world: World) -> None:
    world.org.add_team("beta")
    tokens = {TEAM: world.org.token, "beta": world.org.new_token()}
    teams = list(tokens)
    answers = at_once(2, lambda number: world.put(team_slug=teams[number], token=tokens[teams[number]]))
    codes = sorted(answer.status_code for answer in answers)
    assert codes in ([200, 409], [200, 200])
    row = world.row()
    assert row.get_token() == tokens[row.team_slug]


def test_staff_and_developers_see_it_without_the_token(world: World, charlie: Developer) -> None:
    world.put()
    row = world.row()
    # Developers who may open the admin see their own projects there.
    for developer in (world.owner, charlie):
        User.objects.filter(pk=developer.user.pk).update(is_staff=True)
        developer.user.refresh_from_db()
    pages = ("/admin/licenses/githubconnection/", f"/admin/licenses/githubconnection/{row.pk}/change/")
    for user in (world.owner.user, staff(world.project)):
        browser = Client()
        browser.force_login(user)
        for page in pages:
            answer = browser.get(page)
            assert answer.status_code == 200 and world.org.login in answer.content.decode(), page
            assert world.org.token not in answer.content.decode() and row.token not in answer.content.decode()
        assert browser.post(pages[1], data={"organization": "x"}).status_code == 403
    foreign = Client()
    foreign.force_login(charlie.user)
    assert world.org.login not in foreign.get(pages[0]).content.decode()
    assert foreign.get(pages[1]).status_code in (302, 403, 404)
    row.refresh_from_db()
    assert row.organization == world.org.login


def staff(project: Project) -> User:
    """Make somebody who works for support."""
    user = User.objects.create_user(f"support-{project.pk.hex}@example.com", "correct horse battery", is_staff=True)
    user.groups.add(Group.objects.get_or_create(name=ROLE_SUPPORT)[0])
    return user
