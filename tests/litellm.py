"""A stand-in proxy of the sandbox, as tests use it: its calls, its switches, what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx

TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Proxy:
    """One proxy with its master key."""

    url: str
    proxy_id: str
    master_key: str = field(repr=False)

    @property
    def base_url(self) -> str:
        """What an app connects to."""
        return f"{self.url}/_litellm"

    def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> httpx.Response:
        """Call the proxy, as the master key's owner or with another key ("" = none)."""
        used = self.master_key if key is None else key
        headers = {"Authorization": f"Bearer {used}"} if used else {}
        content: dict[str, Any] = {} if body is None else {"json": body}
        return httpx.request(
            method, f"{self.base_url}{path}", headers=headers, params=query, timeout=TIMEOUT_SECONDS, **content
        )

    def new(self, **fields: Any) -> dict[str, Any]:
        """Make a user."""
        answer = self.ask("POST", "/user/new", fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def update(self, **fields: Any) -> httpx.Response:
        """Change a user."""
        return self.ask("POST", "/user/update", fields)

    def row(self, user_id: str) -> dict[str, Any]:
        """Read a user."""
        answer = self.ask("GET", "/v2/user/info", user_id=user_id)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def users(self) -> dict[str, dict[str, Any]]:
        """Everybody who is there, with what they have really spent and their keys."""
        rows = self._switch("GET", "users").json()["data"]
        return {row["user_id"]: row for row in rows}

    def key_of(self, user_id: str | None, team_id: str | None = None) -> str:
        """Make a key of a user, or of a team's."""
        return str(self.ask("POST", "/key/generate", {"user_id": user_id, "team_id": team_id}).json()["key"])

    def call_model(self, key: str, cost: float = 0.01) -> httpx.Response:
        """Use a key for a call that costs so much."""
        return self.ask("POST", "/chat/completions", {"model": "m", "messages": [], "stand_in_cost": cost}, key=key)

    def settings(self, **changes: Any) -> None:
        """Change how the proxy behaves."""
        self._switch("POST", "settings", changes)

    def roll(self) -> Proxy:
        """Give it another master key."""
        return Proxy(self.url, self.proxy_id, self._switch("POST", "roll", {}).json()["master_key"])

    def fault(self, match: str, do: str, **more: Any) -> None:
        """Let requests go wrong."""
        self._switch("POST", "faults", {"match": match, "do": do, **more})

    def clear_faults(self) -> None:
        """Let everything work again."""
        self._switch("DELETE", "faults")

    def requests(self, path: str = "") -> list[dict[str, Any]]:
        """What it was asked, oldest first."""
        return [entry for entry in self._switch("GET", "requests").json()["data"] if path in ("", entry["path"])]

    def _switch(self, method: str, what: str, body: Any = None) -> httpx.Response:
        content: dict[str, Any] = {} if body is None else {"json": body}
        address = f"{self.url}/_sandbox/api/litellm/{self.proxy_id}/{what}"
        answer = httpx.request(method, address, timeout=TIMEOUT_SECONDS, **content)
        assert answer.status_code < 300, answer.text
        return answer


def create_proxy(url: str, name: str = "Test proxy") -> Proxy:
    """Make a proxy in the sandbox at an address."""
    answer = httpx.post(f"{url}/_sandbox/api/litellm", json={"name": name}, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    return Proxy(url, made["proxy_id"], made["master_key"])
