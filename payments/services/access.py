"""Who has access to what was bought: one function decides, for every endpoint, mail, token and admin page.

Invariant: what a refund or a lost dispute took away gives no access, whatever the status says.
"""

import datetime as dt
from dataclasses import dataclass

from payments.models import BillingPolicy, Subscription
from payments.models.billing import ENTITLED_STATUSES
from projects.models import Project

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


@dataclass(frozen=True)
class GrantedAccess:
    """The same for any moment: whether there is access, up to when if that is certain, and what is told as its end."""

    active: bool
    until: dt.datetime | None
    expires: dt.datetime | None


DEFAULT_POLICY = AccessPolicy()


def policy_of(project: Project | None) -> AccessPolicy:
    """Return a project's policy; without a row, the defaults. Reads `project.billing_policy`: select it with the project."""
    row: BillingPolicy | None = getattr(project, "billing_policy", None)
    if row is None:
        return DEFAULT_POLICY
    return AccessPolicy(tuple(row.entitled_statuses), dt.timedelta(hours=row.grace_hours))


def access_of(subscription: Subscription, at: dt.datetime, *, policy: AccessPolicy | None = None) -> Access:
    """Decide one subscription's access at a moment, by its project's policy unless another one is given.

    Reads `subscription.plan` and `subscription.project.billing_policy`: select them with the row.
    """
    if policy is None:
        policy = policy_of(subscription.project if subscription.project_id else None)
    granted = granted_access(subscription, policy)
    plan = subscription.plan
    return Access(
        plan_name=plan.name if plan else None,
        plan_code=plan.code if plan else None,
        plan_active=granted.active and (granted.until is None or at < granted.until),
        plan_expires=granted.expires,
    )


def granted_access(subscription: Subscription, policy: AccessPolicy) -> GrantedAccess:
    """Decide what a subscription gives whatever the time is: the end of a grace then needs nobody to look again."""
    expires = _expires(subscription, policy)
    if subscription.access_revoked_at is not None:
        return GrantedAccess(active=False, until=None, expires=expires)
    if subscription.status in policy.entitled_statuses:
        # Stripe says when such a subscription ends; a late webhook must not lock out somebody who paid.
        return GrantedAccess(active=True, until=None, expires=expires)
    if subscription.status == "past_due" and expires is not None:
        return GrantedAccess(active=True, until=expires, expires=expires)
    return GrantedAccess(active=False, until=None, expires=expires)


def _expires(subscription: Subscription, policy: AccessPolicy) -> dt.datetime | None:
    by_status = _expires_by_status(subscription, policy)
    revoked = subscription.access_revoked_at
    if revoked is None:
        return by_status
    return revoked if by_status is None else min(revoked, by_status)


def _expires_by_status(subscription: Subscription, policy: AccessPolicy) -> dt.datetime | None:
    if subscription.status in policy.entitled_statuses:
        ends = [end for end in (subscription.current_period_end, subscription.cancel_at) if end is not None]
        return min(ends) if ends else None
    if subscription.status in ("past_due", "unpaid"):
        # A renewal is attempted when its period begins, so that is when grace began if no failure was recorded.
        failed_at = subscription.past_due_since or subscription.current_period_start
        return failed_at + policy.grace if failed_at else None
    return subscription.ended_at or subscription.canceled_at
