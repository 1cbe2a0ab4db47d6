"""Checkout sessions: a user and a purchase have at most one that is open, however often and from wherever they click.

Invariant: the row with its Stripe idempotency key is committed before Stripe is called; a subscription checkout of a
user replaces the one before it, so that two of them are never paid.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from common.errors import ApiError, Conflict, NotFound
from common.strict_jwt import is_identifier
from entitlements.models import Plan
from entitlements.services.packs import PackOrder, sells_a_pack
from licenses.services.products import sells_a_license
from payments.models import BillingPolicy, CheckoutSession, Subscription
from payments.models.purchases import CREDIT_PURCHASE
from payments.services.checkout_effects import CAME_BACK, forgo_retry_mail
from payments.services.checkout_rows import (
    TRIAL_DAYS,
    UNFINISHED,
    create_at_stripe,
    expire_session,
    has_trial,
    insert_session,
    mark_session,
    read_session,
    take_session,
)
from payments.services.customers import ensure_customer, find_customer, retire_customer, user_metadata
from payments.services.intent_rows import PATIENCE_SECONDS, POLL_SECONDS, CallInProgress
from payments.services.live_gate import require_open
from payments.services.prices import (
    ONE_TIME,
    RECURRING,
    PriceDoesNotFit,
    PriceNotFound,
    find_buyable_plan,
    plan_of_price,
    price_id_of_plan,
    price_of_order,
    priced,
    retrieve_sellable_price,
)
from payments.services.promotion_codes import PromotionCodeNotApplicable, find_promotion_code
from payments.services.return_urls import check_named_url
from payments.services.sync_checkout import sync_checkout_session
from payments.services.trials import TrialNotAvailable, offered_trial_days, refuse_second_trial
from payments.stripe_api import StripeAccount, StripeObjectMissing, StripeRefused, stripe_account
from projects.models import EndUser, Project

SUBSCRIPTION, PAYMENT = "subscription", "payment"
# A subscription in one of these is there already; an incomplete one was never paid.
BLOCKING_STATUSES = ("active", "trialing", "past_due", "unpaid", "paused")
ONE_SUBSCRIPTION_KEY = "subscription"


# A subscription in one of these needs another way to pay before it is worth a change.
UNPAID_STATUSES = ("past_due", "unpaid", "paused")


class AlreadySubscribed(ApiError):
    """400: the user has a subscription; changing it, or paying what it owes, is another call."""

    code = "already_subscribed"
    detail = "This user has a subscription already. Change it, or allow a second one."
    action = "update_subscription"


class SessionNotFound(NotFound):
    """404: no such checkout session of this user."""

    code = "checkout_session_not_found"
    detail = "Not found."


@dataclass(frozen=True)
class Purchase:
    """What somebody wants to buy: a Stripe price, or a plan and an interval."""

    success_url: str
    cancel_url: str
    price_id: str = ""
    plan: str = ""
    interval: str = "month"
    mode: str = SUBSCRIPTION
    quantity: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    allow_existing_subscription: bool = False
    promo_code: str = ""
    trial: bool = False
    plan_field: str = "plan"
    # A credit pack, which brings its own price: no request names one.
    order: PackOrder | None = None


@dataclass(frozen=True)
class Offer:
    """What a purchase comes to, as checked with Stripe and our plans."""

    price: dict[str, Any]
    trial_days: int
    promotion_code_id: str
    policy: BillingPolicy


def open_checkout_session(*, project: Project, mode: str, end_user: EndUser, purchase: Purchase) -> CheckoutSession:
    """Return an open checkout session for a purchase: the one that is open already, or a new one.

    Raises: AlreadySubscribed, PriceNotFound, PriceDoesNotFit, TrialNotAvailable, TrialUsed, PromotionCode… (400),
    StripeNotConfigured (404), LiveNotOpen (409), FieldError (422), StripeFailure.
    Source: https://docs.stripe.com/api/checkout/sessions/create
    """
    check_addresses(project=project, mode=mode, purchase=purchase)
    require_open(project=project, mode=mode)
    account = stripe_account(project.id, mode)
    one_only = purchase.mode == SUBSCRIPTION and not purchase.allow_existing_subscription
    if one_only:
        refuse_second_subscription(project=project, mode=mode, end_user=end_user)
    offer = _offer(account, project, mode, end_user, purchase)
    for last_try in (False, True):
        customer = ensure_customer(project=project, mode=mode, end_user=end_user)
        request = _session_request(project, end_user, purchase, offer, customer.stripe_customer_id)
        try:
            return _open(account, project, mode, end_user, request, one_only=one_only, order=purchase.order)
        except StripeObjectMissing as error:
            if error.param != "customer" or last_try:
                raise as_refusal(error) from None
            retire_customer(customer=customer)
        except StripeRefused as error:
            raise as_refusal(error) from None
    raise AssertionError("the second try returns or raises")


def check_addresses(*, project: Project, mode: str, purchase: Purchase) -> None:
    """Check where the buyer comes back to. Raises: FieldError (422)."""
    check_named_url(project=project, mode=mode, field="success_url", url=purchase.success_url)
    check_named_url(project=project, mode=mode, field="cancel_url", url=purchase.cancel_url)


def refuse_second_subscription(*, project: Project, mode: str, end_user: EndUser) -> None:
    """Check that the user has no subscription yet. Raises: AlreadySubscribed (400)."""
    rows = Subscription.objects.for_project(project).in_mode(mode)
    found = set(rows.filter(end_user=end_user, status__in=BLOCKING_STATUSES).values_list("status", flat=True))
    if found:
        raise AlreadySubscribed(action="customer_portal" if found <= set(UNPAID_STATUSES) else None)


def read_checkout_session(*, project: Project, mode: str, end_user: EndUser, session_id: str) -> CheckoutSession:
    """Ask Stripe what became of the user's own session and write it. Raises: SessionNotFound (404), StripeFailure."""
    rows = CheckoutSession.objects.for_project(project).filter(mode=mode, end_user=end_user)
    row = rows.filter(stripe_session_id=session_id).first() if is_identifier(session_id) else None
    if row is None:
        raise SessionNotFound()
    try:
        return sync_checkout_session(project=project, mode=mode, session_id=session_id) or row
    except Conflict:
        # Its webhook is being written at this moment: what is there already is the answer.
        return rows.get(pk=row.pk)


