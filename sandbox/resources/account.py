"""The account of the key, as /v1/account shows it."""

from __future__ import annotations

from typing import Any

from ..errors import StripeError
from ..store import Context, Tx

Object = dict[str, Any]


def account_object(tx: Tx, account_id: str) -> Object:
    """Show an account with card payments enabled and nothing left to submit."""
    row = tx.execute("SELECT id, name, created FROM accounts WHERE id = ?", (account_id,)).fetchone()
    return {
        "id": row["id"],
        "object": "account",
        "business_profile": {
            "mcc": None,
            "minority_owned_business_designation": None,
            "name": row["name"],
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": row["created"],
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "settings": _settings(row["name"]),
        "type": "standard",
    }


def _settings(name: str) -> Object:
    return {
        "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
        "card_payments": {
            "decline_on": {"avs_failure": False, "cvc_failure": False},
            "statement_descriptor_prefix": None,
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
        "dashboard": {"display_name": name, "timezone": "Etc/UTC"},
        "payments": {
            "statement_descriptor": None,
            "statement_descriptor_kana": None,
            "statement_descriptor_kanji": None,
            "statement_descriptor_prefix_kana": None,
            "statement_descriptor_prefix_kanji": None,
        },
    }


def retrieve_current(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/account."""
    return account_object(tx, ctx.account_id)


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/accounts/{id}: only the caller's own. Raises: StripeError 403."""
    if id != ctx.account_id:
        raise StripeError(
            f"The provided key does not have access to account '{id}' (or that account does not exist). "
            "Application access may have been revoked.",
            http_status=403,
            code="account_invalid",
        )
    return account_object(tx, id)


ROUTES = [
    ("GET", "/v1/account", retrieve_current),
    ("GET", "/v1/accounts/{id}", retrieve),
]
