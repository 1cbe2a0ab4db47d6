"""A licence as the API answers with it and outbound events carry it. It holds no token and no key."""

import datetime as dt
from typing import Any

from licenses.models import License, LicenseState


def utc_text(at: dt.datetime | None) -> str | None:
    """Write a time as the contract does: ISO-8601 in UTC, ending in Z."""
    return None if at is None else at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def render_license(row: License) -> dict[str, Any]:
    """Return the shape License. Reads `product` and `end_user`: select them with the row."""
    end_user = row.end_user
    return {
        "id": str(row.pk),
        "project_id": str(row.project_id),
        "user_id": str(row.end_user_id) if row.end_user_id else None,
        "external_user_id": end_user.external_id if end_user else None,
        "is_test_mode": row.mode == "test",
        "product": row.product.code,
        "product_name": row.product.name,
        "status": row.state,
        "email": row.email or None,
        "github_username": row.username or None,
        "username_problem": row.username_problem or None,
        "invitation_ended_as": row.invitation_ended_as or None,
        "amount_cents": row.amount_cents,
        "currency": row.currency,
        "payment_intent_id": row.payment_intent_id or None,
        "purchased_at": utc_text(row.purchased_at),
        "username_submitted_at": utc_text(row.username_submitted_at),
        "invited_at": utc_text(row.invited_at),
        "activated_at": utc_text(row.activated_at),
        "revoked_at": utc_text(row.revoked_at),
    }


def is_waiting(row: License) -> bool:
    """Say whether something happens to a licence by itself soon, so that asking again is worth it."""
    return bool(row.state == LicenseState.USERNAME_SUBMITTED and row.delayed_until is None)
