"""The credits that come with a plan: those of its period are given once for each period that is paid or in trial, and gone with it.

A larger plan within a period gives the difference, a smaller one ends what it does not give: altogether a period gives what the
largest plan gives that held in it. Where a plan stops and holds again within the period, as with a dispute that is won, what was
left of them comes back. A plan that was given by hand gives them by the month, from the day on which it was given.
Daily credits are given by the ledger when they are first asked for. Purchased and bonus credits are never touched.
"""

import datetime as dt

from entitlements.models import Bucket, Entitlement, Plan
from entitlements.services import ledger
from entitlements.services.usage_periods import month_around

# What the credits of plans that were given by hand come from; the database knows the word as well.
HAND = "hand"


def follow_plan(entitlement: Entitlement, plan: Plan | None, moment: dt.datetime) -> None:
    """Give the period's credits, once per subscription and period; take them away when the plan does not hold any more.

    Call in the transaction that wrote the entitlement. One statement.
    """
    wallet: ledger.Wallet = {
        "project_id": entitlement.project_id,
        "mode": entitlement.mode,
        "end_user_id": entitlement.end_user_id,
    }
    if not entitlement.holds_at(moment):
        ledger.end_bucket(**wallet, bucket=Bucket.PLAN_PERIODIC, at=moment)
        return
    ledger.follow_plan(
        **wallet,
        # Where the price is on no plan, `plan` is what holds instead of it: nobody says that it is smaller.
        plan_id=entitlement.plan_id,
        name=plan.name if plan else "",
        amount=plan.credits_per_period if plan else 0,
        period_key=period_key(entitlement, moment),
        expires_at=granted_period_end(entitlement, moment),
        source=HAND if entitlement.is_given else f"subscription:{entitlement.subscription_id}",
        at=moment,
    )


def period_key(entitlement: Entitlement, moment: dt.datetime) -> str:
    """Name the latest granted period, as the ledger knows it; "" when none is granted."""
    begin = entitlement.granted_period_start
    if begin is None:
        return ""
    if entitlement.is_given:
        begin, _ = month_around(begin, moment)
        return f"plan:{HAND}:{entitlement.end_user_id}:{int(begin.timestamp())}"
    return f"plan:{entitlement.subscription_id}:{int(begin.timestamp())}"


def granted_period_end(entitlement: Entitlement, moment: dt.datetime) -> dt.datetime | None:
    """Return when the latest granted period ends: where a later one has begun that is not paid yet, with that one's begin."""
    begin, current = entitlement.granted_period_start, entitlement.period_start
    if begin is not None and entitlement.is_given:
        return month_around(begin, moment)[1]
    if begin is not None and current is not None and begin < current:
        return current
    return entitlement.period_end
