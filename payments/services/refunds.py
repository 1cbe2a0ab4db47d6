"""Refunds that staff ask for.

Invariant: a request, its place in the outbox and its line in the action log are one transaction; Stripe is called afterwards, and
however often that is tried, with the idempotency key of the request, so that a request refunds once.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts.models import User
from common.errors import ApiError, Conflict, FieldError
from common.money import money_text, step_of
from moderation.services.action_log import log_action
from moderation.services.limits import REFUND, check_refund_limit
from notifications.models import OutboxRow
from notifications.services.outbox import record_effect
from payments.models import Dispute, Transaction
from payments.services.effects import waiting_for_keys
from payments.services.objects.payment import REFUNDS
from payments.services.objects.payment_intent import collect_payment_intent
from payments.services.objects.refund import ACCESS_KEY, KEEP, REVOKE
from payments.services.objects.subscription import SUBSCRIPTIONS
from payments.services.ownership import Cause
from payments.services.rate_budget import background_calls
from payments.services.sync import sync_object
from payments.stripe_api import StripeAccount, StripeObjectMissing, stripe_account

logger = logging.getLogger(__name__)

STRIPE_REFUND = "stripe_refund"
REFUNDABLE_STATUSES = (Transaction.Status.SUCCEEDED, Transaction.Status.PARTIALLY_REFUNDED)
# Stripe refuses to refund what a bank has taken back, or may yet.
BLOCKING_DISPUTES = ("needs_response", "under_review", "lost")
REQUEST_KEY = "refund_request"
REASON_CHARS = 1000


class NotRefundable(Conflict):
    """409: nothing of this payment can be given back."""

    code = "not_refundable"
    detail = "This payment cannot be refunded."


@dataclass(frozen=True)
class RefundRequest:
    """What staff ask for. Without an amount: all that is left. `key` is the form's own, so that pressing twice asks once.

    Units: minor units of the payment's currency.
    """

    key: uuid.UUID
    amount_cents: int | None
    access: str
    cancel_subscription: bool
    reason: str


def refundable_cents(payment: Transaction) -> int:
    """Return how much of a payment can still be asked for: less what went back and what was asked for already.

    Units: minor units of its currency.
    """
    asked: Any = _requests_of(payment).unfinished().values_list("payload__amount_cents", flat=True)
    return payment.amount_cents - payment.refunded_amount_cents - sum(asked)


def why_not_refundable(payment: Transaction) -> str:
    """Say why nothing of a payment can be given back, or nothing when some of it can."""
    if payment.status not in REFUNDABLE_STATUSES:
        return f"A payment that is {payment.get_status_display().lower()} cannot be refunded."
    if payment.payment_intent_id == payment.stripe_invoice_id:
        return "This invoice was paid outside Stripe, and is refunded there."
    disputes = Dispute.objects.for_project(payment.project_id).filter(transaction=payment)
    if disputes.filter(status__in=BLOCKING_DISPUTES).exists():
        return "The cardholder's bank disputes this payment; Stripe refuses refunds of it."
    if refundable_cents(payment) <= 0:
        return "All of this payment was refunded, or is about to be."
    return ""


def check_refund(*, payment: Transaction, request: RefundRequest, actor: User) -> None:
    """Refuse what `request_refund` would refuse, and change nothing.

    Raises: NotRefundable (409), BeyondLimit (403), FieldError (422) for the amount, the access, the cancellation or the reason.
    """
    with transaction.atomic():
        _check_limit(payment, _checked_amount(payment, request), actor)
    _subscription_to_cancel(payment, request)


def request_refund(*, payment: Transaction, request: RefundRequest, actor: User) -> OutboxRow:
    """Commit a refund to be made, with its line in the action log; the same request a second time changes nothing.

    Raises: NotRefundable (409), BeyondLimit (403), FieldError (422) for the amount, the access or the reason.
    """
    with transaction.atomic():
        # Held until the commit, so that two requests at once do not each see the whole amount.
        row = Transaction.objects.for_project(payment.project_id).select_for_update().get(pk=payment.pk)
        known = _requests_of(row).filter(effect_key=_effect_key(row, request)).first()
        if known is not None:
            return known
        amount = _checked_amount(row, request)
        _check_limit(row, amount, actor)
        payload = {
            "payment_id": str(row.pk),
            "payment_intent_id": row.payment_intent_id,
            "stripe_customer_id": row.stripe_customer_id,
            "amount_cents": amount,
            "currency": row.currency,
            "access": request.access,
            "cancel_subscription_id": _subscription_to_cancel(row, request),
            "idempotency_key": f"refund-{request.key}",
            "request": str(request.key),
        }
        record_effect(
            project_id=row.project_id,
            mode=row.mode,
            kind=STRIPE_REFUND,
            effect_key=_effect_key(row, request),
            payload=payload,
            end_user_id=row.end_user_id,
            cause=f"staff:{actor.pk}",
            lane=row.payment_intent_id,
        )
        log_action(
            action=REFUND,
            subject=row.payment_intent_id,
            actor=actor,
            reason=request.reason.strip(),
            project_id=row.project_id,
            mode=row.mode,
            details={name: payload[name] for name in ("amount_cents", "currency", "access", "cancel_subscription_id")},
        )
        return _requests_of(row).get(effect_key=_effect_key(row, request))


@background_calls()
def carry_out_refund(row: OutboxRow) -> Mapping[str, Any]:
    """Refund at Stripe what a request asks for, once however often this is tried, then read what became of the payment.

    Raises: EffectWaits without a key that works, StripeFailure.  Source: https://docs.stripe.com/api/refunds/create
    """
    asked = row.payload
    with waiting_for_keys(row):
        account = stripe_account(row.project_id, row.mode)
        refund = _find_refund(account, asked) or _create_refund(account, row)
        if asked.get("cancel_subscription_id"):
            _cancel(account, asked["cancel_subscription_id"])
    try:
        sync_object(
            project_id=row.project_id,
            mode=row.mode,
            collect=collect_payment_intent,
            object_id=asked["payment_intent_id"],
            root=asked["stripe_customer_id"],
            cause=Cause("staff"),
        )
    except ApiError as error:
        # The refund is made: its own events bring what this read could not.
        logger.warning("A refunded payment will be written by its webhook: %s", error)
    return {"refund_id": refund["id"], "status": refund.get("status")}


def _checked_amount(payment: Transaction, request: RefundRequest) -> int:
    """Return the amount to refund. Raises: NotRefundable (409), FieldError (422)."""
    if not request.reason.strip() or len(request.reason) > REASON_CHARS:
        raise FieldError("reason", msg=f"Say why, in at most {REASON_CHARS} characters: it is kept in the action log.")
    if request.access not in (KEEP, REVOKE):
        raise FieldError("access", msg=f"Choose {KEEP} or {REVOKE}.")
    if why_not := why_not_refundable(payment):
        raise NotRefundable(why_not)
    left = refundable_cents(payment)
    amount = left if request.amount_cents is None else request.amount_cents
    if not 0 < amount <= left:
        raise FieldError(
            "amount_cents", msg=f"Give an amount above zero and at most {money_text(left, payment.currency)}."
        )
    step = step_of(payment.currency)
    if amount != left and amount % step:
        raise FieldError("amount_cents", msg=f"Stripe takes multiples of {money_text(step, payment.currency)} only.")
    return amount


def _check_limit(payment: Transaction, amount_cents: int, actor: User) -> None:
    returned = payment.amount_cents - refundable_cents(payment)
    check_refund_limit(actor=actor, currency=payment.currency, amount_cents=amount_cents, returned_cents=returned)


def _subscription_to_cancel(payment: Transaction, request: RefundRequest) -> str:
    if not request.cancel_subscription:
        return ""
    if payment.subscription is None:
        raise FieldError("cancel_subscription", msg="This payment was not made for a subscription.")
    return payment.subscription.stripe_subscription_id


def _requests_of(payment: Transaction) -> Any:
    rows = OutboxRow.objects.for_project(payment.project_id)
    return rows.filter(mode=payment.mode, kind=STRIPE_REFUND, lane=payment.payment_intent_id)


def _effect_key(payment: Transaction, request: RefundRequest) -> str:
    return f"{STRIPE_REFUND}:{payment.payment_intent_id}:{request.key}"


def _find_refund(account: StripeAccount, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """Look for what an attempt before this one has made: Stripe may have forgotten its key, or keep a 500 under it.

    Source: https://docs.stripe.com/api/idempotent_requests
    """
    made = account.iterate(REFUNDS, {"payment_intent": asked["payment_intent_id"]})
    return next((one for one in made if (one.get("metadata") or {}).get(REQUEST_KEY) == asked["request"]), None)


def _create_refund(account: StripeAccount, row: OutboxRow) -> dict[str, Any]:
    asked = row.payload
    params = {
        "payment_intent": asked["payment_intent_id"],
        "amount": asked["amount_cents"],
        "reason": "requested_by_customer",
        "metadata": {ACCESS_KEY: asked["access"], REQUEST_KEY: asked["request"], "project_id": str(row.project_id)},
    }
    return account.create(REFUNDS, params, idempotency_key=asked["idempotency_key"])


def _cancel(account: StripeAccount, subscription_id: str) -> None:
    try:
        account.delete(SUBSCRIPTIONS, subscription_id)
    except StripeObjectMissing:
        # Ended already: Stripe answers a second one so.
        return
