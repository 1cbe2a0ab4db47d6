"""An organisation at the sandbox's GitHub, as tests use it: its calls, its switches, what it was asked."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_SECONDS = 20
TEAM = "customers"
DAY = 24 * 3600
HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "tests/1",
}


@dataclass(frozen=True)
class Organization:
    """One organisation with a token of its owner's."""

    url: str
    login: str
    owner: str
    token: str = field(repr=False)

    @property
    def api_base(self) -> str:
        """What GITHUB_API_BASE is set to."""
        return f"{self.url}/_github"

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> httpx.Response:
        """Call the API as the owner, or with another token ("" = none)."""
        used = self.token if token is None else token
        headers = HEADERS | ({"Authorization": f"Bearer {used}"} if used else {})
        content: dict[str, Any] = {} if body is None else {"json": body}
        return httpx.request(method, f"{self.api_base}{path}", headers=headers, timeout=TIMEOUT_SECONDS, **content)

    def place(self, login: str, *, team: str = TEAM) -> str:
        """Name the path of somebody's place in a team."""
        return f"/orgs/{self.login}/teams/{team}/memberships/{login}"

    def invite(self, login: str, *, team: str = TEAM) -> httpx.Response:
        """Let somebody in."""
        return self.ask("PUT", self.place(login, team=team), {"role": "member"})

    def state(self) -> dict[str, Any]:
        """Everybody who belongs to it or was invited."""
        return dict(self._switch("GET", "").json())

    def members(self, team: str = TEAM) -> list[str]:
        """Who is in a team."""
        return list(self.state()["teams"][team])

    def invited(self) -> list[str]:
        """Who has an invitation that waits for an answer."""
        return [one["login"] for one in self.state()["invitations"]]

    def settings(self, **changes: Any) -> None:
        """Change how the organisation behaves."""
        self._switch("POST", "/settings", changes)

    def advance(self, seconds: float) -> None:
        """Move its clock."""
        self._switch("POST", "/advance", {"seconds": seconds})

    def add_team(self, slug: str, *, synced: bool = False) -> None:
        """Make another team."""
        self._switch("POST", "/teams", {"slug": slug, "synced": synced})

    def new_token(self, **wanted: Any) -> str:
        """Make another token: kind, permissions, user, authorised, expires_in."""
        return str(self._switch("POST", "/tokens", wanted).json()["token"])

    def revoke_tokens(self) -> None:
        """Make every token worthless."""
        self._switch("DELETE", "/tokens")

    def set_role(self, login: str, role: str | None, *teams: str) -> None:
        """Make somebody a member or an owner by hand, or end that."""
        self._switch("POST", "/members", {"login": login, "role": role, "teams": list(teams)})

    def answer(self, login: str, *, accept: bool = True) -> None:
        """Accept or decline an invitation as the one who was invited."""
        self._switch("POST", "/answer", {"login": login, "accept": accept})

    def fault(self, match: str, do: str, **more: Any) -> None:
        """Let requests go wrong."""
        self._switch("POST", "/faults", {"match": match, "do": do, **more})

    def clear_faults(self) -> None:
        """Let everything work again."""
        self._switch("DELETE", "/faults")

    def requests(self, method: str = "") -> list[str]:
        """What it was asked, oldest first: `METHOD /path`."""
        rows = self._switch("GET", "/requests").json()["data"]
        return [f"{row['method']} {row['path']}" for row in rows if method in ("", row["method"])]

    def person(self, name: str = "person", **more: Any) -> tuple[str, int]:
        """Make a user with a name that nobody has yet; give the name and the number."""
        login = f"{name}-{uuid.uuid4().hex[:10]}"
        made = self.people("POST", "", {"login": login, **more})
        return login, int(made["id"])

    def rename(self, login: str, new: str) -> None:
        """Give somebody another name."""
        self.people("POST", f"/{login}/rename", {"login": new})

    def people(self, method: str, what: str, body: Any = None) -> Any:
        """Use a switch for users."""
        address = f"{self.url}/_sandbox/api/github/users{what}"
        answer = httpx.request(method, address, json=body or {}, timeout=TIMEOUT_SECONDS)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def _switch(self, method: str, what: str, body: Any = None) -> httpx.Response:
        content: dict[str, Any] = {} if body is None else {"json": body}
        address = f"{self.url}/_sandbox/api/github/organizations/{self.login}{what}"
        answer = httpx.request(method, address, timeout=TIMEOUT_SECONDS, **content)
        assert answer.status_code < 300, answer.text
        return answer


def create_organization(url: str, name: str = "org", *teams: str) -> Organization:
    """Make an organisation with a name that nobody has yet in the sandbox at an address."""
    body = {"login": f"{name}-{uuid.uuid4().hex[:10]}", "teams": list(teams) or [TEAM]}
    answer = httpx.post(f"{url}/_sandbox/api/github/organizations", json=body, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return Organization(url, made["organization"], made["owner"], made["token"])
