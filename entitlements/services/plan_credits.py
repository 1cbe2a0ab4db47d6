"""The credits that come with a plan's period: given once for each period that is paid or in trial, and gone with it.

Where a plan stops and holds again within the period, as with a dispute that is won, what was left of them comes back.
Daily credits are given by the ledger when they are first asked for; a smaller plan within the day ends what it does not give.
Purchased and bonus credits are never touched.
"""

import datetime as dt

from entitlements.models import Bucket, Entitlement, Plan
from entitlements.services import ledger


def follow_plan(entitlement: Entitlement, plan: Plan | None, moment: dt.datetime) -> None:
    """Give the period's credits, once per subscription and period; take them away when the plan does not hold any more.

    Call in the transaction that wrote the entitlement. One statement for a plan that holds and has no such credits.
    """
    wallet: ledger.Wallet = {
        "project_id": entitlement.project_id,
        "mode": entitlement.mode,
        "end_user_id": entitlement.end_user_id,
    }
    if not entitlement.holds_at(moment):
        ledger.end_bucket(**wallet, bucket=Bucket.PLAN_PERIODIC, at=moment)
        return
    ledger.follow_daily(**wallet, at=moment)
    begin, end = entitlement.granted_period_start, granted_period_end(entitlement)
    if plan is None or not plan.credits_per_period or begin is None or (end is not None and end <= moment):
        return
    ledger.grant_period(
        **wallet,
        bucket=Bucket.PLAN_PERIODIC,
        amount=plan.credits_per_period,
        key=f"plan:{entitlement.subscription_id}:{int(begin.timestamp())}",
        expires_at=end,
        reason=plan.name,
        source=f"subscription:{entitlement.subscription_id}",
        at=moment,
    )


def granted_period_end(entitlement: Entitlement) -> dt.datetime | None:
    """Return when the latest granted period ends: where a later one has begun that is not paid yet, with that one's begin."""
    begin, current = entitlement.granted_period_start, entitlement.period_start
    if begin is not None and current is not None and begin < current:
        return current
    return entitlement.period_end
