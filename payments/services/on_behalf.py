"""What an app's server does for its user, named by the app's own id."""

import datetime as dt
from dataclasses import dataclass

from entitlements.services.entitled import TokensLeft, read_entitled
from entitlements.services.ledger import Balance
from payments.models import CheckoutSession, Subscription
from payments.services import checkout, portal
from payments.services.customers import find_customer
from payments.services.my_state import require_configured
from payments.services.portal import NoCustomer
from payments.services.prices import find_buyable_plan
from payments.services.return_urls import url_or_default
from projects.models import EndUser, Project
from projects.services.end_user_tokens import UserBanned
from projects.services.end_users import ensure_end_user


@dataclass(frozen=True)
class UserStatus:
    """What a user is on. Without a plan that holds, that is the free tier."""

    tier: str
    stripe_customer_id: str | None
    stripe_subscription_id: str | None
    plan_active: bool
    plan_expires: dt.datetime | None
    current_period_end: dt.datetime | None
    credits: Balance
    tokens: TokensLeft


def open_checkout_for(
    *,
    project: Project,
    mode: str,
    user_id: str,
    email: str,
    tier: str,
    interval: str = "month",
    promo_code: str = "",
    trial: bool = False,
    success_url: str | None = None,
    cancel_url: str | None = None,
) -> CheckoutSession:
    """Open a checkout of a tier for an app's user, who appears here with it.

    Raises: as open_checkout_session; UserBanned (403), FieldError (422) for an unknown tier or a missing address.
    """
    purchase = checkout.Purchase(
        success_url=url_or_default(project=project, field="success_url", url=success_url),
        cancel_url=url_or_default(project=project, field="cancel_url", url=cancel_url),
        plan=tier,
        plan_field="tier",
        interval=interval,
        promo_code=promo_code,
        trial=trial,
    )
    require_configured(project=project, mode=mode)
    # Nobody appears by a request that asks for what there is not.
    checkout.check_addresses(project=project, mode=mode, purchase=purchase)
    find_buyable_plan(project=project, code=tier, field=purchase.plan_field)
    end_user = ensure_end_user(project=project, external_id=user_id, email=email, mode=mode)
    _refuse_banned(end_user)
    return checkout.open_checkout_session(project=project, mode=mode, end_user=end_user, purchase=purchase)


def open_portal_for(*, project: Project, mode: str, user_id: str, return_url: str | None = None) -> str:
    """Open the portal for an app's user. Raises: as open_portal; FieldError (422), UserBanned (403)."""
    url = url_or_default(project=project, field="return_url", url=return_url)
    end_user = _find_end_user(project, user_id)
    if end_user is None:
        require_configured(project=project, mode=mode)
        raise NoCustomer()
    _refuse_banned(end_user)
    return portal.open_portal(project=project, mode=mode, end_user=end_user, return_url=url)


def read_status(*, project: Project, mode: str, user_id: str) -> UserStatus:
    """Say what an app's user is on. One who never paid, or whom nobody knows, is on the free tier."""
    entitled = read_entitled(project_id=project.pk, mode=mode, user_id=user_id)
    customer = subscription = None
    if entitled.end_user_id is not None:
        end_user = EndUser(pk=entitled.end_user_id, project_id=project.pk)
        customer = find_customer(project=project, mode=mode, end_user=end_user)
        subscription = Subscription.objects.for_project(project).current_for(end_user, mode)
    known_customer = customer.stripe_customer_id if customer else None
    return UserStatus(
        tier=entitled.tier,
        stripe_customer_id=known_customer or (subscription.stripe_customer_id or None if subscription else None),
        stripe_subscription_id=subscription.stripe_subscription_id if subscription else None,
        plan_active=entitled.plan_active,
        plan_expires=entitled.plan_expires,
        current_period_end=subscription.current_period_end if subscription else None,
        credits=entitled.credits,
        tokens=entitled.tokens,
    )


def _find_end_user(project: Project, user_id: str) -> EndUser | None:
    found = EndUser.objects.by_external_id(project, user_id).first()
    return found if isinstance(found, EndUser) else None


def _refuse_banned(end_user: EndUser) -> None:
    if not end_user.is_active or end_user.banned_at is not None:
        raise UserBanned()
