"""Opens the checkout of a licence: anybody may buy one. Everything about it comes from the product.

Invariant: the purchase is committed with its Stripe idempotency key before Stripe is called. One whose answer was lost is never
sent again: nobody was given its address, so nobody can pay it, and it expires at Stripe by itself.
"""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models.functions import Now

from common.clock import from_unix
from licenses.services.access_tokens import RETURNED, access_link, mint_access_token
from licenses.services.products import LicenseOrder, find_license_order
from payments.models import LIFETIME_LICENSE, BillingPolicy, LicensePurchase
from payments.services.checkout import as_refusal
from payments.services.customers import user_metadata
from payments.services.prices import price_of_order, priced
from payments.services.promotion_codes import PromotionCodeNotApplicable, find_promotion_code
from payments.services.return_urls import check_named_url
from payments.stripe_api import StripeRefused, stripe_account
from projects.models import EndUser, Project

SESSIONS = "checkout/sessions"
PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
NO_CODES = "promo_code: promotion codes take nothing off this licence."


@dataclass(frozen=True)
class LicenseCheckout:
    """A checkout that was opened. Units: `amount_cents` is minor units of `currency`, before discounts and taxes."""

    session_id: str
    url: str
    purchase: LicensePurchase


def open_license_checkout(
    *,
    project: Project,
    mode: str,
    product: str,
    end_user: EndUser | None = None,
    promo_code: str = "",
    cancel_url: str = "",
) -> LicenseCheckout:
    """Open a checkout of a licence; its buyer comes back to the licence's page with a signed link.

    Raises: LicenseProductNotFound, StripeNotConfigured (404), UrlNotAllowed, PriceNotFound, PriceDoesNotFit,
    PromotionCode… (400), StripeFailure.
    Source: https://docs.stripe.com/api/checkout/sessions/create
    """
    order = find_license_order(project=project, mode=mode, code=product)
    if cancel_url:
        check_named_url(project=project, mode=mode, field="cancel_url", url=cancel_url)
    account = stripe_account(project.id, mode)
    price = price_of_order(account=account, project=project, mode=mode, order=order)
    promotion_code_id = ""
    if promo_code:
        if not order.product.allow_promotion_codes:
            raise PromotionCodeNotApplicable(NO_CODES)
        promotion_code_id = find_promotion_code(account=account, code=promo_code, price=price, customer_id="")
    purchase = LicensePurchase.objects.create(
        project=project,
        mode=mode,
        product=order.product,
        end_user=end_user,
        amount_cents=order.price.amount_cents,
        currency=order.price.currency,
    )
    request = _request(project, purchase, order, price, promotion_code_id)
    request["cancel_url"] = cancel_url or project.default_cancel_url or f"{settings.PUBLIC_BASE_URL}/license-access"
    try:
        made = account.create(SESSIONS, request, idempotency_key=f"license-{purchase.pk}")
    except StripeRefused as error:
        purchase.status = LicensePurchase.Status.FAILED
        purchase.save(update_fields=["status"])
        raise as_refusal(error) from None
    rows = LicensePurchase.objects.for_project(project).filter(pk=purchase.pk)
    # Its events may have come before this answer did.
    rows.filter(status=LicensePurchase.Status.CREATING).update(status=LicensePurchase.Status.OPEN)
    rows.update(stripe_session_id=made["id"], expires_at=from_unix(made.get("expires_at")) or Now())
    return LicenseCheckout(str(made["id"]), str(made.get("url") or ""), purchase)


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