def _offer(account: StripeAccount, project: Project, mode: str, end_user: EndUser, purchase: Purchase) -> Offer:
    """Check everything that can be known before a customer is made, and read what Stripe knows of it."""
    price, plan = _checked_price(account, project, mode, purchase)
    trial_days = 0
    if purchase.trial:
        if purchase.mode != SUBSCRIPTION:
            raise TrialNotAvailable("Only a subscription can be tried.")
        trial_days = offered_trial_days(plan)
        refuse_second_trial(project=project, mode=mode, end_user=end_user)
    promotion_code_id = ""
    if purchase.promo_code:
        if purchase.order is not None and not purchase.order.pack.allow_promotion_codes:
            raise PromotionCodeNotApplicable("promo_code: promotion codes take nothing off this credit pack.")
        known = find_customer(project=project, mode=mode, end_user=end_user)
        customer_id = known.stripe_customer_id if known else ""
        promotion_code_id = find_promotion_code(
            account=account, code=purchase.promo_code, price=price, customer_id=customer_id
        )
    policy = BillingPolicy.objects.for_project(project).first() or BillingPolicy(project=project)
    return Offer(price, trial_days, promotion_code_id, policy)


def _checked_price(
    account: StripeAccount, project: Project, mode: str, purchase: Purchase
) -> tuple[dict[str, Any], Plan | None]:
    if purchase.order is not None:
        return price_of_order(account=account, project=project, mode=mode, order=purchase.order), None
    plan = None
    price_id = purchase.price_id
    if purchase.plan:
        plan = find_buyable_plan(project=project, code=purchase.plan, field=purchase.plan_field)
        price_id = price_id_of_plan(account=account, plan=plan, mode=mode, interval=purchase.interval)
    price = retrieve_sellable_price(account=account, project=project, mode=mode, price_id=price_id)
    wanted = RECURRING if purchase.mode == SUBSCRIPTION else ONE_TIME
    if price.get("type") != wanted:
        raise PriceDoesNotFit(f"Mode {purchase.mode} needs a {wanted} price; this one is {price.get('type')}.")
    if purchase.mode == PAYMENT and sells_a_license(project=project, mode=mode, stripe_price=price):
        raise PriceDoesNotFit("This price sells a licence; buy it with POST /api/v1/payments/lifetime-checkout.")
    if purchase.mode == PAYMENT and sells_a_pack(project=project, mode=mode, stripe_price=price):
        # Paid here it would give nothing.
        raise PriceDoesNotFit("This price sells a credit pack; buy it with POST /api/v1/payments/credits/purchase.")
    return price, plan or plan_of_price(project=project, mode=mode, price=price)


