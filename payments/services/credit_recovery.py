"""A paid checkout of credits whose row is gone: a backup that is older than the checkout was restored.

Invariant: metadata alone gives nothing. What it names must be a pack of this project, at the price that was really asked for in
this project's account, and a user of this project; anything else is put before staff.
"""

import hashlib
import logging
import uuid

from common.clock import from_unix
from entitlements.models import CreditPackPrice
from entitlements.services.packs import PackOrder
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from payments.models import CheckoutSession, CreditPurchase
from payments.models.purchases import CREDIT_PURCHASE
from payments.services.checkout_rows import note_purchase
from payments.services.ownership import Scope
from payments.services.snapshot import StripeObject, id_of
from projects.models import EndUser

logger = logging.getLogger(__name__)


def recover_purchase(scope: Scope, session: StripeObject) -> CreditPurchase | None:
    """Write the row of a paid session that says it sold this project's credits; None when it did not, or cannot be trusted.

    No statement for any other session.
    """
    metadata = session.get("metadata") or {}
    if metadata.get("type") != CREDIT_PURCHASE or metadata.get("project_id") != str(scope.project_id):
        return None
    buyer, order = _buyer(scope, metadata), _order(scope, session)
    row_id = _reference(session)
    rows = CheckoutSession.objects.for_project(scope.project_id)
    if buyer is None or order is None or row_id is None or rows.filter(pk=row_id).exists():
        logger.warning("credit_purchase_unknown project=%s session=%s", scope.project_id, session["id"])
        _put_before_staff(scope, session, buyer)
        return None
    return note_purchase(_write_session(scope, session, row_id, buyer), order)


def _write_session(scope: Scope, session: StripeObject, row_id: uuid.UUID, buyer: uuid.UUID) -> CheckoutSession:
    return CheckoutSession.objects.create(
        id=row_id,
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=buyer,
        purchase_key=hashlib.sha256(session["id"].encode()).hexdigest(),
        stripe_idempotency_key=f"checkout-{row_id}",
        request={"mode": session["mode"], "customer": id_of(session.get("customer"))},
        stripe_session_id=session["id"],
        status=session["status"],
        payment_status=session["payment_status"],
        payment_intent_id=id_of(session.get("payment_intent")),
        expires_at=from_unix(session.get("expires_at")),
    )


def _buyer(scope: Scope, metadata: StripeObject) -> uuid.UUID | None:
    """Return whom the session was opened for: the user's row may have been lost as well, and made anew since."""
    named = scope.named_user(metadata)
    external_id = str(metadata.get("external_user_id") or "")
    if named or not external_id:
        return named
    return EndUser.objects.by_external_id(scope.project_id, external_id).values_list("pk", flat=True).first()


def _order(scope: Scope, session: StripeObject) -> PackOrder | None:
    """Return what was sold, when the pack that is named gives as many credits for what was asked for."""
    metadata = session["metadata"]
    prices = CreditPackPrice.objects.for_project(scope.project_id).filter(mode=scope.mode)
    price = prices.filter(pack__code=metadata.get("credit_pack") or "").select_related("pack").first()
    given = str(metadata.get("credits") or "")
    if price is None or not (given.isascii() and given.isdigit()) or len(given) > 18:
        return None
    order = PackOrder(price.pack, price, quantity=int(given) // price.pack.credits)
    asked = (session.get("amount_subtotal"), session.get("currency"), int(given))
    return order if order.quantity and asked == (order.amount_cents, order.currency, order.credits) else None


def _reference(session: StripeObject) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(session.get("client_reference_id") or ""))
    except ValueError:
        return None


def _put_before_staff(scope: Scope, session: StripeObject, buyer: uuid.UUID | None) -> None:
    metadata = session["metadata"]
    open_review_item(
        project_id=scope.project_id,
        mode=scope.mode,
        kind=ReviewItem.Kind.DRIFT,
        cause_key=f"credit_purchase:{session['id']}",
        title="Credits were paid for that no checkout of this service is known for",
        subject=session["id"],
        end_user_id=buyer,
        details={
            "payment_intent_id": id_of(session.get("payment_intent")),
            "amount_cents": session.get("amount_total"),
            "currency": session.get("currency"),
            "credit_pack": str(metadata.get("credit_pack") or "")[:64],
            "credits": str(metadata.get("credits") or "")[:32],
        },
    )
