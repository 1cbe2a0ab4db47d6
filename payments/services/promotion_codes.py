"""Promotion codes that a request names: one that gives nothing is an error, never silence."""

import datetime as dt
from typing import Any

from common import clock
from common.clock import from_unix
from common.errors import ApiError
from payments.services.snapshot import id_of
from payments.stripe_api import StripeAccount, StripeObjectMissing

# The same code may have been used several times for different customers, of which one is active at a time.
SAME_CODE_MAX = 20


class PromotionCodeNotFound(ApiError):
    """400: the account has no such code."""

    code = "promo_code_not_found"
    detail = "promo_code: there is no such promotion code."


class PromotionCodeExpired(ApiError):
    """400: the code was good once."""

    code = "promo_code_expired"
    detail = "promo_code: this promotion code is no longer active."


class PromotionCodeNotApplicable(ApiError):
    """400: the code is good, but not for this user or this purchase."""

    code = "promo_code_not_applicable"
    detail = "promo_code: this promotion code cannot be used for this purchase."


def find_promotion_code(*, account: StripeAccount, code: str, price: dict[str, Any], customer_id: str) -> str:
    """Return the id of a promotion code that lowers a price for a customer ("" = one who is not made yet).

    What only Stripe knows, such as earlier payments, it judges when the session is made.
    Raises: PromotionCodeNotFound, PromotionCodeExpired, PromotionCodeNotApplicable (400), StripeFailure.
    Source: https://docs.stripe.com/api/promotion_codes/list
    """
    try:
        found = account.list("promotion_codes", {"code": code, "limit": SAME_CODE_MAX})["data"]
    except StripeObjectMissing:
        found = []
    if not found:
        raise PromotionCodeNotFound()
    active = [each for each in found if each["active"]]
    if not active:
        raise PromotionCodeExpired(_why_inactive(found[0], clock.now()))
    for_them = [each for each in active if id_of(each.get("customer")) in ("", customer_id)]
    if not for_them:
        raise PromotionCodeNotApplicable("promo_code: this promotion code belongs to another customer.")
    chosen = max(for_them, key=lambda each: bool(id_of(each.get("customer"))))
    _check_coupon(account, chosen, price)
    return str(chosen["id"])


def _why_inactive(found: dict[str, Any], at: dt.datetime) -> str:
    expires_at = from_unix(found.get("expires_at"))
    if expires_at is not None and expires_at <= at:
        return "promo_code: this promotion code has expired."
    limit = found.get("max_redemptions")
    if limit is not None and found.get("times_redeemed", 0) >= limit:
        return "promo_code: this promotion code has been used up."
    return PromotionCodeExpired.detail


def _check_coupon(account: StripeAccount, found: dict[str, Any], price: dict[str, Any]) -> None:
    """Refuse a coupon for other products: Stripe could take it and lower nothing.

    Source: https://docs.stripe.com/api/coupons/object#coupon_object-applies_to
    """
    promotion = found.get("promotion") or {"coupon": found.get("coupon")}
    try:
        coupon = account.retrieve("coupons", id_of(promotion["coupon"]), expand=["applies_to"])
    except StripeObjectMissing:
        raise PromotionCodeExpired() from None
    products = (coupon.get("applies_to") or {}).get("products") or []
    if products and id_of(price["product"]) not in products:
        raise PromotionCodeNotApplicable("promo_code: this promotion code is for other products.")
