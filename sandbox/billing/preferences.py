"""What an account's owner sets in Stripe's Dashboard: how failed payments are retried, and how early notices come.

The default schedule has Smart Retries' length (8 tries in two weeks); Stripe's model picks its own moments.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..store import Context, Tx

HOUR_SECONDS = 3600
DAY_SECONDS = 24 * HOUR_SECONDS
AFTER_RETRIES = ("cancel", "unpaid", "past_due")
RETRIES_MAX = 20
RETRY_HOURS_MAX = 24 * 60
UPCOMING_DAYS_MAX = 45


class PreferenceRefused(ValueError):
    """A preference that makes no sense."""


@dataclass(frozen=True)
class Preferences:
    """`retry_hours` are the waits between one attempt and the next; an empty tuple means no retries."""

    retry_hours: tuple[float, ...] = (32, 48, 48, 48, 48, 48, 48, 16)
    after_retries: str = "cancel"
    upcoming_days: int = 7

    def retry_at(self, now: int, attempts: int) -> int | None:
        """Tell when an invoice that has failed `attempts` times is tried again; None when that was the last time."""
        if attempts < 1 or attempts > len(self.retry_hours):
            return None
        return now + int(self.retry_hours[attempts - 1] * HOUR_SECONDS)


def preferences_of(tx: Tx, account_id: str) -> Preferences:
    """Read an account's preferences."""
    row = tx.execute("SELECT json FROM accounts WHERE id = ?", (account_id,)).fetchone()
    kept = json.loads(row["json"]).get("billing", {}) if row else {}
    return Preferences(**{**kept, "retry_hours": tuple(kept.get("retry_hours", Preferences.retry_hours))})


def for_context(tx: Tx, ctx: Context) -> Preferences:
    """Read the preferences of the account that a context belongs to."""
    return preferences_of(tx, ctx.account_id)


def as_json(preferences: Preferences) -> dict[str, Any]:
    """Show preferences."""
    return {**asdict(preferences), "retry_hours": list(preferences.retry_hours)}


def set_preferences(tx: Tx, account_id: str, wanted: dict[str, Any]) -> Preferences:
    """Change some of an account's preferences. Raises: PreferenceRefused."""
    unknown = set(wanted) - {"retry_hours", "after_retries", "upcoming_days"}
    if unknown:
        raise PreferenceRefused(f"unknown preference: {', '.join(sorted(unknown))}")
    made = Preferences(**{**asdict(preferences_of(tx, account_id)), **wanted})
    hours = made.retry_hours
    if not isinstance(hours, list | tuple) or len(hours) > RETRIES_MAX or not all(_is_wait(hour) for hour in hours):
        raise PreferenceRefused(f"retry_hours must be up to {RETRIES_MAX} numbers above 0, {RETRY_HOURS_MAX} at most")
    if made.after_retries not in AFTER_RETRIES:
        raise PreferenceRefused(f"after_retries must be one of {', '.join(AFTER_RETRIES)}")
    days = made.upcoming_days
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= UPCOMING_DAYS_MAX:
        raise PreferenceRefused(f"upcoming_days must be 0 (no notice) to {UPCOMING_DAYS_MAX}")
    row = tx.execute("SELECT json FROM accounts WHERE id = ?", (account_id,)).fetchone()
    kept = {**json.loads(row["json"]), "billing": as_json(made)}
    tx.execute("UPDATE accounts SET json = ? WHERE id = ?", (json.dumps(kept), account_id))
    return Preferences(tuple(hours), made.after_retries, days)


def _is_wait(hour: Any) -> bool:
    return isinstance(hour, int | float) and not isinstance(hour, bool) and 0 < hour <= RETRY_HOURS_MAX
