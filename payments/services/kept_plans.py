"""A move to another plan without proration: the plan that is paid for stays until the period ends.

Invariant: what is kept, and until when, stands in the subscription's own metadata and is set by the call that changes its price, so
that every read of the subscription tells the same. While it stands the price at Stripe is not what the period was paid for, and a
change that would give money back for that price, or charge the difference to it, is sent without proration.
"""

from dataclasses import dataclass
from typing import Any

from entitlements.models import Plan
from payments.models.billing import ENTITLED_STATUSES
from payments.services.objects.subscription import price_of
from payments.services.objects.subscription_plan import (
    KEPT_PLAN_KEY,
    KEPT_UNTIL_KEY,
    kept_plan_code,
    kept_until,
    period_edge,
)
from payments.services.prices import plan_of_price
from payments.services.snapshot import StripeObject
from projects.models import Project

WITHOUT_PRORATION = "none"


@dataclass(frozen=True)
class ChangeTerms:
    """How a change of price is sent: with which proration, and the metadata that it has to set ({} = nothing to say)."""

    proration_behavior: str
    metadata: dict[str, str]


def terms_of_change(
    *, project: Project, mode: str, current: StripeObject, price: StripeObject, proration_behavior: str
) -> ChangeTerms:
    """Return how to send a change of price, and which plan stays meanwhile.

    Where money is given back, or charged, for the rest of the period the change holds at once. What was kept and is not any more is
    taken out.
    """
    code = kept_plan_code(current)
    kept = Plan.objects.for_project(project).named(code).first() if code else None
    present = plan_of_price(project=project, mode=mode, price=price_of(current))
    new = plan_of_price(project=project, mode=mode, price=price)
    behavior = proration_behavior
    if kept is not None and not _prorates_rightly(kept, present, new, current, price):
        behavior = WITHOUT_PRORATION
    paid_for = kept or present
    if behavior == WITHOUT_PRORATION and paid_for and new and _stays(paid_for, new, current):
        until = kept_until(period_edge(current, "current_period_end"), must_be_paid=new.rank >= paid_for.rank)
        return ChangeTerms(behavior, {KEPT_PLAN_KEY: paid_for.code, KEPT_UNTIL_KEY: until})
    stands: Any = current.get("metadata") or {}
    return ChangeTerms(behavior, {KEPT_PLAN_KEY: "", KEPT_UNTIL_KEY: ""} if stands.get(KEPT_PLAN_KEY) else {})


def _stays(paid_for: Plan, new: Plan, current: StripeObject) -> bool:
    """Say whether what was paid for stays: a smaller plan begins at once where nothing was paid, any other never does unpaid."""
    if new == paid_for:
        return False
    return new.rank >= paid_for.rank or current["status"] in ENTITLED_STATUSES


def _prorates_rightly(
    kept: Plan, present: Plan | None, new: Plan | None, current: StripeObject, price: StripeObject
) -> bool:
    """Say whether Stripe, which prorates from the price that a subscription has, gives back no more than was paid for it.

    It does for one whose price is the smaller one and who moves above what is kept, or to another interval, where all is paid anew.
    """
    if present is None or new is None or present.rank >= kept.rank:
        return False
    return new.rank > kept.rank or _interval(price) != _interval(price_of(current))


def _interval(price: StripeObject) -> tuple[Any, Any]:
    recurring = price.get("recurring") or {}
    return recurring.get("interval"), recurring.get("interval_count") or 1
