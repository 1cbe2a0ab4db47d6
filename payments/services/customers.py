"""The Stripe customer of an end user: made once per mode, also under races and time-outs.

Invariant: an end user has at most one customer per mode that is not deleted (constraint stripe_customer_once_per_user).
"""

import datetime as dt
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from common.ids import stripe_row_id, uuid7
from payments.models import StripeCustomer, StripeIntent
from payments.services.intent_rows import (
    CallInProgress,
    IntentOutcome,
    StripeObject,
    carry_out,
    claim_intent,
    settle_intent,
)
from payments.services.ownership import TEXT_CHARS
from payments.stripe_api import StripeAccount, StripePermissionMissing, StripeRefused, stripe_account, unix
from projects.models import EndUser, Project

CREATE_CUSTOMER = "customer_create"
# Stripe forgets an idempotency key after a day at the earliest.
KEY_LIFETIME = dt.timedelta(hours=23)
SEARCH_MARGIN = dt.timedelta(minutes=10)


class CustomerOutcome(IntentOutcome):
    """Commits a customer's row together with the intent: nobody sees the one without the other."""

    def succeeded(self, answer: StripeObject) -> None:
        end_user = self.intent.end_user
        with transaction.atomic():
            if end_user is not None:
                _record_customer(project=self.intent.project, mode=self.intent.mode, end_user=end_user, customer=answer)
            super().succeeded(answer)


def find_customer(*, project: Project, mode: str, end_user: EndUser) -> StripeCustomer | None:
    """Return the end user's customer in a mode, without calling Stripe."""
    rows = StripeCustomer.objects.for_project(project).filter(mode=mode, end_user=end_user, deleted_at__isnull=True)
    return rows.first()


def ensure_customer(*, project: Project, mode: str, end_user: EndUser) -> StripeCustomer:
    """Return the end user's customer, making it at Stripe the first time.

    Raises: StripeNotConfigured (404), StripeFailure (502, 503), CallInProgress (503).
    Source: https://docs.stripe.com/api/customers/create
    """
    known = find_customer(project=project, mode=mode, end_user=end_user)
    if known is not None:
        fill_email(customer=known, end_user=end_user)
        return known
    account = stripe_account(project.id, mode)
    intent = claim_intent(
        project=project,
        mode=mode,
        end_user=end_user,
        operation=CREATE_CUSTOMER,
        target=str(end_user.id),
        params=_customer_params(project, end_user),
        keep_open_params=True,
    )
    known = find_customer(project=project, mode=mode, end_user=end_user)
    if known is not None:
        settle_intent(intent, status=StripeIntent.Status.FAILED, error="not sent: the customer is there already")
        return known
    create_at_stripe(account, intent)
    made = find_customer(project=project, mode=mode, end_user=end_user)
    if made is None:
        # Deleted again in the same moment, or its end user was.
        raise CallInProgress()
    return made


def fill_email(*, customer: StripeCustomer, end_user: EndUser) -> None:
    """Give a customer that was made without an address the one that the app has told since, so that Stripe's pages show it.

    One that Stripe has is the customer's own and stays. Raises: StripeFailure (503) when Stripe is away.
    Source: https://docs.stripe.com/api/customers/update
    """
    if customer.email or not end_user.email:
        return
    account = stripe_account(customer.project_id, customer.mode)
    try:
        found = account.retrieve("customers", customer.stripe_customer_id)
        if not found.get("deleted") and not found.get("email"):
            # Twice the same comes to the same, so that a key of its own for each call is enough.
            key = f"customer-email-{uuid7()}"
            params = {"email": end_user.email}
            found = account.update("customers", customer.stripe_customer_id, params, idempotency_key=key)
    except (StripePermissionMissing, StripeRefused):
        # What needs the customer says what is wrong with it; without the address the buyer types it in.
        return
    email = (found.get("email") or "")[:TEXT_CHARS]
    StripeCustomer.objects.for_project(customer.project_id).filter(pk=customer.pk, email="").update(email=email)
    customer.email = email


def create_at_stripe(account: StripeAccount, intent: StripeIntent) -> StripeObject:
    """Send the creation of a held row, always with its own key. Raises: StripeFailure."""

    def send() -> StripeObject:
        return account.create("customers", intent.params, idempotency_key=intent.stripe_idempotency_key)

    return carry_out(CustomerOutcome(intent), send=send, find_effect=lambda: find_created_customer(account, intent))


def find_created_customer(account: StripeAccount, intent: StripeIntent) -> StripeObject | None:
    """Look at Stripe for the customer that a row asked for; None when it was never made."""
    wanted = intent.params["metadata"]
    made_between = {
        "gte": unix(intent.created_at - SEARCH_MARGIN),
        "lte": unix(intent.created_at + KEY_LIFETIME + SEARCH_MARGIN),
    }
    for customer in account.iterate("customers", {"created": made_between}):
        metadata = customer.get("metadata") or {}
        if all(metadata.get(name) == wanted[name] for name in ("project_id", "end_user_id")):
            return customer
    return None


def retire_customer(*, customer: StripeCustomer) -> None:
    """Note that Stripe no longer has this customer, so that a new one may take its place."""
    rows = StripeCustomer.objects.for_project(customer.project_id).filter(pk=customer.pk, deleted_at__isnull=True)
    rows.update(deleted_at=Now())


def _record_customer(*, project: Project, mode: str, end_user: EndUser, customer: StripeObject) -> StripeCustomer:
    values = {
        "project": project,
        "mode": mode,
        "end_user": end_user,
        "stripe_customer_id": customer["id"],
        "email": customer.get("email") or "",
        "name": customer.get("name") or "",
    }
    try:
        with transaction.atomic():
            row_id = stripe_row_id(project.id, mode, customer["id"])
            return StripeCustomer.objects.update_or_create(id=row_id, defaults=values)[0]
    except IntegrityError:
        # Somebody bound another customer to this user in the meantime; the constraint says that one stays.
        known = find_customer(project=project, mode=mode, end_user=end_user)
        if known is None:
            raise
        return known


def _customer_params(project: Project, end_user: EndUser) -> dict[str, Any]:
    params: dict[str, Any] = {"metadata": user_metadata(project, end_user)}
    if end_user.email:
        params["email"] = end_user.email
    return params


def user_metadata(project: Project, end_user: EndUser) -> dict[str, str]:
    """Return what every object that we make at Stripe says about whose it is.

    Units: Stripe takes at most 500 characters per value.
    """
    return {
        "project_id": str(project.id),
        "end_user_id": str(end_user.id),
        "external_user_id": end_user.external_id,
    }
