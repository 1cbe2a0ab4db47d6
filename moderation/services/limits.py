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
REFUND, CREDITS = "payment.refund", "credits.adjusted"
DAY = dt.timedelta(hours=24)


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


def check_free_days_limit(*, actor: User, project_id: uuid.UUID, days: int) -> None:
    """Refuse more free days at once than a moderator may give. Raises: BeyondLimit (403)."""
    if days > settings.MODERATOR_FREE_DAYS_LIMIT and not _gives_freely(actor, project_id):
        raise BeyondLimit(f"You may give at most {settings.MODERATOR_FREE_DAYS_LIMIT} free days at once.")


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
