"""Opens the checkout of a licence: anybody may buy one. Everything about it comes from the product.

Invariants: the purchase is committed with its Stripe idempotency key before Stripe is called. One whose answer was lost is never
sent again: nobody was given its address, so nobody can pay it, and it expires at Stripe by itself. A buyer who is known, by a token
or by an e-mail address that they gave, has at most one open checkout of the same: a double click gets the same one.
"""

import datetime as dt
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from common import clock
from common.clock import from_unix
from common.errors import Conflict
from licenses.services.access_tokens import RETURNED, access_link, mint_access_token
from licenses.services.products import LicenseOrder, find_license_order
from payments.models import LIFETIME_LICENSE, BillingPolicy, LicensePurchase
from payments.services.checkout import as_refusal
from payments.services.customers import user_metadata
from payments.services.intent_rows import PATIENCE_SECONDS, POLL_SECONDS, CallInProgress
from payments.services.live_gate import require_open
from payments.services.objects.checkout import collect_checkout_session
from payments.services.prices import price_of_order, priced
from payments.services.promotion_codes import PromotionCodeNotApplicable, find_promotion_code
from payments.services.return_urls import check_named_url
from payments.services.sync import sync_object
from payments.stripe_api import StripeAccount, StripeFailure, StripeObjectMissing, StripeRefused, stripe_account
from projects.models import EndUser, Project

SESSIONS = "checkout/sessions"
PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
NO_CODES = "promo_code: promotion codes take nothing off this licence."
# A call to Stripe that has not ended after this long never will: its process is gone.
GIVEN_UP_AFTER = dt.timedelta(seconds=60)
Status = LicensePurchase.Status


@dataclass(frozen=True)
class LicenseCheckout:
    """A checkout that was opened. Units: `amount_cents` is minor units of `currency`, before discounts and taxes."""

    session_id: str
    url: str
    purchase: LicensePurchase


@dataclass(frozen=True)
class Buyer:
    """Who wants to buy: the app's user, or a guest, perhaps with an address. `caller` tells apart who gives the same address."""

    end_user: EndUser | None = None
    email: str = ""
    caller: str = ""

    @property
    def name(self) -> list[str]:
        """Tell a buyer from others; empty for a guest of whom nothing is known."""
        if self.end_user is not None:
            return ["user", str(self.end_user.pk), self.email.casefold()]
        return ["guest", self.caller, self.email.casefold()] if self.email else []


def open_license_checkout(
    *,
    project: Project,
    mode: str,
    product: str,
    buyer: Buyer,
    promo_code: str = "",
    cancel_url: str = "",
) -> LicenseCheckout:
    """Return an open checkout of a licence, or open one; its buyer comes back to the licence's page with a signed link.

    Raises: LicenseProductNotFound, StripeNotConfigured (404), LiveNotOpen (409), UrlNotAllowed, PriceNotFound, PriceDoesNotFit,
    PromotionCode… (400), CallInProgress (503), StripeFailure.
    Source: https://docs.stripe.com/api/checkout/sessions/create
    """
    order = find_license_order(project=project, mode=mode, code=product)
    if cancel_url:
        check_named_url(project=project, mode=mode, field="cancel_url", url=cancel_url)
    require_open(project=project, mode=mode)
    account = stripe_account(project.id, mode)
    price = price_of_order(account=account, project=project, mode=mode, order=order)
    promotion_code_id = ""
    if promo_code:
        if not order.product.allow_promotion_codes:
            raise PromotionCodeNotApplicable(NO_CODES)
        promotion_code_id = find_promotion_code(account=account, code=promo_code, price=price, customer_id="")
    values = {
        "project": project,
        "mode": mode,
        "product": order.product,
        "end_user": buyer.end_user,
        "amount_cents": order.price.amount_cents,
        "currency": order.price.currency,
        "purchase_key": _purchase_key(buyer, order, promo_code, cancel_url),
    }
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        purchase = _insert(values)
        if purchase is None:
            found = _find_open(account, values)
            if found is not None:
                return found
            continue
        request = _request(project, purchase, order, price, promotion_code_id)
        request["cancel_url"] = cancel_url or project.default_cancel_url or f"{settings.PUBLIC_BASE_URL}/license-access"
        if buyer.email:
            request["customer_email"] = buyer.email
        return _create_at_stripe(account, purchase, request)
    raise CallInProgress()


