"""What a paid checkout of a licence gives, and what refunds and disputes take of it, whatever brings the news.

Invariant: a licence is made in the transaction that writes the session, only when nothing is owed for it any more, as our own row
of the purchase says; metadata routes and decides nothing. Whether it was taken back follows from the rows of refunds and disputes
and the project's policy alone.
"""

import uuid
from collections.abc import Collection
from typing import Any

from common import clock
from common.clock import from_unix
from licenses.models import License, LicenseProduct
from licenses.services.issuing import PaidPurchase, issue_license
from licenses.services.revoking import follow_money
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from payments.models import LIFETIME_LICENSE, Dispute, LicensePurchase, Refund
from payments.services.credit_clawback import taking_statuses
from payments.services.effects import NO_EFFECTS
from payments.services.objects.payment import LIVE_REFUND_STATUSES
from payments.services.ownership import Scope
from payments.services.snapshot import StripeObject, id_of

FULFILLED_STATUSES = ("paid", "no_payment_required")
COMPLETE, EXPIRED = "complete", "expired"
Status = LicensePurchase.Status


def is_license_session(session: StripeObject) -> bool:
    """Say whether a session says that it sells a licence. Its row decides whether it did."""
    return (session.get("metadata") or {}).get("type") == LIFETIME_LICENSE


def follow_license_session(scope: Scope, session: StripeObject, status: str) -> None:
    """Follow a session that sells a licence, and make the licence once it is paid. No statement for any other session.

    `status` is Stripe's, or `failed` when a delayed payment came to nothing. Call after the rows of its payment were written.
    """
    if not is_license_session(session):
        return
    purchase = _purchase_of(scope, session) or _recover(scope, session)
    if purchase is None:
        return
    purchase.stripe_session_id = session["id"]
    purchase.status = status if status in Status.values else Status.OPEN
    purchase.payment_status = session.get("payment_status") or ""
    purchase.payment_intent_id = id_of(session.get("payment_intent"))
    purchase.expires_at = from_unix(session.get("expires_at"))
    is_paid = session.get("payment_status") in FULFILLED_STATUSES and session.get("status") == COMPLETE
    issued = None
    if is_paid and purchase.issued_at is None:
        issued = _issue(scope, purchase, session)
        purchase.issued_at = clock.now()
    purchase.save()
    if issued is not None:
        # What went back already, when news of the refund came first.
        derive_license_revocations(scope, [purchase.payment_intent_id])


def derive_license_revocations(scope: Scope, payment_intent_ids: Collection[str]) -> None:
    """Take back, or give back, the licences that these payments bought: one statement when they bought none.

    Call after the rows of their refunds and disputes were written.
    """
    bought = sorted({one for one in payment_intent_ids if one})
    if not bought:
        return
    rows = License.objects.for_project(scope.project_id).in_mode(scope.mode).filter(payment_intent_id__in=bought)
    for license_id, payment_intent_id in rows.values_list("pk", "payment_intent_id"):
        causes = _taken_by(scope, payment_intent_id)
        # After a restore or an import the app was told long ago.
        told = not all(scope.cause_of(one).without_effects for one in causes or [payment_intent_id])
        follow_money(project_id=scope.project_id, license_id=license_id, causes=causes, told=told)


def _taken_by(scope: Scope, payment_intent_id: str) -> list[str]:
    """Name the refunds and disputes that take away what a payment bought, oldest first."""
    refunds = Refund.objects.for_project(scope.project_id).filter(
        mode=scope.mode, payment_intent_id=payment_intent_id, revokes_access=True, status__in=LIVE_REFUND_STATUSES
    )
    disputes = Dispute.objects.for_project(scope.project_id).filter(
        mode=scope.mode, payment_intent_id=payment_intent_id, status__in=taking_statuses(scope.project_id)
    )
    found = [*refunds.values_list("created_at", "stripe_refund_id")]
    found += disputes.values_list("created_at", "stripe_dispute_id")
    return [stripe_id for _, stripe_id in sorted(found)]


def _purchase_of(scope: Scope, session: StripeObject) -> LicensePurchase | None:
    """Find our row of a session: by the reference that it carries, which is there from the first moment on."""
    reference = _reference(session)
    rows = LicensePurchase.objects.for_project(scope.project_id).in_mode(scope.mode).select_for_update(of=("self",))
    found = rows.select_related("product").filter(pk=reference).first() if reference else None
    return found if found is not None and found.stripe_session_id in ("", session["id"]) else None


def _reference(session: StripeObject) -> uuid.UUID | None:
    try:
        return uuid.UUID(str(session.get("client_reference_id") or ""))
    except ValueError:
        return None


def _issue(scope: Scope, purchase: LicensePurchase, session: StripeObject) -> License | None:
    cause = scope.cause_of(session["id"])
    total = session.get("amount_total")
    details = session.get("customer_details") or {}
    return issue_license(
        paid=PaidPurchase(
            purchase_id=purchase.pk,
            project_id=purchase.project_id,
            mode=purchase.mode,
            product=purchase.product,
            email=str(details.get("email") or session.get("customer_email") or ""),
            end_user_id=purchase.end_user_id,
            stripe_session_id=session["id"],
            payment_intent_id=id_of(session.get("payment_intent")),
            amount_cents=total if isinstance(total, int) else purchase.amount_cents,
            currency=str(session.get("currency") or purchase.currency),
        ),
        cause=f"stripe:{cause.event_id or cause.source}",
        without_effects=NO_EFFECTS if cause.without_effects else "",
    )


def _recover(scope: Scope, session: StripeObject) -> LicensePurchase | None:
    """Write the row of a paid session again that a restored backup does not know; what cannot be trusted is put before staff.

    Trusted is what names a product of this project at the price that was really asked for in this project's account.
    """
    metadata: dict[str, Any] = session.get("metadata") or {}
    if metadata.get("project_id") != str(scope.project_id) or session.get("status") != COMPLETE:
        return None
    row_id = _reference(session)
    products = LicenseProduct.objects.for_project(scope.project_id).filter(code=metadata.get("license_product") or "")
    product = products.first()
    price = product.prices.filter(mode=scope.mode).first() if product else None
    asked = (session.get("amount_subtotal"), session.get("currency"))
    rows = LicensePurchase.objects.for_project(scope.project_id)
    if (
        price is None
        or row_id is None
        or asked != (price.amount_cents, price.currency)
        or rows.filter(pk=row_id).exists()
    ):
        _put_before_staff(scope, session)
        return None
    return LicensePurchase.objects.create(
        id=row_id,
        project_id=scope.project_id,
        mode=scope.mode,
        product=price.product,
        end_user_id=scope.named_user(metadata),
        amount_cents=price.amount_cents,
        currency=price.currency,
    )


def _put_before_staff(scope: Scope, session: StripeObject) -> None:
    open_review_item(
        project_id=scope.project_id,
        mode=scope.mode,
        kind=ReviewItem.Kind.DRIFT,
        cause_key=f"license_purchase:{session['id']}",
        title="A licence was paid for that no checkout of this service is known for",
        subject=session["id"],
        details={
            "payment_intent_id": id_of(session.get("payment_intent")),
            "amount_cents": session.get("amount_total"),
            "currency": session.get("currency"),
            "license_product": str((session.get("metadata") or {}).get("license_product") or "")[:64],
        },
    )
