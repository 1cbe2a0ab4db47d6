"""A way back to a checkout that expired: its link opens a copy of the session.

Source: https://docs.stripe.com/payments/checkout/abandoned-carts
"""

from __future__ import annotations

import copy
from typing import Any

from .. import clock, ids, timeline
from ..errors import missing
from ..store import Context, Store, Tx

Object = dict[str, Any]

LINK_SECONDS = 30 * 24 * 3600
LIFE_SECONDS = 24 * 3600
# What the first try left behind, and the copy begins without.
OF_THE_TRY = ("awaiting", "details", "intent", "new_customer")


def settings(wanted: Object | None) -> Object | None:
    """Show the `after_expiration` of a session that is still open: its link comes when it expires."""
    recovery = (wanted or {}).get("recovery")
    if not recovery:
        return None
    return {
        "recovery": {
            "allow_promotion_codes": bool(recovery.get("allow_promotion_codes", False)),
            "enabled": recovery["enabled"],
            "expires_at": None,
            "url": None,
        }
    }


def offer(tx: Tx, ctx: Context, session: Object) -> None:
    """Give a session that is expiring the link that leads back to it, where it asks for one; the caller saves it."""
    recovery = (session["after_expiration"] or {}).get("recovery")
    if recovery and recovery["enabled"]:
        recovery |= {"expires_at": ctx.now + LINK_SECONDS, "url": f"{tx.store.public_url}/r/{session['id']}"}


def recover(store: Store, session_id: str) -> str:
    """Open the copy of an expired session, one at a time, and give its id. Raises: StripeError 404 for a link that is over."""
    with store.transaction() as tx:
        owner = tx.owner_of("checkout.session", session_id)
        if owner is None:
            raise missing("checkout.session", session_id)
        ctx = Context(account_id=owner[0], livemode=owner[1], now=clock.now(), key_kind="page")
        session = tx.get(ctx, "checkout.session", session_id)
        recovery = ((session or {}).get("after_expiration") or {}).get("recovery") or {}
        if session is None or not recovery.get("url"):
            raise missing("checkout.session", session_id)
        ctx = timeline.at_time_of(tx, ctx, session)
        if recovery["expires_at"] <= ctx.now:
            raise missing("checkout.session", session_id)
        copies = tx.find_by(ctx, "checkout.session", "recovered_from", session_id)
        newest = copies[-1] if copies else None
        if newest is not None and newest["status"] != "expired":
            return str(newest["id"])
        return _reopened(tx, ctx, session, recovery)


def _reopened(tx: Tx, ctx: Context, session: Object, recovery: Object) -> str:
    new_id = ids.new_id("checkout.session", livemode=ctx.livemode)
    made = copy.deepcopy(session) | {
        "id": new_id,
        "after_expiration": settings({"recovery": recovery}),
        "allow_promotion_codes": recovery["allow_promotion_codes"],
        "created": ctx.now,
        "expires_at": ctx.now + LIFE_SECONDS,
        "payment_intent": None,
        "recovered_from": session["id"],
        "status": "open",
        "url": f"{tx.store.public_url}/c/pay/{new_id}",
    }
    kept = tx.private(ctx, "checkout.session", session["id"])
    tx.insert(ctx, made, {name: value for name, value in kept.items() if name not in OF_THE_TRY})
    tx.schedule(ctx, "checkout.session", new_id, made["expires_at"])
    return new_id
