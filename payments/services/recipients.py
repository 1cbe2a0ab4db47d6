"""Where a user is billed, for the mails of the apps below."""

import uuid

from payments.models import StripeCustomer


def billing_address(project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> str:
    """Return the e-mail address of a user's Stripe customer in a mode; "" when there is none."""
    rows = StripeCustomer.objects.for_project(project_id).filter(mode=mode, end_user=end_user_id, deleted_at=None)
    return rows.values_list("email", flat=True).first() or ""
