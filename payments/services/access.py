"""Who has access to what was bought: one function decides, for every endpoint, mail, token and admin page."""

import datetime as dt
from dataclasses import dataclass

from payments.models import Subscription
from payments.models.billing import ENTITLED_STATUSES

GRACE = dt.timedelta(days=3)


@dataclass(frozen=True)
class AccessPolicy:
    """Which of Stripe's statuses give access, and for how long after a first failed payment."""

    entitled_statuses: tuple[str, ...] = ENTITLED_STATUSES
    grace: dt.timedelta = GRACE


@dataclass(frozen=True)
class Access:
    """The answer: what the plan is called, whether it holds now, and when it ends unless something is paid before."""

    plan_name: str | None
    plan_code: str | None
    plan_active: bool
    plan_expires: dt.datetime | None


DEFAULT_POLICY = AccessPolicy()


def access_of(subscription: Subscription, at: dt.datetime, *, policy: AccessPolicy = DEFAULT_POLICY) -> Access:
    """Decide one subscription's access at a moment. Reads `subscription.plan`: select it with the row."""
    expires = _expires(subscription, policy)
    if subscription.status in policy.entitled_statuses:
        # Stripe says when such a subscription ends; a late webhook must not lock out somebody who paid.
        active = True
    else:
        active = subscription.status == "past_due" and expires is not None and at < expires
    plan = subscription.plan
    return Access(
        plan_name=plan.name if plan else None,
        plan_code=plan.code if plan else None,
        plan_active=active,
        plan_expires=expires,
    )


def _expires(subscription: Subscription, policy: AccessPolicy) -> dt.datetime | None:
    if subscription.status in policy.entitled_statuses:
        ends = [end for end in (subscription.current_period_end, subscription.cancel_at) if end is not None]
        return min(ends) if ends else None
    if subscription.status in ("past_due", "unpaid"):
        # A renewal is attempted when its period begins, so that is when grace began if no failure was recorded.
        failed_at = subscription.past_due_since or subscription.current_period_start
        return failed_at + policy.grace if failed_at else None
    return subscription.ended_at or subscription.canceled_at
