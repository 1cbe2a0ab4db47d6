"""A move to a smaller plan without proration: the plan that is paid for stays until the period ends.

Invariant: what is kept, and until when, stands in the subscription's own metadata and is set by the call that changes its price, so
that every read of the subscription tells the same. It is worth something in that one period only.
"""

from typing import Any

from entitlements.models import Plan
from payments.models.billing import ENTITLED_STATUSES
from payments.services.objects.subscription import price_of
from payments.services.objects.subscription_plan import KEPT_PLAN_KEY, KEPT_UNTIL_KEY, kept_plan_code, period_edge
from payments.services.prices import plan_of_price
from payments.services.snapshot import StripeObject
from projects.models import Project

WITHOUT_PRORATION = "none"


def kept_plan_metadata(
    *, project: Project, mode: str, current: StripeObject, price: StripeObject, proration_behavior: str
) -> dict[str, str]:
    """Return the metadata that a change of price has to set, {} when there is nothing to say.

    Where money is given back for the rest of the period the change holds at once. What was kept and is not any more is taken out.
    """
    kept = _paid_for(project, mode, current, proration_behavior)
    new = plan_of_price(project=project, mode=mode, price=price) if kept else None
    if kept is not None and new is not None and new.rank < kept.rank:
        return {KEPT_PLAN_KEY: kept.code, KEPT_UNTIL_KEY: str(period_edge(current, "current_period_end"))}
    stands: Any = current.get("metadata") or {}
    return {KEPT_PLAN_KEY: "", KEPT_UNTIL_KEY: ""} if stands.get(KEPT_PLAN_KEY) else {}


def _paid_for(project: Project, mode: str, current: StripeObject, proration_behavior: str) -> Plan | None:
    """Return the plan that the present period was paid for and that the change gives no money back for."""
    code = kept_plan_code(current)
    if code:
        return Plan.objects.for_project(project).named(code).first()
    if proration_behavior != WITHOUT_PRORATION or current["status"] not in ENTITLED_STATUSES:
        return None
    return plan_of_price(project=project, mode=mode, price=price_of(current))
