"""What a checkout that came to nothing causes: the app is told, and the buyer gets one mail with a way back.

Both hang on the session's state, not on an event, so that it does not matter what brings it; each has its key.
"""

import datetime as dt
from typing import Any

from django.db import transaction

from common import clock
from entitlements.models import PlanPrice
from notifications.services.outbox import record_effect
from payments.models import CheckoutSession, CreditPurchase, Subscription
from payments.services.effects import APP_EVENT, MAIL, cause_effect
from payments.services.ownership import Scope
from payments.services.snapshot import StripeObject
from projects.models import Project

Status = CheckoutSession.Status
RETRY_MAIL = "checkout_retry"
EXPIRED_EVENT = "checkout.expired"
REPLACED = "The buyer opened another checkout in its place."
CAME_BACK = "The buyer came back before it was sent."
# What is found out later than this, after days without webhooks, is no longer on anybody's mind.
OFFERED_WITHIN = dt.timedelta(days=3)


def retry_mail_key(session_id: str) -> str:
    """Name the one mail of a session."""
    return f"mail:{RETRY_MAIL}:{session_id}"


def forgo_retry_mail(row: CheckoutSession, *, because: str) -> None:
    """Take the key of a session's mail and commit it, so that none is sent whatever becomes of the session."""
    with transaction.atomic():
        record_effect(
            project_id=row.project_id,
            mode=row.mode,
            kind=MAIL,
            effect_key=retry_mail_key(row.stripe_session_id),
            payload={"template": RETRY_MAIL, "to": None, "context": {}},
            end_user_id=row.end_user_id,
            cause=str(row.pk),
            skipped_because=because,
        )


def record_dead_end(scope: Scope, row: CheckoutSession, found: StripeObject) -> None:
    """Record what follows from a session that expired, or whose delayed payment failed. `project` comes with the row."""
    cause = scope.cause_of(row.stripe_session_id)
    if row.status == Status.EXPIRED:
        cause_effect(
            scope,
            cause,
            kind=APP_EVENT,
            effect_key=f"app:{EXPIRED_EVENT}:{row.stripe_session_id}",
            payload={"type": EXPIRED_EVENT, "data": _shape(row)},
            end_user_id=row.end_user_id,
        )
    if is_still_wanted(row):
        cause_effect(
            scope,
            cause,
            kind=MAIL,
            effect_key=retry_mail_key(row.stripe_session_id),
            payload={"template": RETRY_MAIL, "to": None, "context": _context(row, found)},
            end_user_id=row.end_user_id,
        )


def is_still_wanted(row: CheckoutSession) -> bool:
    """Say whether the buyer may still want this: they have not come back for the same purchase, or subscribed otherwise.

    A subscription whose delayed first payment failed is there, and owes an invoice: the mail about that one has its link.
    """
    if row.stripe_subscription_id or not row.end_user.is_active:
        return False
    if row.status == Status.EXPIRED and row.expires_at and row.expires_at < clock.now() - OFFERED_WITHIN:
        return False
    later = CheckoutSession.objects.for_project(row.project_id).filter(
        mode=row.mode, end_user=row.end_user_id, purchase_key=row.purchase_key, created_at__gt=row.created_at
    )
    if later.exclude(status__in=(Status.FAILED, Status.UNKNOWN)).exists():
        return False
    if row.request.get("mode") != "subscription":
        return True
    others = Subscription.objects.for_project(row.project_id).in_mode(row.mode).filter(end_user=row.end_user_id)
    # Stripe tells whole seconds: what was bought in the second in which this session was opened came after it.
    since = row.created_at.replace(microsecond=0)
    return not others.filter(status__in=("active", "trialing"), created_at__gte=since).exists()


def _shape(row: CheckoutSession) -> dict[str, Any]:
    """Write what the app is told, in the words of GET checkout-session."""
    return {
        "session_id": row.stripe_session_id,
        "status": row.status,
        "payment_status": row.payment_status or "unpaid",
        "project_id": str(row.project_id),
        "user_id": str(row.end_user_id),
        "external_user_id": row.end_user.external_id,
        "is_test_mode": row.mode == "test",
        "subscription": None,
        "payment": None,
    }


def _context(row: CheckoutSession, found: StripeObject) -> dict[str, Any]:
    reason = "expired" if row.status == Status.EXPIRED else "payment_failed"
    return {
        "url": retry_url(row, found),
        "reason": reason,
        "plan_name": _plan_name(row),
        "session_id": row.stripe_session_id,
    }


def _plan_name(row: CheckoutSession) -> str:
    """Name what was to be bought: a credit pack, or the plan that sells it."""
    packs = CreditPurchase.objects.for_project(row.project_id).filter(checkout_session=row)
    pack = packs.values_list("pack_name", flat=True).first()
    if pack:
        return pack
    price_ids = [line.get("price") or "" for line in row.request.get("line_items") or []]
    sold = PlanPrice.objects.for_project(row.project_id).filter(mode=row.mode, stripe_price_id__in=price_ids)
    return sold.exclude(stripe_price_id="").values_list("plan__name", flat=True).first() or ""


def retry_url(row: CheckoutSession, found: StripeObject) -> str:
    """Return where the buyer can try again: Stripe's page to recover the session if it has one, else where they came from.

    Source: https://docs.stripe.com/payments/checkout/abandoned-carts
    """
    recovery = (found.get("after_expiration") or {}).get("recovery") or {}
    project: Project = row.project
    return str(recovery.get("url") or row.request.get("cancel_url") or project.default_cancel_url or "")
