"""Makes licences of purchases that were paid, each once."""

import uuid
from dataclasses import dataclass

from django.db import connection

from common import clock
from licenses.models import License, LicenseProduct
from licenses.services.mails import WELCOME, mail_buyer
from licenses.services.states import note_change

PURCHASE_KEY = "purchase"


@dataclass(frozen=True)
class PaidPurchase:
    """What was paid for, and by whom. Units: `amount_cents` is what was paid, minor units of `currency`."""

    purchase_id: uuid.UUID
    project_id: uuid.UUID
    mode: str
    product: LicenseProduct
    email: str
    end_user_id: uuid.UUID | None
    stripe_session_id: str
    payment_intent_id: str
    amount_cents: int
    currency: str


def issue_license(*, paid: PaidPurchase, cause: str, without_effects: str = "") -> License | None:
    """Make the licence of a paid purchase with its welcome mail; None when it was made before.

    Call in the transaction that writes the payment. `without_effects` says why nobody is told of it any more.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("a licence is made in the transaction of its payment")
    row = License(
        id=paid.purchase_id,
        project_id=paid.project_id,
        mode=paid.mode,
        product=paid.product,
        email=paid.email[:512],
        end_user_id=paid.end_user_id,
        stripe_session_id=paid.stripe_session_id,
        payment_intent_id=paid.payment_intent_id,
        amount_cents=paid.amount_cents,
        currency=paid.currency,
        purchased_at=clock.now(),
    )
    made = License.objects.bulk_create([row], ignore_conflicts=True)
    found = License.objects.for_project(paid.project_id).select_related("product", "end_user").filter(pk=made[0].pk)
    issued = found.first()
    if issued is None or issued.changes.exists():
        # Another purchase has this payment or session, or this one was made before.
        return None
    note_change(issued, "issue", before="", by=cause, note=issued.stripe_session_id, told=not without_effects)
    mail_buyer(issued, WELCOME, key=PURCHASE_KEY, cause=cause, skipped_because=without_effects)
    return issued
