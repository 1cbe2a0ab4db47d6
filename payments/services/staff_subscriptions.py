"""Subscriptions that staff or the project's developers cancel, or give free days.

Invariant: a request, its place in the outbox and its line in the action log are one transaction; Stripe is called afterwards. Free
days leave the request's key in the subscription's metadata, so that however often they are tried they are given once.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts.models import User
from common.errors import ApiError, Conflict, FieldError
from moderation.services.action_log import log_action
from moderation.services.limits import check_free_days_limit
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, record_effect
from payments.models import Subscription
from payments.models.billing import ENDED_STATUSES, ENTITLED_STATUSES
from payments.services.effects import waiting_for_keys
from payments.services.objects.subscription import SUBSCRIPTIONS, cancel_time, collect_subscription
from payments.services.objects.subscription_plan import KEPT_UNTIL_KEY, kept_plan_code, kept_until_moved, period_edge
from payments.services.ownership import Cause
from payments.services.rate_budget import background_calls
from payments.services.sync import sync_object
from payments.stripe_api import StripeAccount, StripeObjectMissing, stripe_account

logger = logging.getLogger(__name__)

STAFF_CHANGE = "stripe_staff_change"
CANCEL_NOW, CANCEL_LATER, FREE_DAYS = "cancel_now", "cancel_at_period_end", "free_days"
ACTIONS = {CANCEL_NOW: "subscription.cancel", CANCEL_LATER: "subscription.cancel", FREE_DAYS: "subscription.free_days"}
FREE_DAYS_KEY = "free_days_request"
FREE_DAYS_MAX = 365
DAY_SECONDS = 86_400
REASON_CHARS = 1000
NOT_RUNNING = "It is not active any more."


class NotChangeable(Conflict):
    """409: the subscription is not in a state for this."""

    code = "subscription_not_changeable"
    detail = "This subscription has ended."


@dataclass(frozen=True)
class StaffChange:
    """What is asked for. `key` is the form's own, so that pressing twice asks once. `days` only for free days."""

    key: uuid.UUID
    change: str
    reason: str
    days: int = 0


def why_not_changeable(subscription: Subscription, change: str) -> str:
    """Say why a change cannot be made, or nothing when it can."""
    if subscription.status in ENDED_STATUSES:
        return "This subscription has ended."
    if change == CANCEL_LATER and (subscription.cancel_at_period_end or subscription.cancel_at):
        return "It is set to cancel already."
    if change != FREE_DAYS:
        return ""
    if subscription.status not in ENTITLED_STATUSES:
        return f"Free days are for subscriptions that are active or in trial; this one is {subscription.status}."
    if subscription.cancel_at_period_end or subscription.cancel_at:
        return "It is set to cancel: free days would not come to pass."
    return ""


def check_staff_change(*, subscription: Subscription, asked: StaffChange, actor: User) -> None:
    """Refuse what `request_staff_change` would refuse, and change nothing.

    Raises: NotChangeable (409), BeyondLimit (403), FieldError (422) for the days or the reason.
    """
    if not asked.reason.strip() or len(asked.reason) > REASON_CHARS:
        raise FieldError("reason", msg=f"Say why, in at most {REASON_CHARS} characters: it is kept in the action log.")
    if why_not := why_not_changeable(subscription, asked.change):
        raise NotChangeable(why_not)
    if asked.change == FREE_DAYS:
        if not 1 <= asked.days <= FREE_DAYS_MAX:
            raise FieldError("days", msg=f"Give 1 to {FREE_DAYS_MAX} days.")
        with transaction.atomic():
            check_free_days_limit(
                actor=actor,
                project_id=subscription.project_id,
                subscription_id=subscription.stripe_subscription_id,
                days=asked.days,
            )


