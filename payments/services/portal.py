"""Stripe's customer portal: a short-lived link to where users manage what they pay for."""

from typing import Any

from common.errors import NotFound
from payments.models import Subscription
from payments.models.billing import ENDED_STATUSES
from payments.services.customers import find_customer, retire_customer
from payments.services.intent_rows import IntentOutcome, StripeObject, carry_out, claim_intent
from payments.services.return_urls import check_named_url
from payments.services.subscription_changes import NoSubscription
from payments.stripe_api import StripeObjectMissing, stripe_account
from projects.models import EndUser, Project

CREATE_PORTAL_SESSION = "portal_session"
PAYMENT_METHOD_UPDATE = "payment_method_update"
FLOWS = ("subscription_cancel", "subscription_update", PAYMENT_METHOD_UPDATE)


class NoCustomer(NotFound):
    """404: the user has never come near a checkout."""

    code = "no_customer"
    detail = "This user has no Stripe customer yet."
    action = "checkout"


def open_portal(*, project: Project, mode: str, end_user: EndUser, return_url: str, flow: str = "") -> str:
    """Return the address of a new portal session, opened at a flow if one is named.

    Raises: UrlNotAllowed (400), StripeNotConfigured, NoCustomer, NoSubscription (404), StripeFailure.
    Source: https://docs.stripe.com/api/customer_portal/sessions/create
    """
    check_named_url(project=project, mode=mode, field="return_url", url=return_url)
    account = stripe_account(project.id, mode)
    customer = find_customer(project=project, mode=mode, end_user=end_user)
    if customer is None:
        raise NoCustomer()
    params: dict[str, Any] = {"customer": customer.stripe_customer_id, "return_url": return_url}
    if flow:
        params["flow_data"] = _flow_data(flow, mode, end_user)
    intent = claim_intent(
        project=project,
        mode=mode,
        end_user=end_user,
        operation=CREATE_PORTAL_SESSION,
        target=customer.stripe_customer_id,
        params=params,
    )

    def send() -> StripeObject:
        return account.create("billing_portal/sessions", params, idempotency_key=intent.stripe_idempotency_key)

    try:
        # A portal session cannot be read back, and one that nobody saw does no harm.
        session = carry_out(IntentOutcome(intent), send=send, find_effect=lambda: None)
    except StripeObjectMissing as error:
        if error.param != "customer":
            raise
        retire_customer(customer=customer)
        raise NoCustomer() from None
    return str(session["url"])


def _flow_data(flow: str, mode: str, end_user: EndUser) -> dict[str, Any]:
    if flow == PAYMENT_METHOD_UPDATE:
        return {"type": flow}
    subscription = Subscription.objects.for_project(end_user.project_id).current_for(end_user, mode)
    if subscription is None or subscription.status in ENDED_STATUSES:
        raise NoSubscription()
    return {"type": flow, flow: {"subscription": subscription.stripe_subscription_id}}
