"""What became of calls to Stripe whose answer was lost: found out by reading, or by the same call with the same key.

Invariant: nothing here sends a call with a new key, and nothing here changes a subscription: what a user asked for
hours ago and was told had failed is not carried out behind their back.
"""

import datetime as dt
import logging
from collections.abc import Callable
from typing import TypeVar

from django.db.models.functions import Now

from common.errors import ApiError
from payments.models import CheckoutSession, StripeIntent
from payments.services import customers, subscription_changes
from payments.services.checkout_rows import SessionOutcome, create_at_stripe, find_created_session, take_session
from payments.services.endpoint_creation import CREATE_ENDPOINT, resume_creation
from payments.services.intent_rows import IntentOutcome, Outcome, is_free, release_intent, settle_intent, take_intent
from payments.services.portal import CREATE_PORTAL_SESSION
from payments.services.sync_subscription import sync_subscription
from payments.stripe_api import StripeAccount, StripeObjectMissing, stripe_account

logger = logging.getLogger(__name__)

# Younger ones are usually finished by the user's own second click.
MIN_AGE = dt.timedelta(seconds=60)
# No request to Stripe lasts this long: what is not there by then did not happen.
EFFECT_VISIBLE_AFTER = dt.timedelta(minutes=10)
BATCH = 100
NEVER_FOUND = "no answer within a day, and not found at Stripe"

Row = TypeVar("Row", StripeIntent, CheckoutSession)


def reconcile_open_intents(*, min_age: dt.timedelta = MIN_AGE, batch: int = BATCH) -> int:
    """Settle calls whose outcome is open, a batch at a time. Returns how many are settled now.

    What was not looked at for longest comes first: a hundred that cannot be settled, as of projects without keys, hide no others.
    """
    settled = 0
    intents = StripeIntent.objects.filter(status=StripeIntent.Status.OPEN, created_at__lte=Now() - min_age)
    for intent in intents.filter(is_free()).select_related("project", "end_user").order_by("updated_at")[:batch]:
        if take_intent(intent):
            settled += _guarded(_reconcile, intent, IntentOutcome(intent))
    rows = CheckoutSession.objects.filter(status=CheckoutSession.Status.CREATING, created_at__lte=Now() - min_age)
    for row in rows.filter(is_free()).select_related("project", "end_user").order_by("updated_at")[:batch]:
        if take_session(row):
            settled += _guarded(_reconcile_session, row, SessionOutcome(row))
    return settled


def _guarded(settle: Callable[[Row], bool], row: Row, outcome: Outcome) -> bool:
    """Settle one row; trouble with one project's Stripe is no reason to leave out the others."""
    try:
        return settle(row)
    except ApiError as error:
        outcome.released(str(error))
        logger.warning("A call to Stripe stays open: %s", error)
        return False
    except Exception as error:
        outcome.released(type(error).__name__)
        logger.exception("A call to Stripe stays open")
        return False


def _is_key_forgotten(row: StripeIntent | CheckoutSession) -> bool:
    """Say whether Stripe may have forgotten the idempotency key, by the database's clock."""
    return type(row).objects.filter(pk=row.pk, created_at__lt=Now() - customers.KEY_LIFETIME).exists()


def _reconcile(intent: StripeIntent) -> bool:
    if intent.operation == CREATE_PORTAL_SESSION:
        # Nobody saw its link, which is dead by now.
        settle_intent(intent, status=StripeIntent.Status.FAILED, error="abandoned")
        return True
    account = stripe_account(intent.project_id, intent.mode)
    if intent.operation == customers.CREATE_CUSTOMER:
        return _reconcile_customer(account, intent)
    if intent.operation == CREATE_ENDPOINT:
        return _reconcile_endpoint(intent)
    return _reconcile_change(account, intent)


def _reconcile_customer(account: StripeAccount, intent: StripeIntent) -> bool:
    if not _is_key_forgotten(intent):
        customers.create_at_stripe(account, intent)
        return True
    found = customers.find_created_customer(account, intent)
    if found is None:
        settle_intent(intent, status=StripeIntent.Status.UNKNOWN, error=NEVER_FOUND)
        return True
    customers.CustomerOutcome(intent).succeeded(found)
    return True


def _reconcile_endpoint(intent: StripeIntent) -> bool:
    if _is_key_forgotten(intent):
        # Were there an endpoint, its secret would be lost: the hourly look deletes it and makes another.
        settle_intent(intent, status=StripeIntent.Status.UNKNOWN, error=NEVER_FOUND)
    else:
        resume_creation(intent)
    return True


def _reconcile_change(account: StripeAccount, intent: StripeIntent) -> bool:
    try:
        current = account.retrieve(subscription_changes.SUBSCRIPTIONS, intent.target)
    except StripeObjectMissing:
        settle_intent(intent, status=StripeIntent.Status.UNKNOWN, error="Stripe has no such subscription")
        return True
    if subscription_changes.shows_effect(intent.operation, intent.params, current):
        IntentOutcome(intent).succeeded(current)
        sync_subscription(project=intent.project, mode=intent.mode, subscription_id=intent.target)
        return True
    old = StripeIntent.objects.for_project(intent.project_id).filter(pk=intent.pk)
    if not old.filter(created_at__lt=Now() - EFFECT_VISIBLE_AFTER).exists():
        release_intent(intent, error="no effect to be seen yet")
        return False
    settle_intent(intent, status=StripeIntent.Status.FAILED, error="read again: it had no effect")
    return True


def _reconcile_session(row: CheckoutSession) -> bool:
    account = stripe_account(row.project_id, row.mode)
    if not _is_key_forgotten(row):
        create_at_stripe(account, row)
        return True
    found = find_created_session(account, row)
    if found is None:
        SessionOutcome(row).unknown(NEVER_FOUND)
    else:
        SessionOutcome(row).succeeded(found)
    return True
