"""What became of a checkout session: the customer is bound to the end user, and what was bought is read and written with it.

Invariant: a session alone gives nothing. What was bought exists when the subscription or the payment that it names says so at
Stripe; a session that is complete but unpaid (a delayed payment method) leaves a pending payment.
"""

import uuid
from typing import Any

from common import clock
from common.clock import from_unix
from payments.models import CheckoutSession
from payments.services.checkout_effects import record_dead_end
from payments.services.credit_purchases import FULFILLED_STATUSES, fulfil_purchase
from payments.services.license_purchases import follow_license_session
from payments.services.objects.invoice import collect_invoice
from payments.services.objects.payment import PAYMENT_INTENTS
from payments.services.objects.payment_intent import collect_payment_intent
from payments.services.objects.subscription import collect_subscription
from payments.services.ownership import Scope
from payments.services.snapshot import SESSIONS, Snapshot, StripeObject, id_of
from payments.services.trials import free_trial

Status = CheckoutSession.Status
FAILED_INTENT_STATUSES = ("requires_payment_method", "canceled")
DEAD_ENDS = (Status.EXPIRED, Status.FAILED)


def collect_checkout_session(snapshot: Snapshot, session_id: str) -> StripeObject | None:
    """Read a session and what it made: subscription, invoice, payment. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/checkout/sessions/retrieve
    """
    found = snapshot.read(SESSIONS, session_id)
    if found is None:
        return None
    if id_of(found.get("subscription")):
        collect_subscription(snapshot, id_of(found["subscription"]))
    if id_of(found.get("invoice")):
        collect_invoice(snapshot, id_of(found["invoice"]))
    if id_of(found.get("payment_intent")):
        collect_payment_intent(snapshot, id_of(found["payment_intent"]))
    return found


def bind_checkout_customer(scope: Scope, found: StripeObject) -> None:
    """Bind the customer that a session made or used to the end user who was sent to it."""
    if id_of(found.get("customer")):
        scope.bind(found["customer"], buyer_of(scope, found))


def buyer_of(scope: Scope, found: StripeObject) -> uuid.UUID | None:
    """Return the end user of a session: of our own row, else whom its metadata names."""
    row = _row_of(scope, found).values_list("end_user_id", flat=True).first()
    return row or scope.named_user(found.get("metadata"))


def write_checkout_session(scope: Scope, session_id: str, found: StripeObject | None, snapshot: Snapshot) -> None:
    """Follow a session's status in our row of it; sessions that were not opened here have none, and cause nothing."""
    rows = CheckoutSession.objects.for_project(scope.project_id).filter(mode=scope.mode, stripe_session_id=session_id)
    if found is None:
        rows.filter(status=Status.OPEN).update(status=Status.EXPIRED, updated_at=clock.now())
        status = Status.EXPIRED.value
    else:
        status = _status_of(found, snapshot)
        _row_of(scope, found).update(
            stripe_session_id=session_id,
            status=status,
            payment_status=found.get("payment_status") or "",
            stripe_subscription_id=id_of(found.get("subscription")),
            payment_intent_id=id_of(found.get("payment_intent")),
            url=found.get("url") or "",
            expires_at=from_unix(found.get("expires_at")),
            error="",
            updated_at=clock.now(),
        )
        fulfil_purchase(scope, found)
        follow_license_session(scope, found, status)
    if status not in DEAD_ENDS:
        return
    row = rows.select_related("end_user", "project").first()
    if row is not None:
        free_trial(project_id=scope.project_id, session_id=row.pk)
        if found is not None:
            record_dead_end(scope, row, found)


def _row_of(scope: Scope, found: StripeObject) -> Any:
    """Find our row of a session: by its id, else by the reference that it carries, while our call is still under way."""
    rows = CheckoutSession.objects.for_project(scope.project_id).filter(mode=scope.mode)
    mine = rows.filter(stripe_session_id=found["id"])
    try:
        reference = uuid.UUID(str(found.get("client_reference_id") or ""))
    except ValueError:
        return mine
    return mine | rows.filter(pk=reference, stripe_session_id="")


def _status_of(found: StripeObject, snapshot: Snapshot) -> str:
    """Return Stripe's status; a session that is complete and unpaid has failed when its delayed payment has."""
    status: str = found.get("status") or Status.OPEN
    if status != Status.COMPLETE or found.get("payment_status") in FULFILLED_STATUSES:
        return status
    invoice_id = id_of(found.get("invoice"))
    attempts = {id_of(found.get("payment_intent"))} | {
        intent_id for intent_id, paid in snapshot.invoice_of_payment.items() if invoice_id and paid == invoice_id
    }
    intents = [intent for intent_id, intent in snapshot.of_kind(PAYMENT_INTENTS).items() if intent_id in attempts]
    tried = [intent["status"] for intent in intents if intent is not None]
    return Status.FAILED if tried and set(tried) <= set(FAILED_INTENT_STATUSES) else status
