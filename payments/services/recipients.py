"""Where a user is billed and who made a payment, for the mails of the apps below."""

import uuid

from licenses.models import License
from payments.models import StripeCustomer, Transaction


def billing_address(project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> str:
    """Return the e-mail address of a user's Stripe customer in a mode; "" when there is none."""
    rows = StripeCustomer.objects.for_project(project_id).filter(mode=mode, end_user=end_user_id, deleted_at=None)
    return rows.values_list("email", flat=True).first() or ""


def payer_address(project_id: uuid.UUID, mode: str, payment_intent_id: str) -> str:
    """Return the address of whoever made a payment; "" when none is known.

    A licence's is the one that was given at its checkout, which its own mails go to: its buyer may be a guest, or be signed in with
    another address. Else that of the payment's own customer at Stripe.
    """
    licenses = License.objects.for_project(project_id).in_mode(mode).filter(payment_intent_id=payment_intent_id)
    given = licenses.values_list("email", flat=True).first()
    if given:
        return given
    payments = Transaction.objects.for_project(project_id).filter(mode=mode, payment_intent_id=payment_intent_id)
    customer_id = payments.values_list("stripe_customer_id", flat=True).first()
    if not customer_id:
        return ""
    rows = StripeCustomer.objects.for_project(project_id).filter(mode=mode, stripe_customer_id=customer_id)
    return rows.filter(deleted_at=None).values_list("email", flat=True).first() or ""
