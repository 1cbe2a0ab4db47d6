"""What refunds and disputes take back of credits that were bought, in proportion to the money that went back.

Invariant: the answer follows from the rows of refunds and disputes and the project's policy. Each of them takes once, as long as it
holds; one that failed, or a dispute that was won, gives back what it took. No other payment touches credits that were bought.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from common import clock
from entitlements.models import Bucket
from entitlements.services import ledger
from payments.models import BillingPolicy, CreditClawback, CreditPurchase, Dispute, Refund, Transaction
from payments.services.effects import APP_EVENT, cause_effect
from payments.services.objects.payment import LIVE_REFUND_STATUSES
from payments.services.ownership import Scope

OPEN_DISPUTE_STATUSES = ("needs_response", "under_review")
TAKEN_EVENT, RESTORED_EVENT = "credits.clawed_back", "credits.restored"
KEEP, REVOKE = "keep", "revoke"


@dataclass(frozen=True)
class GoneBack:
    """Money of a purchase that went back. Units: minor units of the payment's currency."""

    cause: str
    amount_cents: int


def derive_clawbacks(scope: Scope, payment_intent_ids: Collection[str]) -> None:
    """Bring what was taken of the credits that these payments bought up to what went back: one statement when they bought none.

    Call after the rows of their refunds and disputes were written.
    """
    bought = sorted({one for one in payment_intent_ids if one})
    if not bought:
        return
    rows = CreditPurchase.objects.for_project(scope.project_id).in_mode(scope.mode)
    for purchase in rows.filter(payment_intent_id__in=bought, granted_at__isnull=False).select_related("end_user"):
        _derive(scope, purchase)


def source_of(purchase: CreditPurchase) -> str:
    """Name a purchase in the ledger, so that a refund takes from what it bought."""
    return f"purchase:{purchase.pk}"


def shape_of(purchase: CreditPurchase) -> dict[str, object]:
    """Write whose credits an event for the app is about."""
    return {
        "project_id": str(purchase.project_id),
        "user_id": str(purchase.end_user_id),
        "external_user_id": purchase.end_user.external_id,
        "is_test_mode": purchase.mode == "test",
    }


def _derive(scope: Scope, purchase: CreditPurchase) -> None:
    payments = Transaction.objects.for_project(scope.project_id).in_mode(scope.mode)
    payment = payments.filter(payment_intent_id=purchase.payment_intent_id).first()
    if payment is None:
        return
    gone = _gone_back(scope, payment)
    causes = {one.cause for one in gone}
    rows = CreditClawback.objects.for_project(scope.project_id).filter(purchase=purchase)
    in_force: dict[str, CreditClawback] = {}
    rounds: dict[str, int] = {}
    for row in rows.order_by("round"):
        rounds[row.cause] = row.round
        if row.restored_at is None and row.cause in causes:
            in_force[row.cause] = row
        elif row.restored_at is None:
            _restore(scope, purchase, row)
    taken = sum(row.credits for row in in_force.values())
    went = sum(one.amount_cents for one in gone if one.cause in in_force)
    for one in gone:
        if one.cause in in_force:
            continue
        went += one.amount_cents
        share = purchase.credits * min(went, payment.amount_cents) // payment.amount_cents - taken
        if share > 0:
            _take(scope, purchase, one.cause, rounds.get(one.cause, 0) + 1, share)
            taken += share


def _gone_back(scope: Scope, payment: Transaction) -> Sequence[GoneBack]:
    """List what went back of a payment and takes credits with it, in the order in which it was asked for."""
    found: list[tuple[dt.datetime, str, GoneBack]] = []
    refunds = Refund.objects.for_project(scope.project_id).filter(
        mode=scope.mode, payment_intent_id=payment.payment_intent_id, status__in=LIVE_REFUND_STATUSES
    )
    for refund in refunds.exclude(access_choice=KEEP):
        amount = payment.amount_cents if refund.access_choice == REVOKE else refund.amount_cents
        found.append((refund.created_at, refund.stripe_refund_id, GoneBack(refund.stripe_refund_id, amount)))
    disputes = Dispute.objects.for_project(scope.project_id).filter(
        mode=scope.mode, payment_intent_id=payment.payment_intent_id, status__in=taking_statuses(scope.project_id)
    )
    for dispute in disputes:
        # A dispute may be in the bank's currency: then its amount says nothing about ours.
        amount = dispute.amount_cents if dispute.currency == payment.currency else payment.amount_cents
        found.append((dispute.created_at, dispute.stripe_dispute_id, GoneBack(dispute.stripe_dispute_id, amount)))
    return [one for _, _, one in sorted(found, key=lambda entry: entry[:2])]


def taking_statuses(project_id: uuid.UUID) -> tuple[str, ...]:
    """Name the statuses in which a dispute takes credits, by the project's policy on access."""
    policy = BillingPolicy.objects.for_project(project_id).first() or BillingPolicy()
    if policy.dispute_revokes == BillingPolicy.DisputeAction.NEVER:
        return ()
    if policy.dispute_revokes == BillingPolicy.DisputeAction.OPENED:
        return ("lost", *OPEN_DISPUTE_STATUSES)
    return ("lost",)


def _take(scope: Scope, purchase: CreditPurchase, cause: str, round_number: int, credits: int) -> None:
    clawed = ledger.claw_back(
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=purchase.end_user_id,
        amount=credits,
        key=_key("clawback", cause, round_number),
        source=source_of(purchase),
    )
    CreditClawback.objects.create(
        project_id=scope.project_id,
        mode=scope.mode,
        purchase=purchase,
        cause=cause,
        round=round_number,
        credits=credits,
        taken=clawed.taken,
        debt=clawed.debt,
    )
    _tell(scope, purchase, TAKEN_EVENT, cause, round_number, {"credits": clawed.taken, "debt": clawed.debt})


def _restore(scope: Scope, purchase: CreditPurchase, row: CreditClawback) -> None:
    """Give back what was taken, and what was owed since: a debt that is still open is settled by it first."""
    back = row.taken + row.debt
    if back:
        ledger.grant_credits(
            project_id=scope.project_id,
            mode=scope.mode,
            end_user_id=purchase.end_user_id,
            bucket=Bucket.PURCHASED,
            amount=back,
            key=_key("clawback-undone", row.cause, row.round),
            reason=f"{row.cause} no longer holds",
            source=source_of(purchase),
        )
    row.restored_at = clock.now()
    row.save(update_fields=["restored_at"])
    _tell(scope, purchase, RESTORED_EVENT, row.cause, row.round, {"credits": back})


def _key(what: str, cause: str, round_number: int) -> str:
    """Name a movement in the ledger: the cause's id, and its round only from the second on."""
    return f"{what}:{cause}" if round_number == 1 else f"{what}:{cause}:{round_number}"


def _tell(
    scope: Scope, purchase: CreditPurchase, event_type: str, cause: str, round_number: int, about: dict[str, int]
) -> None:
    cause_effect(
        scope,
        scope.cause_of(cause),
        kind=APP_EVENT,
        effect_key=_key(f"app:{event_type}", cause, round_number),
        payload={
            "type": event_type,
            "data": shape_of(purchase) | {"pack": purchase.pack_code, "cause": cause} | about,
        },
        end_user_id=purchase.end_user_id,
    )
