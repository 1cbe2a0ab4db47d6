"""Where a user is billed and who made a payment, for the mails of the apps below."""

import datetime as dt
import uuid

from common import clock
from licenses.models import License
from payments.models import LicensePurchase, StripeCustomer, Transaction

# For so long after a payment its checkout may still be on its way here.
CHECKOUT_FOLLOWS_WITHIN = dt.timedelta(minutes=10)


class PayerNotKnownYet(Exception):
    """The checkout of a payment says in a moment who made it; trying again finds out."""


def billing_address(project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> str:
    """Return the e-mail address of a user's Stripe customer in a mode; "" when there is none."""
    rows = StripeCustomer.objects.for_project(project_id).filter(mode=mode, end_user=end_user_id, deleted_at=None)
    return rows.values_list("email", flat=True).first() or ""


def payer_address(project_id: uuid.UUID, mode: str, payment_intent_id: str) -> str:
    """Return the address of whoever made a payment; "" when none is known.

    A licence's is the one that was given at its checkout, which its own mails go to: its buyer may be a guest, or be signed in with
    another address. Else that of the payment's own customer at Stripe. Raises: PayerNotKnownYet.
    """
    licenses = License.objects.for_project(project_id).in_mode(mode).filter(payment_intent_id=payment_intent_id)
    given = licenses.values_list("email", flat=True).first()
    if given:
        return given
    payments = Transaction.objects.for_project(project_id).filter(mode=mode, payment_intent_id=payment_intent_id)
    purchases = (
        LicensePurchase.objects.for_project(project_id).in_mode(mode).filter(payment_intent_id=payment_intent_id)
    )
    lately = payments.filter(created_at__gt=clock.now() - CHECKOUT_FOLLOWS_WITHIN)
    if purchases.filter(issued_at=None).exists() and lately.exists():
        # Stripe may tell of a payment a moment before it says that the checkout is complete.
        raise PayerNotKnownYet("The checkout of this payment is not complete yet.")
    customer_id = payments.values_list("stripe_customer_id", flat=True).first()
    if not customer_id:
        return ""
    rows = StripeCustomer.objects.for_project(project_id).filter(mode=mode, stripe_customer_id=customer_id)
    return rows.filter(deleted_at=None).values_list("email", flat=True).first() or ""
