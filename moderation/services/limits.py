"""How much somebody of the staff may give away: moderators have limits, the role Admin and superusers have none.

Invariant: what is counted is the action log, under a lock on the person, so that two deeds at once cannot each see room for one.
"""

import datetime as dt
import uuid
from typing import Any

from django.conf import settings

from accounts.models import User
from common import clock
from common.errors import Forbidden
from common.money import money_text
from moderation.models import ActionLog
from projects.access import ProjectNotFound, RoleTooLow, get_project_for
from projects.models import Role

REFUND_FREELY = "payments.refund_without_limit"
COMP_FREELY = "entitlements.comp_without_limit"
REFUND, CREDITS, FREE_DAYS, PLAN = "payment.refund", "credits.adjusted", "subscription.free_days", "plan.give"
DAY = dt.timedelta(hours=24)
# Free days of one subscription are added up over so long: else a month of them each month would be for ever.
YEAR = dt.timedelta(days=365)


class BeyondLimit(Forbidden):
    """403: somebody with limits wants to give more than these allow."""

    code = "beyond_limit"
    detail = "This is more than you may give."


def check_refund_limit(*, actor: User, currency: str, amount_cents: int, returned_cents: int) -> None:
    """Refuse a refund that would take one payment, or one person's day, beyond the limits. Call in its transaction.

    Units: minor units of the currency; `returned_cents` went back of the payment, or is about to.  Raises: BeyondLimit (403).
    """
    if actor.has_perm(REFUND_FREELY):
        return
    each = settings.MODERATOR_REFUND_LIMITS.get(currency, 0)
    daily = settings.MODERATOR_REFUND_LIMITS_DAY.get(currency, 0)
    if amount_cents + returned_cents > each:
        raise BeyondLimit(
            f"You may refund at most {money_text(each, currency)} of one payment. Ask somebody of the role Admin."
        )
    given = [
        details.get("amount_cents", 0)
        for details in _deeds_of_the_day(actor, REFUND)
        if details.get("currency") == currency
    ]
    if amount_cents + sum(given) > daily:
        raise BeyondLimit(
            f"You may refund at most {money_text(daily, currency)} in 24 hours. Ask somebody of the role Admin."
        )


def check_credit_limit(*, actor: User, project_id: uuid.UUID, amount: int) -> None:
    """Refuse credits that would take one person's day beyond the limit. Call in the transaction that gives them.

    Developers of the project give away what is theirs, and have none.  Raises: BeyondLimit (403).
    """
    if amount <= 0 or _gives_freely(actor, project_id):
        return
    daily = settings.MODERATOR_CREDITS_LIMIT_DAY
    given = (max(0, details.get("amount", 0)) for details in _deeds_of_the_day(actor, CREDITS))
    if amount + sum(given) > daily:
        raise BeyondLimit(f"You may give at most {daily} credits in 24 hours. Ask somebody of the role Admin.")


def check_free_days_limit(*, actor: User, project_id: uuid.UUID, subscription_id: str, days: int) -> None:
    """Refuse free days that would take one subscription's year, or one person's day, beyond the limits. Call in their transaction.

    `subscription_id` is Stripe's. What others gave it counts as well.  Raises: BeyondLimit (403).
    """
    if _gives_freely(actor, project_id):
        return
    each, daily = settings.MODERATOR_FREE_DAYS_LIMIT, settings.MODERATOR_FREE_DAYS_LIMIT_DAY
    given = sum(details.get("days", 0) for details in _deeds_of_the_day(actor, FREE_DAYS))
    of_it = ActionLog.objects.for_project(project_id).filter(
        subject=subscription_id, action=FREE_DAYS, at__gt=clock.now() - YEAR
    )
    had = sum(details.get("days", 0) for details in of_it.values_list("details", flat=True))
    if days + had > each:
        raise BeyondLimit(
            f"You may give one subscription at most {each} free days a year. Ask somebody of the role Admin."
        )
    if days + given > daily:
        raise BeyondLimit(f"You may give at most {daily} free days in 24 hours. Ask somebody of the role Admin.")


def check_plan_limit(*, actor: User, project_id: uuid.UUID) -> None:
    """Refuse one more plan by hand than one person may give in a day. Call in the transaction that gives it.

    Raises: BeyondLimit (403).
    """
    daily = settings.MODERATOR_PLANS_LIMIT_DAY
    if not _gives_freely(actor, project_id) and len(_deeds_of_the_day(actor, PLAN)) >= daily:
        raise BeyondLimit(f"You may give at most {daily} plans by hand in 24 hours. Ask somebody of the role Admin.")


def _gives_freely(actor: User, project_id: uuid.UUID) -> bool:
    if actor.has_perm(COMP_FREELY):
        return True
    try:
        get_project_for(user=actor, project_id=project_id, min_role=Role.DEVELOPER)
    except (ProjectNotFound, RoleTooLow):
        return False
    return True


def _deeds_of_the_day(actor: User, action: str) -> list[dict[str, Any]]:
    User.objects.select_for_update(no_key=True).get(pk=actor.pk)
    rows = ActionLog.objects.filter(actor=actor.pk, action=action, at__gt=clock.now() - DAY)
    return list(rows.values_list("details", flat=True))
