"""Accounts and their API keys. Keys are shown once, at creation, and kept as hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from . import ids
from .errors import StripeError
from .store import Store, Tx

Object = dict[str, Any]
# Every account has these for both modes; restricted keys ("rk") are made one by one.
KEY_KINDS = {"sk": "secret", "pk": "publishable"}


@dataclass(frozen=True)
class Caller:
    """Whose key came with a request; `permissions` only for restricted keys."""

    account_id: str
    livemode: bool
    kind: str
    permissions: dict[str, str] | None = None
    expired: bool = False


def hash_of(key: str) -> str:
    """Give the digest under which a key is stored; keys are random, so a plain digest is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_account(store: Store, name: str, now: int) -> Object:
    """Make an account with keys for both modes and give them, this once."""
    account_id = ids.new_id("account")
    keys = {
        f"{mode}_{kind}_key": ids.api_key(prefix, livemode=mode == "live")
        for mode in ("test", "live")
        for prefix, kind in KEY_KINDS.items()
    }
    with store.transaction() as tx:
        tx.execute(
            "INSERT INTO accounts (id, name, created, json) VALUES (?,?,?,'{}')",
            (account_id, name, now),
        )
        for label, key in keys.items():
            mode, kind, _ = label.split("_")
            tx.execute(
                "INSERT INTO api_keys (key_hash, account, livemode, kind, last4) VALUES (?,?,?,?,?)",
                (hash_of(key), account_id, int(mode == "live"), kind, key[-4:]),
            )
    return {"account_id": account_id, "name": name, **keys}


def list_accounts(tx: Tx) -> list[Object]:
    """Give all accounts without their keys, oldest first."""
    rows = tx.execute("SELECT id, name, created FROM accounts ORDER BY created, rowid")
    return [{"account_id": row["id"], "name": row["name"], "created": row["created"]} for row in rows]


def find_caller(tx: Tx, key: str) -> Caller | None:
    """Tell whose key this is; None for a key that was never issued."""
    row = tx.execute(
        "SELECT account, livemode, kind, permissions, expired FROM api_keys WHERE key_hash = ?", (hash_of(key),)
    ).fetchone()
    if row is None:
        return None
    granted = json.loads(row["permissions"]) if row["permissions"] else None
    return Caller(row["account"], bool(row["livemode"]), row["kind"], granted, bool(row["expired"]))


def create_restricted_key(tx: Tx, account_id: str, granted: dict[str, str], *, livemode: bool) -> str:
    """Make a restricted key and give it, this once."""
    key = ids.api_key("rk", livemode=livemode)
    tx.execute(
        "INSERT INTO api_keys (key_hash, account, livemode, kind, last4, permissions) VALUES (?,?,?,?,?,?)",
        (hash_of(key), account_id, int(livemode), "restricted", key[-4:], json.dumps(granted)),
    )
    return key


def expire_key(tx: Tx, key: str) -> bool:
    """Make a key invalid from now on, as rolling it in the Dashboard does; tells whether there was one."""
    return tx.execute("UPDATE api_keys SET expired = 1 WHERE key_hash = ?", (hash_of(key),)).rowcount > 0


def masked(key: str) -> str:
    """Give a key as Stripe's errors show it: its start, stars, its last four characters."""
    start = "_".join(key.split("_")[:2]) + "_" if key.count("_") >= 2 else ""
    hidden = max(len(key) - len(start) - 4, 0)
    return f"{start}{'*' * hidden}{key[-4:]}" if hidden else "*" * len(key)


def authenticate(tx: Tx, key: str | None, stripe_account: str | None) -> Caller:
    """Find the caller of a request. Raises: StripeError 401 (no key, unknown key, publishable key), 403."""
    if not key:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See https://stripe.com/docs/api#authentication "
            "for details, or we can help at https://support.stripe.com/.",
            http_status=401,
        )
    caller = find_caller(tx, key)
    if caller is None:
        raise StripeError(f"Invalid API Key provided: {masked(key)}", http_status=401)
    if caller.expired:
        raise StripeError(f"Expired API Key provided: {masked(key)}", http_status=401, code="api_key_expired")
    if caller.kind not in ("secret", "restricted"):
        raise StripeError(
            "This API call cannot be made with a publishable API key. Please use a secret API key. "
            "You can find a list of your API keys at https://dashboard.stripe.com/account/apikeys.",
            http_status=401,
            code="secret_key_required",
        )
    if stripe_account and stripe_account != caller.account_id:
        raise StripeError(
            f"The provided key '{masked(key)}' does not have access to account '{stripe_account}' "
            "(or that account does not exist). Application access may have been revoked.",
            http_status=403,
            code="account_invalid",
        )
    return caller


def account_name(tx: Tx, account_id: str) -> str:
    """Give an account's name, for pages and invoices."""
    row = tx.execute("SELECT name FROM accounts WHERE id = ?", (account_id,)).fetchone()
    return str(row["name"]) if row else ""