def _purchase_key(buyer: Buyer, order: LicenseOrder, promo_code: str, cancel_url: str) -> str:
    """Name what somebody is about to buy; "" for nobody in particular, whose clicks cannot be told from others'."""
    if not buyer.name:
        return ""
    what = [*buyer.name, order.product.code, order.price.amount_cents, order.price.currency, promo_code, cancel_url]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _insert(values: dict[str, Any]) -> LicensePurchase | None:
    """Commit a purchase before Stripe is called; None when one of its key is being opened or open."""
    try:
        with transaction.atomic():
            return LicensePurchase.objects.create(**values)
    except IntegrityError:
        return None


def _create_at_stripe(account: StripeAccount, purchase: LicensePurchase, request: dict[str, Any]) -> LicenseCheckout:
    rows = LicensePurchase.objects.for_project(purchase.project_id).filter(pk=purchase.pk)
    try:
        made = account.create(SESSIONS, request, idempotency_key=f"license-{purchase.pk}")
    except StripeRefused as error:
        rows.update(status=Status.FAILED)
        raise as_refusal(error) from None
    except StripeFailure:
        # Whether there is a session or not, nobody will ever get its address: the next click opens another.
        rows.update(purchase_key="")
        raise
    # Its events may have come before this answer did.
    rows.filter(status=Status.CREATING).update(status=Status.OPEN)
    rows.update(stripe_session_id=made["id"], expires_at=from_unix(made.get("expires_at")) or Now())
    return LicenseCheckout(str(made["id"]), str(made.get("url") or ""), purchase)


def _find_open(account: StripeAccount, values: dict[str, Any]) -> LicenseCheckout | None:
    """Return the open checkout of a purchase's key; None to try again, after a pause or after letting go of one that is over."""
    rows = LicensePurchase.objects.for_project(values["project"]).in_mode(values["mode"])
    row = rows.filter(purchase_key=values["purchase_key"], status__in=LicensePurchase.UNFINISHED).first()
    if row is None:
        return None
    if not row.stripe_session_id:
        if row.created_at < clock.now() - GIVEN_UP_AFTER:
            rows.filter(pk=row.pk, stripe_session_id="").update(purchase_key="")
        else:
            time.sleep(POLL_SECONDS)
        return None
    try:
        session = account.retrieve(SESSIONS, row.stripe_session_id)
    except StripeObjectMissing:
        session = {}
    if session.get("status") == Status.OPEN and session.get("url"):
        return LicenseCheckout(row.stripe_session_id, str(session["url"]), row)
    if session.get("status") == Status.COMPLETE:
        # Paid in another tab, with its webhook still on the way: the next one is another licence.
        try:
            sync_object(
                project_id=row.project_id,
                mode=row.mode,
                collect=collect_checkout_session,
                object_id=row.stripe_session_id,
            )
        except Conflict:
            raise CallInProgress() from None
    rows.filter(pk=row.pk).update(purchase_key="")
    return None


def _request(
    project: Project, purchase: LicensePurchase, order: LicenseOrder, price: dict[str, Any], promotion_code_id: str
) -> dict[str, Any]:
    """Write the call's parameters. The metadata routes; what it gives is read from our own row."""
    who = user_metadata(project, purchase.end_user) if purchase.end_user else {"project_id": str(project.pk)}
    metadata = {
        **who,
        "type": LIFETIME_LICENSE,
        "license_product": order.product.code,
        "license_purchase": str(purchase.pk),
    }
    token = mint_access_token(project_id=project.pk, license_id=purchase.pk, purpose=RETURNED)
    policy = BillingPolicy.objects.for_project(project).first() or BillingPolicy(project=project)
    request: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": str(purchase.pk),
        # Refunds, receipts and later taxes need somebody to be about, and the page an address to write to.
        "customer_creation": "always",
        "line_items": [priced(price, 1)],
        "success_url": access_link(session_id=PLACEHOLDER, token=token),
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata, "description": order.title},
        "billing_address_collection": "required" if policy.billing_address_collection else "auto",
    }
    if policy.tax_id_collection:
        request["tax_id_collection"] = {"enabled": True}
    if policy.automatic_tax:
        request["automatic_tax"] = {"enabled": True}
    # Stripe takes one of the two.
    if promotion_code_id:
        request["discounts"] = [{"promotion_code": promotion_code_id}]
    elif order.product.allow_promotion_codes:
        request["allow_promotion_codes"] = True
    return request
