"""What became of a checkout of a licence, for its page: the return from checkout is right before the webhook is."""

import uuid

from common.errors import Conflict
from licenses.services.purchases import PurchaseStanding
from payments.models import LicensePurchase
from payments.services.objects.checkout import collect_checkout_session
from payments.services.sync import sync_object
from payments.stripe_api import StripeFailure, StripeNotConfigured

Status = LicensePurchase.Status
WAIT_SECONDS = 3.0


def look_up_purchase(project_id: uuid.UUID, purchase_id: uuid.UUID) -> PurchaseStanding | None:
    """Say how a checkout stands, after asking Stripe where that can still change; None when there is no such checkout.

    When Stripe cannot be asked, what is known is the answer: the webhook brings the rest.
    """
    rows = LicensePurchase.objects.for_project(project_id).filter(pk=purchase_id).select_related("product")
    row = rows.first()
    if row is None:
        return None
    if row.stripe_session_id and row.issued_at is None and row.status not in (Status.EXPIRED, Status.FAILED):
        try:
            sync_object(
                project_id=project_id,
                mode=row.mode,
                collect=collect_checkout_session,
                object_id=row.stripe_session_id,
                wait_seconds=WAIT_SECONDS,
            )
        except (Conflict, StripeFailure, StripeNotConfigured):
            pass
        row.refresh_from_db()
    return PurchaseStanding(
        session_id=row.stripe_session_id, status=row.status, product_name=row.product.name, mode=row.mode
    )
