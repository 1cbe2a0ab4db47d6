"""The stand-in for GitHub behaves as docs/github.md says that GitHub does: each fact has its test.

Every request here and every answer is checked against GitHub's own description; the run fails in the end when one deviated.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import psutil
import pytest

from config.embedded import stop_process
from sandbox.github import shapes
from tests.conftest import Sandbox, start_sandbox
from tests.github import DAY, TEAM, Organization, create_organization


@pytest.fixture
def org(sandbox: Sandbox) -> Organization:
    return create_organization(sandbox.url)


def test_only_a_token_in_force_may_and_people_have_numbers(org: Organization, sandbox: Sandbox) -> None:
    login, number = org.person("Mona")
    for token in ("", "github_pat_wrong", org.token[:-1]):
        answer = org.ask("GET", "/user", token=token)
        assert (answer.status_code, answer.json()["message"]) == (401, "Bad credentials")
    found = org.ask("GET", f"/users/{login.upper()}").json()
    assert (found["id"], found["login"], found["type"]) == (number, login, "User")
    assert org.ask("GET", f"/user/{number}").json() == found
    assert org.ask("GET", "/user").json()["login"] == org.owner
    assert org.ask("GET", f"/users/{org.login}").json()["type"] == "Organization"
    assert org.ask("GET", f"/users/{login}-x").status_code == 404
    org.rename(login, f"{login}-2")
    assert org.ask("GET", f"/users/{login}").status_code == 404
    assert org.ask("GET", f"/user/{number}").json()["login"] == f"{login}-2"
    stranger, other = org.person("Stranger")
    org.rename(stranger, login)
    assert org.ask("GET", f"/users/{login}").json()["id"] == other
    # Another organisation's token sees that this one is there, and nobody in it.
    foreign = create_organization(sandbox.url)
    assert foreign.ask("GET", f"/orgs/{org.login}").status_code == 200
    assert foreign.ask("GET", org.place(org.owner)).status_code == 404
    assert foreign.ask("PUT", org.place(login), {"role": "member"}).status_code == 404
    assert org.invited() == []


def test_a_put_invites_once_and_acceptance_makes_a_member(org: Organization) -> None:
    login, number = org.person()
    assert org.ask("GET", org.place(login)).status_code == 404
    for _ in range(2):
        answer = org.invite(login).json()
        assert (answer["state"], answer["role"]) == ("pending", "member")
    invitations = org.ask("GET", f"/orgs/{org.login}/invitations").json()
    assert [(one["login"], one["team_count"], one["failed_at"]) for one in invitations] == [(login, 1, None)]
    assert org.ask("GET", f"/orgs/{org.login}/memberships/{login}").json()["state"] == "pending"
    org.add_team("beta")
    assert org.invite(login, team="beta").json()["state"] == "pending"
    assert org.ask("GET", f"/orgs/{org.login}/invitations").json()[0]["team_count"] == 2
    org.answer(login)
    assert (org.members(), org.members("beta"), org.invited()) == ([login], [login], [])
    membership = org.ask("GET", f"/orgs/{org.login}/memberships/{login}").json()
    assert (membership["state"], membership["role"], membership["user"]["id"]) == ("active", "member", number)
    assert org.invite(login).json()["state"] == "active"
    # A member of the organisation is in another team at once.
    org.add_team("gamma")
    assert org.invite(login, team="gamma").json()["state"] == "active"


def test_an_invitation_expires_after_seven_days_and_is_listed_as_failed(org: Organization) -> None:
    login, _ = org.person()
    org.invite(login)
    org.advance(7 * DAY - 60)
    assert org.ask("GET", org.place(login)).json()["state"] == "pending"
    org.advance(120)
    for path in (org.place(login), f"/orgs/{org.login}/memberships/{login}"):
        assert org.ask("GET", path).status_code == 404
    # Nothing is left that could be cancelled.
    assert org.ask("DELETE", f"/orgs/{org.login}/memberships/{login}").status_code == 404
    assert org.ask("GET", f"/orgs/{org.login}/invitations").json() == []
    failed = org.ask("GET", f"/orgs/{org.login}/failed_invitations").json()
    assert [(one["login"], "expired" in one["failed_reason"]) for one in failed] == [(login, True)]
    assert org.invite(login).json()["state"] == "pending"
    org.answer(login, accept=False)
    assert org.ask("GET", org.place(login)).status_code == 404 and org.members() == []


def test_removal_from_the_team_leaves_the_invitation_alive(org: Organization) -> None:
    login, _ = org.person()
    org.invite(login)
    assert org.ask("DELETE", org.place(login)).status_code == 204
    assert org.ask("GET", org.place(login)).status_code == 404
    assert org.ask("GET", f"/orgs/{org.login}/memberships/{login}").json()["state"] == "pending"
    assert org.ask("DELETE", f"/orgs/{org.login}/memberships/{login}").status_code == 204
    assert org.invited() == []
    org.invite(login)
    number = org.ask("GET", f"/orgs/{org.login}/invitations").json()[0]["id"]
    assert [org.ask("DELETE", f"/orgs/{org.login}/invitations/{one}").status_code for one in (number, number)] == [
        204,
        404,
    ]
    org.invite(login)
    org.answer(login)
    assert org.ask("DELETE", f"/orgs/{org.login}/memberships/{login}").status_code == 204
    assert org.members() == [] and org.ask("DELETE", org.place(login)).status_code == 404


def test_lists_come_in_pages(org: Organization) -> None:
    people = [org.person()[0] for _ in range(5)]
    for login in people:
        org.invite(login)
    path, seen, links = f"/orgs/{org.login}/invitations?per_page=2", [], []
    while path:
        answer = org.ask("GET", path)
        seen += [one["login"] for one in answer.json()]
        links.append(answer.headers.get("Link", ""))
        following = re.search(r'<([^>]+)>; rel="next"', links[-1])
        path = following[1].removeprefix(org.api_base) if following else ""
    assert seen == people and len(links) == 3
    assert 'rel="last"' in links[0] and 'rel="prev"' in links[2] and 'rel="next"' not in links[2]
    # Without a size there are thirty on a page.
    assert len(org.ask("GET", f"/orgs/{org.login}/invitations").json()) == 5


def test_what_a_token_may_is_held_to(org: Organization) -> None:
    login, _ = org.person()
    reader = org.new_token(permissions={"members": "read"})
    assert org.ask("GET", f"/orgs/{org.login}/invitations", token=reader).status_code == 200
    assert org.ask("PUT", org.place(login), {"role": "member"}, token=reader).status_code == 403
    blind = org.new_token(permissions={})
    assert org.ask("GET", f"/orgs/{org.login}/teams/{TEAM}", token=blind).status_code == 403
    classic = org.new_token(kind="classic")
    assert org.ask("GET", "/user", token=classic).headers["X-OAuth-Scopes"] == "admin:org"
    assert org.ask("PUT", org.place(login), {"role": "member"}, token=classic).status_code == 200
    weak = org.new_token(kind="classic", permissions={"scopes": ["read:org"]})
    assert org.ask("PUT", org.place(login), {"role": "member"}, token=weak).status_code == 404
    org.set_role(login, "member")
    members = org.new_token(user=login)
    assert org.ask("PUT", org.place(org.owner), {"role": "member"}, token=members).status_code == 403
    assert org.ask("GET", f"/orgs/{org.login}/invitations", token=members).status_code == 404
    org.settings(requires_single_sign_on=True)
    unauthorised = org.new_token(authorised=False)
    refused = org.ask("GET", f"/orgs/{org.login}/teams/{TEAM}", token=unauthorised)
    assert refused.status_code == 403 and refused.headers["X-GitHub-SSO"].startswith("required; url=")
    assert org.ask("GET", f"/orgs/{org.login}/teams/{TEAM}").status_code == 200
    ending = org.ask("GET", "/user", token=org.new_token(expires_in=DAY))
    assert ending.headers["GitHub-Authentication-Token-Expiration"].endswith(" UTC")
    assert org.ask("GET", "/user", token=org.new_token(expires_in=-1)).status_code == 401


def test_quota_seats_two_factor_and_owners(org: Organization, sandbox: Sandbox) -> None:
    first, second, third = (org.person()[0] for _ in range(3))
    org.settings(invitations_per_day=1)
    assert org.invite(first).status_code == 200
    assert org.invite(first).status_code == 200
    over = org.invite(second)
    assert over.status_code == 422 and "Over invitation rate limit" in over.text
    org.advance(DAY)
    assert org.invite(second).status_code == 200
    org.settings(invitations_per_day=50, seats=3)
    assert org.invite(third).status_code == 422
    org.settings(seats=4)
    assert org.invite(third).status_code == 200
    assert org.ask("GET", f"/orgs/{org.login}").json()["plan"]["filled_seats"] == 4
    org.settings(seats=None, requires_two_factor=True)
    org.people("POST", f"/{first}/settings", {"two_factor": False})
    refused = httpx.post(
        f"{sandbox.url}/_sandbox/api/github/organizations/{org.login}/answer", json={"login": first, "accept": True}
    )
    assert refused.status_code == 409 and "two-factor" in refused.json()["error"]
    org.answer(second)
    assert org.invite(org.login).status_code == 422
    assert org.invite("nobody-has-this-name").status_code == 404
    org.add_team("synced", synced=True)
    assert org.invite(second, team="synced").status_code == 403
    assert org.ask("DELETE", f"/orgs/{org.login}/memberships/{org.owner}").status_code == 403


def test_limits_are_told_in_headers(org: Organization) -> None:
    login, _ = org.person()
    used = org.ask("GET", "/user").headers
    assert (used["X-RateLimit-Limit"], int(used["X-RateLimit-Remaining"]) + int(used["X-RateLimit-Used"])) == (
        "5000",
        5000,
    )
    org.settings(creations_per_minute=1)
    assert org.invite(login).status_code == 200
    secondary = org.invite(login)
    assert secondary.status_code == 403 and 0 < int(secondary.headers["Retry-After"]) <= 61
    org.settings(requests_per_hour=1)
    primary = org.ask("GET", "/user")
    assert (primary.status_code, primary.headers["X-RateLimit-Remaining"]) == (403, "0")
    assert "Retry-After" not in primary.headers and int(primary.headers["X-RateLimit-Reset"]) > 0


def test_the_pages_answer_invitations_and_hide_tokens(org: Organization, sandbox: Sandbox) -> None:
    web = f"{sandbox.url}/_github/_web"
    login, number = org.person()
    org.invite(login)
    page = httpx.get(f"{web}/orgs/{org.login}/invitation")
    assert login in page.text and "script-src" not in page.headers["Content-Security-Policy"]
    assert (
        org.token
        not in page.text + httpx.get(f"{sandbox.url}/_github").text + httpx.get(f"{web}/orgs/{org.login}").text
    )
    address = f"{web}/orgs/{org.login}/invitation"
    foreign = httpx.post(address, data={"login": login, "answer": "accept"}, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403 and org.members() == []
    assert httpx.post(address, data={"login": login, "answer": "accept"}).status_code == 303
    assert org.members() == [login]
    assert httpx.post(address, data={"login": login, "answer": "accept"}).status_code == 409
    assert httpx.post(f"{web}/users/{number}/rename", data={"login": f"{login}-new"}).status_code == 303
    assert org.members() == [f"{login}-new"]
    assert httpx.post(f"{web}/users", data={"login": "-no"}).status_code == 400
    assert httpx.post(f"{web}/orgs/{org.login}/remove", data={"login": org.owner}).status_code == 409
    assert httpx.post(f"{web}/orgs/{org.login}/remove", data={"login": f"{login}-new"}).status_code == 303
    assert org.members() == []
    made = httpx.post(f"{web}/organizations", data={"login": f"{org.login[:20]}-made", "team": "insiders"})
    assert made.status_code == 201 and "github_pat_" in made.text
    assert httpx.get(f"{web}/orgs/nobody-has-this").status_code == 404


def test_nothing_is_lost_by_a_restart(tmp_path: Path) -> None:
    running, process = start_sandbox(tmp_path)
    org = create_organization(running.url)
    login, _ = org.person()
    org.invite(login)
    stop_process(psutil.Process(process.pid))
    again, process = start_sandbox(tmp_path)
    moved = Organization(again.url, org.login, org.owner, org.token)
    assert moved.invited() == [login]
    stop_process(psutil.Process(process.pid))


def test_deviations_from_githubs_description_are_noticed(sandbox: Sandbox, tmp_path: Path) -> None:
    assert len(shapes.spec()["operations"]) == 13 and "23.0.2" in shapes.spec()["source"]
    running, process = start_sandbox(tmp_path)
    org = create_organization(running.url)
    bare = {"Authorization": f"Bearer {org.token}"}
    httpx.get(f"{org.api_base}/user", headers=bare)
    org.ask("PUT", org.place(org.owner), {"role": "boss", "email": "a@example.com"})
    org.ask("GET", f"/orgs/{org.login}/invitations?size=3")
    found = httpx.get(f"{running.url}/_sandbox/api/violations").json()["data"]
    problems = " ".join(problem for one in found for problem in one["problems"])
    for word in ("X-GitHub-Api-Version", "request.body.role", "request.body.email", "request.query.size"):
        assert word in problems
    stop_process(psutil.Process(process.pid))
