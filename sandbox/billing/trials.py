"""Changes of a trial by request: ended now, moved, or begun on a running subscription."""

from __future__ import annotations

from typing import Any

from ..errors import invalid
from ..events import Journal
from ..fields import supported
from ..store import Context, Tx
from . import cards, changing, settlement, subscribing
from .periods import add_interval

Object = dict[str, Any]

ENDED, STARTED, MOVED, PAUSED, CANCELED = "ended", "started", "moved", "paused", "canceled"
YEARS_MAX = 5


def checked_end(ctx: Context, trial_end: int) -> int:
    """Check the time at which a trial is to end. Raises: StripeError 400."""
    if trial_end <= ctx.now:
        raise invalid("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    if trial_end > add_interval(ctx.now, "year", YEARS_MAX):
        raise invalid(f"Invalid timestamp: can be no more than {YEARS_MAX} years in the future", "trial_end")
    return trial_end


def set_settings(subscription: Object, wanted: Object | None) -> None:
    """Keep what is to happen when the trial ends without a card."""
    if not wanted:
        return
    supported(wanted, {"end_behavior"}, "trial_settings")
    missing = wanted["end_behavior"]["missing_payment_method"]
    subscription["trial_settings"] = {"end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": missing}}


def change(tx: Tx, ctx: Context, journal: Journal, subscription: Object, trial_end: Any) -> str | None:
    """Apply `trial_end` and say what became of the trial; None where there was nothing to end.

    Raises: StripeError 400 for a trial that ends now without a card to bill.
    """
    trialing = subscription["status"] == "trialing"
    if trial_end == "now":
        return _end_now(tx, ctx, journal, subscription) if trialing else None
    end = checked_end(ctx, int(trial_end))
    private = tx.private(ctx, "subscription", subscription["id"])
    private.pop("trial_notice", None)
    tx.save_private(ctx, "subscription", subscription["id"], private)
    subscription |= {"trial_end": end, "billing_cycle_anchor": end, "status": "trialing"}
    if not trialing:
        subscription["trial_start"] = ctx.now
    start = subscribing.period_of(subscription)[0] if trialing else ctx.now
    for item in subscription["items"]["data"]:
        item |= {"current_period_start": start, "current_period_end": end}
    return MOVED if trialing else STARTED


def _end_now(tx: Tx, ctx: Context, journal: Journal, subscription: Object) -> str:
    customer = tx.get(ctx, "customer", subscription["customer"])
    assert customer is not None
    if cards.default_of(tx, ctx, customer, subscription) is None:
        wanted = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
        if wanted == "create_invoice":
            raise settlement.no_payment_method()
        return PAUSED if wanted == "pause" else CANCELED
    private = tx.private(ctx, "subscription", subscription["id"])
    # Recorded: a trial that is ended now ended a second ago.
    subscription |= {"trial_end": ctx.now - 1, "status": "active"}
    changing.restart_cycle(ctx, subscription)
    if not private.get("trial_notice"):
        tx.save_private(ctx, "subscription", subscription["id"], {**private, "trial_notice": ctx.now})
        journal.add("customer.subscription.trial_will_end", subscription)
    return ENDED