def _session_request(
    project: Project, end_user: EndUser, purchase: Purchase, offer: Offer, customer_id: str
) -> dict[str, Any]:
    """Write the call's parameters. What the caller says about itself never replaces what we say."""
    metadata = {**purchase.metadata, **user_metadata(project, end_user), **_sold(purchase)}
    request: dict[str, Any] = {
        "mode": purchase.mode,
        "customer": customer_id,
        "line_items": [priced(offer.price, purchase.order.quantity if purchase.order else purchase.quantity)],
        "success_url": purchase.success_url,
        "cancel_url": purchase.cancel_url,
        "metadata": metadata,
        **_collected(offer.policy),
    }
    data_name = "subscription_data" if purchase.mode == SUBSCRIPTION else "payment_intent_data"
    request[data_name] = {"metadata": metadata}
    if purchase.order is not None:
        # What receipts, payments and the dashboard say that it was for.
        request[data_name]["description"] = purchase.order.title
    if offer.trial_days:
        request[data_name][TRIAL_DAYS] = offer.trial_days
    # Stripe takes one of the two.
    if offer.promotion_code_id:
        request["discounts"] = [{"promotion_code": offer.promotion_code_id}]
    elif offer.policy.allow_promotion_codes and (purchase.order is None or purchase.order.pack.allow_promotion_codes):
        request["allow_promotion_codes"] = True
    return request


def _sold(purchase: Purchase) -> dict[str, str]:
    """Say in metadata what a session sells. What it gives is read from our own row of it, never from here."""
    order = purchase.order
    if order is None:
        return {"type": purchase.mode}
    return {"type": CREDIT_PURCHASE, "credit_pack": order.pack.code, "credits": str(order.credits)}


def _collected(policy: BillingPolicy) -> dict[str, Any]:
    """Write what the page asks of the buyer. What is typed is kept at the customer: invoices and later taxes need it.

    Source: https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-customer_update
    """
    collected: dict[str, Any] = {
        "billing_address_collection": "required" if policy.billing_address_collection else "auto"
    }
    if policy.tax_id_collection:
        collected["tax_id_collection"] = {"enabled": True}
    if policy.automatic_tax:
        collected["automatic_tax"] = {"enabled": True}
    if policy.billing_address_collection or policy.tax_id_collection or policy.automatic_tax:
        collected["customer_update"] = {"address": "auto", "name": "auto"}
    return collected


def _open(
    account: StripeAccount,
    project: Project,
    mode: str,
    end_user: EndUser,
    request: dict[str, Any],
    *,
    one_only: bool,
    order: PackOrder | None = None,
) -> CheckoutSession:
    """Return the open session of this purchase: wait for, take over or replace another one, bounded by patience."""
    # A trial is one per user, so that a checkout with one replaces the checkout before it too.
    single = one_only or has_trial(request)
    key = ONE_SUBSCRIPTION_KEY if single else hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    mine = CheckoutSession.objects.for_project(project).filter(mode=mode, end_user=end_user, purchase_key=key)
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        row = insert_session(
            project=project, mode=mode, end_user=end_user, purchase_key=key, request=request, order=order
        )
        if row is not None:
            return create_at_stripe(account, row)
        row = mine.filter(status__in=UNFINISHED).first()
        if row is None:
            continue
        if row.status == CheckoutSession.Status.CREATING:
            if not take_session(row):
                time.sleep(POLL_SECONDS)
                continue
            # What Stripe refuses about an abandoned request is no answer to this one, which is sent next.
            with suppress(StripeRefused):
                create_at_stripe(account, row)
        elif _still_wanted(account, row, request):
            return row
        elif one_only:
            refuse_second_subscription(project=project, mode=mode, end_user=end_user)
    raise CallInProgress()


def _still_wanted(account: StripeAccount, row: CheckoutSession, request: dict[str, Any]) -> bool:
    """Say whether an open row answers this click; when not, settle it by what Stripe says, so that a new one opens."""
    session = read_session(account, row)
    if session is None:
        mark_session(row, status=CheckoutSession.Status.EXPIRED)
    elif session["status"] == CheckoutSession.Status.OPEN:
        if row.request == request:
            return True
        expire_session(account, row)
    else:
        if session["status"] == CheckoutSession.Status.EXPIRED:
            forgo_retry_mail(row, because=CAME_BACK)
        # Paid in another tab, with its webhook still on the way: what was bought must be known before anything is sold.
        try:
            sync_checkout_session(project=row.project, mode=row.mode, session_id=row.stripe_session_id)
        except Conflict:
            raise CallInProgress() from None
        mark_session(row, status=session["status"], payment_status=session.get("payment_status") or "")
    return False


def as_refusal(error: StripeRefused) -> ApiError:
    """Turn what Stripe refuses about the purchase itself into the caller's 400; the rest stays 502."""
    if (error.param or "").startswith("line_items"):
        return PriceNotFound(error.user_message or None)
    if (error.param or "").startswith("discounts"):
        return PromotionCodeNotApplicable(f"promo_code: {error.user_message}" if error.user_message else None)
    if error.stripe_code in ("amount_too_small", "amount_too_large"):
        return PriceDoesNotFit(error.user_message or "Stripe refuses this amount.")
    return error
