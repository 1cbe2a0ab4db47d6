"""What may be sold: prices are asked of the project's own Stripe account, never taken on trust from a request."""

from typing import Any

from common.errors import ApiError, FieldError
from entitlements.models import Plan, PlanPrice
from entitlements.services.packs import PackOrder
from licenses.services.products import LicenseOrder
from payments.stripe_api import StripeAccount, StripeRefused
from projects.models import Project

RECURRING, ONE_TIME = "recurring", "one_time"


class PriceNotFound(ApiError):
    """400: the project's Stripe account has no such price on sale in this mode."""

    code = "price_not_found"
    detail = "This Stripe account has no such price in this mode."


class PriceDoesNotFit(ApiError):
    """400: the price exists and cannot be used for this."""

    code = "price_does_not_fit"


def retrieve_sellable_price(*, account: StripeAccount, project: Project, mode: str, price_id: str) -> dict[str, Any]:
    """Read a price from Stripe and check that it is on sale. Raises: PriceNotFound (400), StripeFailure.

    Source: https://docs.stripe.com/api/prices/retrieve
    """
    try:
        price = account.retrieve("prices", price_id)
    except StripeRefused:
        # Also an id that Stripe reads as something else, such as "search".
        raise PriceNotFound() from None
    if price.get("object") != "price":
        raise PriceNotFound()
    if not price.get("active"):
        raise PriceNotFound("This price is no longer active.")
    row = _row_of_price(project, mode, price)
    if row is not None and row.plan.internal:
        raise PriceNotFound("This plan cannot be bought.")
    if row is not None and row.plan.archived:
        raise PriceNotFound("This plan is no longer sold.")
    # With a warning it was Stripe that took it off sale, and Stripe has just said otherwise.
    if row is not None and not row.active and not row.warning:
        raise PriceNotFound("This price is no longer sold.")
    return price


def plan_of_price(*, project: Project, mode: str, price: dict[str, Any]) -> Plan | None:
    """Return the plan that a Stripe price sells, matched by its id and else by its lookup key; None when no plan knows it."""
    row = _row_of_price(project, mode, price)
    return row.plan if row else None


def _row_of_price(project: Project, mode: str, price: dict[str, Any]) -> PlanPrice | None:
    sold = PlanPrice.objects.for_project(project).filter(mode=mode).select_related("plan")
    by_id = sold.filter(stripe_price_id=price["id"]).first()
    by_key = sold.filter(lookup_key=price["lookup_key"]).first() if by_id is None and price.get("lookup_key") else None
    return by_id or by_key


def priced(price: dict[str, Any], quantity: int) -> dict[str, Any]:
    """Write a line or item of a price. A metered one takes no quantity: what is used is what is billed.

    Source: https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-line_items-quantity
    """
    if "price_data" in price:
        return {"price_data": price["price_data"], "quantity": quantity}
    metered = (price.get("recurring") or {}).get("usage_type") == "metered"
    return {"price": price["id"]} if metered else {"price": price["id"], "quantity": quantity}


def find_buyable_plan(*, project: Project, code: str, field: str) -> Plan:
    """Find a plan by code or alias. Raises: FieldError (422) that names the field."""
    plan = Plan.objects.for_project(project).named(code).first()
    if plan is None:
        raise FieldError("body", field, msg="There is no plan of this code.", type="unknown_plan")
    if plan.internal or plan.free or plan.archived:
        raise FieldError("body", field, msg="This plan cannot be bought.", type="plan_not_for_sale")
    return plan


def price_id_of_plan(*, account: StripeAccount, plan: Plan, mode: str, interval: str) -> str:
    """Return the Stripe price that sells a plan in a mode. Raises: PriceNotFound (400), StripeFailure."""
    rows = PlanPrice.objects.for_project(plan.project_id).on_sale().filter(plan=plan, mode=mode, interval=interval)
    sold = rows.order_by("-created_at", "-id").first()
    if sold is None:
        raise PriceNotFound(f"The plan {plan.code} has no {interval}ly price in {mode} mode.")
    return sold.stripe_price_id or _find_price_id(account, sold.lookup_key, f"plan {plan.code}")


def price_of_order(
    *, account: StripeAccount, project: Project, mode: str, order: PackOrder | LicenseOrder
) -> dict[str, Any]:
    """Return the Stripe price that sells a pack or licence, or one that the checkout makes itself when the order names none.

    Raises: PriceNotFound, PriceDoesNotFit (400) when Stripe would charge something else than we say, StripeFailure.
    Source: https://docs.stripe.com/api/checkout/sessions/create#create_checkout_session-line_items-price_data
    """
    sold = order.price
    name, what = _described(order)
    if not sold.stripe_price_id and not sold.lookup_key:
        made = {
            "currency": sold.currency,
            "unit_amount": sold.amount_cents,
            "product_data": {"name": name},
        }
        return {"type": ONE_TIME, "product": "", "price_data": made}
    price_id = sold.stripe_price_id or _find_price_id(account, sold.lookup_key, what)
    price = retrieve_sellable_price(account=account, project=project, mode=mode, price_id=price_id)
    if (price.get("unit_amount"), price.get("currency")) != (sold.amount_cents, sold.currency):
        raise PriceDoesNotFit(f"Stripe charges another price than the {what} says.")
    return price


def _described(order: PackOrder | LicenseOrder) -> tuple[str, str]:
    """Name what is sold: for a receipt, and in a refusal."""
    if isinstance(order, PackOrder):
        return order.pack.name, f"credit pack {order.pack.code}"
    return order.product.name, f"licence {order.product.code}"


def _find_price_id(account: StripeAccount, lookup_key: str, what: str) -> str:
    found = account.list("prices", {"lookup_keys": [lookup_key], "active": True, "limit": 1})["data"]
    if not found:
        raise PriceNotFound(f"Stripe has no active price with the lookup key of the {what}.")
    return str(found[0]["id"])
