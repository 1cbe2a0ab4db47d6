"""When time will next change a subscription, and what it will do then."""

from __future__ import annotations

from typing import Any

from ..store import Context, Tx
from . import preferences

Object = dict[str, Any]

# Statuses that time and payments do not change any more.
TERMINAL = ("canceled", "incomplete_expired")
INCOMPLETE_SECONDS = 23 * 3600
TRIAL_NOTICE_SECONDS = 3 * 24 * 3600
# Statuses of a running subscription, whose period turns.
RUNNING = ("active", "past_due", "trialing", "unpaid")


def period_of(subscription: Object) -> tuple[int, int]:
    """Give the current period: of all items, which share it here."""
    item = subscription["items"]["data"][0]
    return item["current_period_start"], item["current_period_end"]


def trial_notice_at(subscription: Object) -> int | None:
    """Tell when the end of a running trial is to be announced: three days before, or never."""
    if subscription["status"] != "trialing" or not subscription["trial_end"]:
        return None
    return int(subscription["trial_end"]) - TRIAL_NOTICE_SECONDS


def upcoming_notice_at(tx: Tx, ctx: Context, subscription: Object) -> int | None:
    """Tell when invoice.upcoming is due; None where the notice is longer than the period, or no renewal follows."""
    start, end = period_of(subscription)
    ends = subscription["cancel_at"] and subscription["cancel_at"] <= end
    days = preferences.for_context(tx, ctx).upcoming_days
    at = end - days * preferences.DAY_SECONDS
    if not days or ends or at <= start or subscription["status"] == "unpaid":
        return None
    return at


def moments(tx: Tx, ctx: Context, subscription: Object) -> list[tuple[int, str]]:
    """List what time will do to a subscription, soonest first: (when, what)."""
    status = subscription["status"]
    found: list[tuple[int, str]] = []
    if subscription["pending_update"]:
        found.append((subscription["pending_update"]["expires_at"], "pending_update_expiry"))
    if status == "incomplete":
        found.append((subscription["created"] + INCOMPLETE_SECONDS, "expiry"))
    if status in RUNNING:
        private = tx.private(ctx, "subscription", subscription["id"])
        end = period_of(subscription)[1]
        pause = subscription["pause_collection"] or {}
        if pause.get("resumes_at"):
            found.append((pause["resumes_at"], "collection_resumes"))
        notice = trial_notice_at(subscription)
        if notice is not None and not private.get("trial_notice"):
            found.append((notice, "trial_will_end"))
        upcoming = upcoming_notice_at(tx, ctx, subscription)
        if upcoming is not None and private.get("upcoming_notice") != end:
            found.append((upcoming, "upcoming"))
        found.append((end, "trial_end" if status == "trialing" else "renewal"))
    if status not in TERMINAL and status != "incomplete" and subscription["cancel_at"]:
        found.append((subscription["cancel_at"], "end"))
    # What happens at one moment happens in this order: an end before a renewal, a notice before what it announces.
    rank = {"pending_update_expiry": 0, "collection_resumes": 1, "end": 2, "trial_will_end": 3, "upcoming": 4}
    return sorted(found, key=lambda entry: (entry[0], rank.get(entry[1], 9)))