def request_staff_change(*, subscription: Subscription, asked: StaffChange, actor: User) -> None:
    """Commit a change to be made, with its line in the action log; the same request a second time changes nothing.

    Raises: as check_staff_change.
    """
    with transaction.atomic():
        row = (
            Subscription.objects.for_project(subscription.project_id)
            .select_for_update(no_key=True)
            .get(pk=subscription.pk)
        )
        effect_key = f"{STAFF_CHANGE}:{row.stripe_subscription_id}:{asked.key}"
        known = OutboxRow.objects.for_project(row.project_id).filter(mode=row.mode, effect_key=effect_key)
        if known.exists():
            return
        check_staff_change(subscription=row, asked=asked, actor=actor)
        details = {"change": asked.change, **({"days": asked.days} if asked.change == FREE_DAYS else {})}
        record_effect(
            project_id=row.project_id,
            mode=row.mode,
            kind=STAFF_CHANGE,
            effect_key=effect_key,
            payload={
                **details,
                "subscription_id": row.stripe_subscription_id,
                "stripe_customer_id": row.stripe_customer_id,
                "request": str(asked.key),
            },
            end_user_id=row.end_user_id,
            cause=f"staff:{actor.pk}",
            lane=row.stripe_subscription_id,
        )
        log_action(
            action=ACTIONS[asked.change],
            subject=row.stripe_subscription_id,
            actor=actor,
            reason=asked.reason.strip(),
            project_id=row.project_id,
            mode=row.mode,
            details=details,
        )


@background_calls()
def carry_out_staff_change(row: OutboxRow) -> Mapping[str, Any]:
    """Make a requested change at Stripe, then read what became of the subscription.

    Raises: EffectWaits without a key that works, EffectSkipped where it ended meanwhile, StripeFailure.
    """
    asked = row.payload
    with waiting_for_keys(row):
        status = _change(stripe_account(row.project_id, row.mode), asked)
    try:
        sync_object(
            project_id=row.project_id,
            mode=row.mode,
            collect=collect_subscription,
            object_id=asked["subscription_id"],
            root=asked["stripe_customer_id"],
            cause=Cause("staff"),
        )
    except ApiError as error:
        # The change is made: its own events bring what this read could not.
        logger.warning("A subscription that staff changed will be written by its webhook: %s", error)
    return {"status": status}


def _change(account: StripeAccount, asked: Mapping[str, Any]) -> str:
    """Make the change; returns the status at Stripe. Source: https://docs.stripe.com/api/subscriptions/update"""
    subscription_id, key = asked["subscription_id"], f"staff-{asked['request']}"
    try:
        if asked["change"] == CANCEL_NOW:
            return str(account.delete(SUBSCRIPTIONS, subscription_id)["status"])
        current = account.retrieve(SUBSCRIPTIONS, subscription_id)
        params = _params(current, asked)
        if not params:
            return str(current["status"])
        return str(account.update(SUBSCRIPTIONS, subscription_id, params, idempotency_key=key)["status"])
    except StripeObjectMissing:
        # Ended already: Stripe answers a second cancellation so.
        return "canceled"


def _params(current: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be sent; nothing when an attempt before this one has done it. Raises: EffectSkipped."""
    if current["status"] in ENDED_STATUSES:
        raise EffectSkipped(NOT_RUNNING)
    if asked["change"] == CANCEL_LATER:
        return {} if cancel_time(current) else {"cancel_at_period_end": True}
    if (current.get("metadata") or {}).get(FREE_DAYS_KEY) == asked["request"]:
        return {}
    until = period_edge(current, "current_period_end")
    if current["status"] not in ENTITLED_STATUSES or cancel_time(current) or until is None:
        raise EffectSkipped(NOT_RUNNING)
    end = until + asked["days"] * DAY_SECONDS
    metadata = {FREE_DAYS_KEY: asked["request"]}
    if kept_plan_code(current):
        # A plan that is paid for until the period ends stays until the end that is moved.
        metadata[KEPT_UNTIL_KEY] = kept_until_moved(current, end)
    # What was paid for stays paid for: nothing is given back, and the next payment comes so many days later.
    return {"trial_end": end, "proration_behavior": "none", "metadata": metadata}
