"""What an end user has, read from our own rows: no call to Stripe."""

from dataclasses import dataclass
from typing import Any

from django.db.models import FilteredRelation, Q

from entitlements.services.entitled import Entitled, read_entitled
from payments.models import CheckoutSession, StripeCredentials, Subscription, Transaction
from payments.models.billing import standing
from payments.stripe_api import StripeNotConfigured
from projects.models import EndUser, Project


@dataclass(frozen=True)
class Bought:
    """What one checkout session brought."""

    subscription: Subscription | None
    payment: Transaction | None


def require_configured(*, project: Project, mode: str) -> None:
    """Check that the project takes payments in a mode. One query. Raises: StripeNotConfigured (404)."""
    if not _configured(project, mode).exists():
        raise StripeNotConfigured()


def read_my_subscription(*, project: Project, mode: str, end_user: EndUser) -> Subscription | None:
    """Answer "what is this user on?" and "does the project take payments in this mode?" in one query.

    Raises: StripeNotConfigured (404).
    """
    mine = Q(project__subscriptions__end_user=end_user, project__subscriptions__mode=mode)
    rows = _configured(project, mode).annotate(current=FilteredRelation("project__subscriptions", condition=mine))
    ordered = rows.order_by(standing("current__"), "-current__created_at", "-current__id")
    credentials: Any = ordered.select_related("current__plan", "project__billing_policy").defer(*SECRETS).first()
    if credentials is None:
        raise StripeNotConfigured()
    # Django leaves the attribute away when nothing was joined.
    subscription: Subscription | None = getattr(credentials, "current", None)
    if subscription is not None:
        subscription.end_user = end_user
        subscription.project = credentials.project
    return subscription


def read_my_entitlements(*, project: Project, mode: str, end_user: EndUser) -> Entitled:
    """Answer what this user is entitled to, and whether the project takes payments in this mode, in one query.

    Raises: StripeNotConfigured (404).
    """
    configured = _configured(project, mode)
    found = read_entitled(project_id=project.pk, mode=mode, end_user_id=end_user.pk, also=configured)
    if not found.also:
        raise StripeNotConfigured()
    return found


def bought_in(session: CheckoutSession) -> Bought:
    """Find what a checkout session brought: its subscription, and the payment that paid for it."""
    subscription = None
    payments = Transaction.objects.for_project(session.project_id).in_mode(session.mode).select_related("end_user")
    if session.stripe_subscription_id:
        rows = Subscription.objects.for_project(session.project_id).in_mode(session.mode)
        rows = rows.filter(stripe_subscription_id=session.stripe_subscription_id, end_user=session.end_user_id)
        subscription = rows.select_related("plan", "end_user", "project__billing_policy").first()
    if session.payment_intent_id:
        paid = payments.filter(payment_intent_id=session.payment_intent_id)
    elif subscription is not None:
        # The first payment of a subscription is the one that was made at the checkout.
        paid = payments.filter(subscription=subscription).order_by("created_at", "id")
    else:
        paid = payments.none()
    return Bought(subscription=subscription, payment=paid.filter(end_user=session.end_user_id).first())


SECRETS = ("secret_key", "publishable_key", "webhook_secret", "previous_webhook_secret")


def _configured(project: Project, mode: str) -> Any:
    return StripeCredentials.objects.for_project(project).usable().filter(mode=mode).exclude(secret_key="")
