"""Opens the checkout of a credit pack. Everything about it but the addresses comes from the pack."""

from typing import Any

from entitlements.services.packs import find_order
from payments.models import CheckoutSession
from payments.services.checkout import PAYMENT, Purchase, check_addresses, open_checkout_session
from payments.services.my_state import require_configured
from payments.services.return_urls import url_or_default
from projects.models import EndUser, Project


def order_pack(
    *,
    project: Project,
    mode: str,
    pack: str,
    quantity: int = 1,
    promo_code: str = "",
    success_url: str | None = None,
    cancel_url: str | None = None,
) -> Purchase:
    """Return the purchase of a pack, checked as far as nobody has to be asked. Writes nothing.

    Raises: CreditPackNotFound, StripeNotConfigured (404); FieldError (422) for an address that is missing or not allowed.
    """
    purchase = Purchase(
        success_url=url_or_default(project=project, field="success_url", url=success_url),
        cancel_url=url_or_default(project=project, field="cancel_url", url=cancel_url),
        mode=PAYMENT,
        promo_code=promo_code,
        order=find_order(project=project, mode=mode, code=pack, quantity=quantity),
    )
    require_configured(project=project, mode=mode)
    check_addresses(project=project, mode=mode, purchase=purchase)
    return purchase


def open_credit_checkout(*, project: Project, mode: str, end_user: EndUser, **order: Any) -> CheckoutSession:
    """Open a checkout of a credit pack for a user; a double click gets the same one.

    Raises: as order_pack and open_checkout_session.
    """
    purchase = order_pack(project=project, mode=mode, **order)
    return open_checkout_session(project=project, mode=mode, end_user=end_user, purchase=purchase)
