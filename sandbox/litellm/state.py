"""What a stand-in proxy keeps: users, their spend, keys. The only file of the stand-in that touches tables.

Invariant: what is spent counts at once for what is allowed, and is reported only after a while: a proxy's writes are batched.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .. import clock, ids
from ..store import Tx
from .resets import reset_after

Object = dict[str, Any]
SCHEMA = [
    """CREATE TABLE IF NOT EXISTS litellm_proxies (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, key_hash TEXT NOT NULL UNIQUE, last4 TEXT NOT NULL, created REAL NOT NULL,
        settings TEXT NOT NULL DEFAULT '{}')""",
    """CREATE TABLE IF NOT EXISTS litellm_users (
        proxy TEXT NOT NULL, user_id TEXT NOT NULL, email TEXT, json TEXT NOT NULL, spend REAL NOT NULL DEFAULT 0,
        created REAL NOT NULL, PRIMARY KEY (proxy, user_id))""",
    "CREATE INDEX IF NOT EXISTS litellm_emails ON litellm_users (proxy, lower(email))",
    """CREATE TABLE IF NOT EXISTS litellm_calls (
        proxy TEXT NOT NULL, user_id TEXT NOT NULL, cost REAL NOT NULL, tokens INTEGER NOT NULL, at REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS litellm_calls_of ON litellm_calls (proxy, user_id, at)",
    """CREATE TABLE IF NOT EXISTS litellm_keys (
        key_hash TEXT PRIMARY KEY, proxy TEXT NOT NULL, user_id TEXT, team_id TEXT, name TEXT NOT NULL, created REAL NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS litellm_keys_of ON litellm_keys (proxy, user_id)",
]
# `spend_lag_seconds`: how long a spend is not reported. `thin_info`: /v2/user/info leaves the rates out, as some releases do.
# `default_max_budget`: what /user/new gives who is made without a budget. `ignored_fields`: what /user/update takes and forgets,
# as a rule of the proxy's own might. `offset_seconds`: how far its clock is ahead.
DEFAULTS: Object = {
    "spend_lag_seconds": 10,
    "thin_info": False,
    "default_max_budget": None,
    "ignored_fields": [],
    "offset_seconds": 0,
}


@dataclass(frozen=True)
class Proxy:
    """One stand-in proxy: whoever has its master key may do everything there."""

    id: str
    name: str
    last4: str
    created: float
    settings: Object = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Its time."""
        return clock.now() + float(self.settings["offset_seconds"])


def digest(key: str) -> str:
    """Give what a key is stored as."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_proxy(tx: Tx, name: str) -> tuple[Proxy, str]:
    """Make a proxy; its master key is given this once."""
    key = f"sk-{secrets.token_urlsafe(24)}"
    proxy_id = f"proxy_{ids.random_text(16)}"
    tx.execute(
        "INSERT INTO litellm_proxies (id, name, key_hash, last4, created) VALUES (?,?,?,?,?)",
        (proxy_id, name, digest(key), key[-4:], clock.now()),
    )
    made = find_proxy(tx, proxy_id)
    assert made is not None
    return made, key


def _proxy(row: Any) -> Proxy:
    return Proxy(row["id"], row["name"], row["last4"], row["created"], {**DEFAULTS, **json.loads(row["settings"])})


def list_proxies(tx: Tx) -> list[Proxy]:
    """Give all proxies, oldest first."""
    return [_proxy(row) for row in tx.execute("SELECT * FROM litellm_proxies ORDER BY created, rowid")]


def find_proxy(tx: Tx, proxy_id: str) -> Proxy | None:
    """Find a proxy by its id."""
    row = tx.execute("SELECT * FROM litellm_proxies WHERE id = ?", (proxy_id,)).fetchone()
    return _proxy(row) if row else None


def proxy_of_master_key(tx: Tx, key: str) -> Proxy | None:
    """Find the proxy whose master key this is."""
    row = tx.execute("SELECT * FROM litellm_proxies WHERE key_hash = ?", (digest(key),)).fetchone()
    return _proxy(row) if row else None


def change_settings(tx: Tx, proxy: Proxy, changes: Object) -> Proxy:
    """Change how a proxy behaves."""
    tx.execute(
        "UPDATE litellm_proxies SET settings = ? WHERE id = ?", (json.dumps({**proxy.settings, **changes}), proxy.id)
    )
    found = find_proxy(tx, proxy.id)
    assert found is not None
    return found


def change_master_key(tx: Tx, proxy: Proxy) -> str:
    """Give a proxy another master key; the one before is refused from now on."""
    key = f"sk-{secrets.token_urlsafe(24)}"
    tx.execute("UPDATE litellm_proxies SET key_hash = ?, last4 = ? WHERE id = ?", (digest(key), key[-4:], proxy.id))
    return key


# Users


def insert_user(tx: Tx, proxy: Proxy, user: Object) -> None:
    """Add a user."""
    tx.execute(
        "INSERT INTO litellm_users (proxy, user_id, email, json, created) VALUES (?,?,?,?,?)",
        (proxy.id, user["user_id"], user["user_email"], json.dumps(user), proxy.now),
    )


def save_user(tx: Tx, proxy: Proxy, user: Object) -> None:
    """Write a user back."""
    tx.execute(
        "UPDATE litellm_users SET email = ?, json = ? WHERE proxy = ? AND user_id = ?",
        (user["user_email"], json.dumps(user), proxy.id, user["user_id"]),
    )


def find_user(tx: Tx, proxy: Proxy, user_id: str) -> Object | None:
    """Read a user by its id, with what it has spent as the proxy reports it."""
    row = tx.execute("SELECT json FROM litellm_users WHERE proxy = ? AND user_id = ?", (proxy.id, user_id)).fetchone()
    return {**json.loads(row["json"]), "spend": reported_spend(tx, proxy, user_id)} if row else None


def user_of_email(tx: Tx, proxy: Proxy, email: str) -> str | None:
    """Give the id of the user who has an address, in any case of letters."""
    row = tx.execute(
        "SELECT user_id FROM litellm_users WHERE proxy = ? AND lower(email) = lower(?) ORDER BY created LIMIT 1",
        (proxy.id, email.strip()),
    ).fetchone()
    return str(row["user_id"]) if row else None


def list_users(tx: Tx, proxy: Proxy) -> list[Object]:
    """Give all users of a proxy, the newest first."""
    rows = tx.execute(
        "SELECT user_id FROM litellm_users WHERE proxy = ? ORDER BY created DESC, rowid DESC", (proxy.id,)
    )
    return [user for row in rows.fetchall() if (user := find_user(tx, proxy, row["user_id"]))]


def delete_user(tx: Tx, proxy: Proxy, user_id: str) -> None:
    """Remove a user with its keys and its spend."""
    for table in ("litellm_users", "litellm_keys", "litellm_calls"):
        tx.execute(f"DELETE FROM {table} WHERE proxy = ? AND user_id = ?", (proxy.id, user_id))  # noqa: S608


# Spend


def renew_budget(tx: Tx, proxy: Proxy, user: Object) -> None:
    """Set the spend back when the user's time has come."""
    due = user.get("budget_reset_at")
    if due and datetime.fromisoformat(due).timestamp() <= proxy.now:
        set_spend(tx, proxy, user["user_id"], 0)
        user["budget_reset_at"] = moment(reset_after(user["budget_duration"], proxy.now))
        save_user(tx, proxy, {name: value for name, value in user.items() if name != "spend"})


def set_spend(tx: Tx, proxy: Proxy, user_id: str, amount: float) -> None:
    """Say what a user has spent, whatever they have."""
    tx.execute("DELETE FROM litellm_calls WHERE proxy = ? AND user_id = ?", (proxy.id, user_id))
    tx.execute("UPDATE litellm_users SET spend = ? WHERE proxy = ? AND user_id = ?", (amount, proxy.id, user_id))


def add_call(tx: Tx, proxy: Proxy, user_id: str, *, cost: float, tokens: int) -> None:
    """Count one call of a model."""
    tx.execute(
        "INSERT INTO litellm_calls (proxy, user_id, cost, tokens, at) VALUES (?,?,?,?,?)",
        (proxy.id, user_id, cost, tokens, proxy.now),
    )


def enforced_spend(tx: Tx, proxy: Proxy, user_id: str) -> float:
    """Give what a user has spent up to now."""
    return _spend(tx, proxy, user_id, proxy.now)


def reported_spend(tx: Tx, proxy: Proxy, user_id: str) -> float:
    """Give what the proxy says that a user has spent: it lags."""
    return _spend(tx, proxy, user_id, proxy.now - float(proxy.settings["spend_lag_seconds"]))


def _spend(tx: Tx, proxy: Proxy, user_id: str, until: float) -> float:
    row = tx.execute(
        """SELECT spend + coalesce((SELECT sum(cost) FROM litellm_calls c
                                    WHERE c.proxy = u.proxy AND c.user_id = u.user_id AND c.at <= ?), 0) AS spent
           FROM litellm_users u WHERE proxy = ? AND user_id = ?""",
        (until, proxy.id, user_id),
    ).fetchone()
    return round(float(row["spent"]), 9) if row else 0.0


def last_minute(tx: Tx, proxy: Proxy, user_id: str) -> tuple[int, int]:
    """Give how many calls and tokens a user had within the last minute."""
    row = tx.execute(
        """SELECT count(*) AS calls, coalesce(sum(tokens), 0) AS tokens FROM litellm_calls
           WHERE proxy = ? AND user_id = ? AND at > ?""",
        (proxy.id, user_id, proxy.now - 60),
    ).fetchone()
    return int(row["calls"]), int(row["tokens"])


# Keys


def create_key(tx: Tx, proxy: Proxy, user_id: str | None, team_id: str | None) -> Object:
    """Make a key; its text is given this once."""
    key = f"sk-{secrets.token_urlsafe(18)}"
    name = f"sk-...{key[-4:]}"
    tx.execute(
        "INSERT INTO litellm_keys (key_hash, proxy, user_id, team_id, name, created) VALUES (?,?,?,?,?,?)",
        (digest(key), proxy.id, user_id, team_id, name, proxy.now),
    )
    return {"key": key, "key_name": name, "user_id": user_id, "team_id": team_id}


def list_keys(tx: Tx, proxy: Proxy, user_id: str) -> list[Object]:
    """Give a user's keys without their text."""
    rows = tx.execute(
        "SELECT * FROM litellm_keys WHERE proxy = ? AND user_id = ? ORDER BY created", (proxy.id, user_id)
    )
    return [
        {"token": row["key_hash"], "key_name": row["name"], "user_id": user_id, "team_id": row["team_id"]}
        for row in rows
    ]


def find_key(tx: Tx, key: str) -> tuple[Proxy, Object] | None:
    """Find a key of a user or a team, and its proxy."""
    row = tx.execute("SELECT * FROM litellm_keys WHERE key_hash = ?", (digest(key),)).fetchone()
    proxy = find_proxy(tx, row["proxy"]) if row else None
    return (proxy, {"user_id": row["user_id"], "team_id": row["team_id"]}) if row and proxy else None


def moment(seconds: float) -> str:
    """Write a moment as LiteLLM does."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
