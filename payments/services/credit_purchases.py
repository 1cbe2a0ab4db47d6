"""What a paid checkout of a credit pack gives: the credits that our own row of it says, once, whatever brings the news.

Invariant: credits are given in the transaction that writes the session, only when nothing is owed for it any more, to the user and
in the amount that were noted when the checkout was opened. Metadata decides nothing (but see credit_recovery.py).
"""

from common import clock
from common.inserts import Rows, insert_together
from common.money import money_text
from entitlements.models import Bucket
from entitlements.services import ledger
from payments.models import CreditPurchase
from payments.services.credit_clawback import derive_clawbacks, shape_of, source_of
from payments.services.credit_recovery import recover_purchase
from payments.services.effects import APP_EVENT, MAIL, effect_of
from payments.services.ownership import Scope
from payments.services.snapshot import StripeObject, id_of

FULFILLED_STATUSES = ("paid", "no_payment_required")
PURCHASED_EVENT = "credits.purchased"
PURCHASED_MAIL = "credits_purchased"
PAYMENT_MODE, COMPLETE = "payment", "complete"


def fulfil_purchase(scope: Scope, session: StripeObject) -> None:
    """Give the credits of a session that is paid. No statement for a subscription's, one for any other.

    Call after the session's own row and the rows of its payment were written.
    """
    if session.get("mode") != PAYMENT_MODE or session.get("payment_status") not in FULFILLED_STATUSES:
        return
    if session.get("status") != COMPLETE:
        # A page on which nothing has to be paid may say so before anybody has accepted it.
        return
    rows = CreditPurchase.objects.for_project(scope.project_id).in_mode(scope.mode).select_related("end_user")
    purchase = rows.filter(checkout_session__stripe_session_id=session["id"]).first()
    purchase = purchase or recover_purchase(scope, session)
    if purchase is None or purchase.granted_at is not None:
        return
    ledger.grant_credits(
        project_id=scope.project_id,
        mode=scope.mode,
        end_user_id=purchase.end_user_id,
        bucket=Bucket.PURCHASED,
        amount=purchase.credits,
        key=f"purchase:{session['id']}",
        reason=f"{purchase.pack_name} bought",
        source=source_of(purchase),
    )
    purchase.payment_intent_id = id_of(session.get("payment_intent"))
    purchase.granted_at = clock.now()
    purchase.save(update_fields=["payment_intent_id", "granted_at"])
    _tell(scope, purchase, session)
    # What went back already, when news of the refund came first.
    derive_clawbacks(scope, [purchase.payment_intent_id])


def _tell(scope: Scope, purchase: CreditPurchase, session: StripeObject) -> None:
    """Record the mail to the buyer and the app's event, each once per session: one statement."""
    cause = scope.cause_of(session["id"])
    total = session.get("amount_total")
    paid = total if isinstance(total, int) else purchase.amount_cents
    currency = str(session.get("currency") or purchase.currency)
    shape = {
        "session_id": session["id"],
        "pack": purchase.pack_code,
        "quantity": purchase.quantity,
        "credits": purchase.credits,
        "amount_cents": paid,
        "currency": currency,
    }
    told = effect_of(
        scope,
        cause,
        kind=APP_EVENT,
        effect_key=f"app:{PURCHASED_EVENT}:{session['id']}",
        payload={"type": PURCHASED_EVENT, "data": shape_of(purchase) | shape},
        end_user_id=purchase.end_user_id,
    )
    amount = money_text(paid, currency)
    mail = effect_of(
        scope,
        cause,
        kind=MAIL,
        effect_key=f"mail:{PURCHASED_MAIL}:{session['id']}",
        payload={
            "template": PURCHASED_MAIL,
            "to": None,
            "context": {"credits": purchase.credits, "pack_name": purchase.pack_name, "amount": amount},
        },
        end_user_id=purchase.end_user_id,
    )
    insert_together(Rows([told, mail]))
