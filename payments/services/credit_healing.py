"""Purchases of credits that are paid and were never given: a release that knows no credit packs wrote their sessions.

Invariant: the credits are given by the sync that events use, after Stripe was asked again.
"""

import datetime as dt
import logging

from django.db.models.functions import Now

from common.errors import ApiError
from payments.models import CheckoutSession, CreditPurchase
from payments.services.credit_purchases import FULFILLED_STATUSES
from payments.services.sync_checkout import sync_checkout_session

logger = logging.getLogger(__name__)

HEALED_AT_ONCE = 100
# Until then the event, or the return from checkout, may be under way.
OWED_AFTER = dt.timedelta(minutes=10)


def heal_purchases() -> int:
    """Give the credits of sessions that were written as paid without them; returns how many were given.

    One that fails keeps no other waiting, and is tried again in the next round.
    """
    rows = CreditPurchase.objects.filter(
        granted_at__isnull=True,
        checkout_session__status=CheckoutSession.Status.COMPLETE,
        checkout_session__payment_status__in=FULFILLED_STATUSES,
        checkout_session__updated_at__lt=Now() - OWED_AFTER,
    )
    # In any order: a hundred that cannot be given must not hide the others.
    found = list(rows.select_related("project", "checkout_session").order_by("?")[:HEALED_AT_ONCE])
    for purchase in found:
        session_id = purchase.checkout_session.stripe_session_id
        try:
            sync_checkout_session(project=purchase.project, mode=purchase.mode, session_id=session_id)
        except ApiError as error:
            logger.warning("credits_not_healed session=%s because=%s", session_id, error)
        except Exception:
            logger.exception("credits_not_healed session=%s", session_id)
    given = CreditPurchase.objects.filter(pk__in=[one.pk for one in found], granted_at__isnull=False).count()
    if given:
        logger.info("credits_healed count=%s", given)
    return given
