"""What a payment causes besides its row: a receipt and the app's events, each once by a key made of Stripe's ids."""

import uuid

from common.inserts import Rows, insert_together
from common.money import money_text
from notifications.models import OutboxRow
from payments.models import Refund, Transaction
from payments.services.effects import APP_EVENT, MAIL, effect_of
from payments.services.ownership import Cause, Scope
from payments.services.shapes import render_payment, utc_text
from payments.services.snapshot import StripeObject

# The money did arrive, whatever went back later.
COLLECTED_STATUSES = ("succeeded", "partially_refunded", "refunded")
Shape = dict[str, object]


def tell_collected(scope: Scope, payment: Transaction, invoice: StripeObject | None) -> None:
    """Record the receipt and the app's event of a payment that arrived, once per payment: one statement.

    Reads `end_user`: select it with the row.
    """
    cause = scope.cause_of(payment.payment_intent_id)
    receipt = effect_of(
        scope,
        cause,
        kind=MAIL,
        effect_key=f"mail:receipt:{payment.payment_intent_id}",
        payload=_mail(payment, "receipt", _receipt(payment, invoice)),
        end_user_id=payment.end_user_id,
    )
    insert_together(Rows([_app_event(scope, cause, payment, "payment.succeeded", payment.payment_intent_id), receipt]))


def tell_refunded(scope: Scope, payment: Transaction, refund: Refund) -> None:
    """Record the mail to the payer and the app's event of a refund that has succeeded, once per refund: one statement."""
    about: Shape = {
        "refund": {
            "refund_id": refund.stripe_refund_id,
            "status": refund.status,
            "amount_cents": refund.amount_cents,
            "currency": refund.currency,
            "reason": refund.reason or None,
            "revokes_access": refund.revokes_access,
            "created_at": utc_text(refund.created_at),
        }
    }
    cause = scope.cause_of(refund.stripe_refund_id)
    mail = effect_of(
        scope,
        cause,
        kind=MAIL,
        effect_key=f"mail:payment_refunded:{refund.stripe_refund_id}",
        payload=_mail(payment, "payment_refunded", _refund_facts(payment, refund)),
        end_user_id=payment.end_user_id,
    )
    told = _app_event(scope, cause, payment, "payment.refunded", refund.stripe_refund_id, about)
    insert_together(Rows([told, mail]))


def tell_app(
    scope: Scope, cause: Cause, payment: Transaction, event_type: str, key: str, about: Shape | None = None
) -> None:
    """Record an event about a payment for the app. Reads `end_user`: select it with the row."""
    insert_together(Rows([_app_event(scope, cause, payment, event_type, key, about)]))


def _app_event(
    scope: Scope, cause: Cause, payment: Transaction, event_type: str, key: str, about: Shape | None = None
) -> OutboxRow:
    return effect_of(
        scope,
        cause,
        kind=APP_EVENT,
        effect_key=f"app:{event_type}:{key}",
        payload={"type": event_type, "data": render_payment(payment) | (about or {})},
        end_user_id=payment.end_user_id,
    )


def payments_with_users(scope: Scope, payment_ids: list[uuid.UUID]) -> dict[uuid.UUID, Transaction]:
    """Read payments as their shape needs them, by id."""
    rows = Transaction.objects.for_project(scope.project_id).filter(pk__in=payment_ids).select_related("end_user")
    return {row.pk: row for row in rows}


def _mail(payment: Transaction, template: str, context: Shape) -> Shape:
    """Write a mail about a payment: it goes to whoever made it."""
    return {
        "template": template,
        "to": None,
        "payment_intent_id": payment.payment_intent_id,
        "context": context,
    }


def _refund_facts(payment: Transaction, refund: Refund) -> Shape:
    return {
        "amount": money_text(refund.amount_cents, refund.currency),
        "paid_amount": money_text(payment.amount_cents, payment.currency),
        "description": payment.description,
        "receipt_url": payment.receipt_url or None,
        "refunded_at": utc_text(refund.created_at),
    }


def _receipt(payment: Transaction, invoice: StripeObject | None) -> Shape:
    return {
        "payment_intent_id": payment.payment_intent_id,
        "amount": money_text(payment.amount_cents, payment.currency),
        "amount_cents": payment.amount_cents,
        "currency": payment.currency,
        "description": payment.description,
        "receipt_url": payment.receipt_url or None,
        "card_brand": payment.method_brand,
        "card_last4": payment.method_last4,
        "invoice_number": (invoice or {}).get("number"),
        "invoice_url": (invoice or {}).get("hosted_invoice_url"),
        "invoice_pdf": payment.invoice_pdf or None,
        "paid_at": utc_text(payment.created_at),
    }
