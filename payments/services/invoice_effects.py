"""What an event about an invoice or an attempt to pay causes by itself: mails to the payer, trouble put before the staff.

Invariant: each attempt, notice and failure is told once, by a key made of Stripe's ids. From a payload only what tells one event
from another is taken; what is told comes from the objects as they were retrieved. Whatever is settled by then is told to nobody.
"""

import uuid
from typing import Any

from common import clock
from common.money import money_text
from entitlements.services.usage import expected_overage
from moderation.models import ReviewItem
from payments.models import Subscription, WebhookEvent
from payments.services.access import access_of
from payments.services.effects import MAIL, cause_effect
from payments.services.objects.invoice import CLOSED_AT, payment_intents_of
from payments.services.objects.payment import INVOICES, PAYMENT_INTENTS, payer_of, subscription_id_of
from payments.services.objects.subscription import SUBSCRIPTIONS, cancel_time, period_edge
from payments.services.ownership import Scope
from payments.services.payment_effects import payments_with_users, tell_app
from payments.services.processing import cause_of_event
from payments.services.shapes import utc_text
from payments.services.snapshot import Snapshot, StripeObject, id_of
from payments.services.trouble import put_before_staff

SETTLED = "The invoice was settled in the meantime."
BANK_ASKS = "The cardholder's bank asks for a confirmation; the mail about that says so."
NOT_RENEWED = "The subscription does not renew any more."
RENEWED_ALREADY = "The renewal that it announces has happened."


def locate_upcoming(event: WebhookEvent) -> str:
    """Name the subscription whose next invoice is announced: that invoice does not exist yet, and has no id to read it by.

    Source: https://docs.stripe.com/api/events/types#event_types-invoice.upcoming
    """
    return subscription_id_of(_told_by(event))


def tell_failed_invoice(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Mail the payer that an attempt failed, with the page to pay on: once per attempt."""
    invoice = snapshot.of_kind(INVOICES).get(event.object_id)
    if invoice is None:
        return
    intents = [snapshot.of_kind(PAYMENT_INTENTS).get(one) or {} for one in payment_intents_of(invoice)]
    asks = any(intent.get("status") == "requires_action" for intent in intents)
    failures = [intent.get("last_payment_error") or {} for intent in intents]
    about = {
        "failure_message": next((one["message"] for one in failures if one.get("message")), None),
        "next_attempt_at": invoice.get("next_payment_attempt"),
        "grace_until": _grace_of(scope, invoice),
    }
    skip = SETTLED if invoice.get("status") in CLOSED_AT else BANK_ASKS if asks else ""
    _mail_payer(scope, event, invoice, "payment_failed", about, skipped_because=skip)


def tell_action_required(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Mail the payer that the bank asks for a confirmation, with the page to give it on: once per attempt."""
    invoice = snapshot.of_kind(INVOICES).get(event.object_id)
    if invoice is not None:
        skip = SETTLED if invoice.get("status") in CLOSED_AT else ""
        _mail_payer(scope, event, invoice, "action_required", {}, skipped_because=skip)


def tell_upcoming(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Mail the payer that a subscription renews soon: once per period."""
    subscription_id = locate_upcoming(event)
    found = snapshot.of_kind(SUBSCRIPTIONS).get(subscription_id)
    if found is None:
        return
    renews_at = period_edge(found, "current_period_end")
    announced = _told_by(event).get("period_end") or renews_at
    row = _subscription_row(scope, subscription_id)
    upcoming = snapshot.upcoming.get(subscription_id)
    skip = NOT_RENEWED if cancel_time(found) or found["status"] not in ("active", "trialing") else ""
    if not skip and announced != renews_at:
        skip = RENEWED_ALREADY
    context: dict[str, Any] = {"renews_at": renews_at, "plan_name": row.plan.name if row and row.plan else None}
    if upcoming is not None:
        context |= _amount_of(upcoming)
    if row and row.end_user_id and not skip:
        context |= _usage_so_far(scope, row.end_user_id)
    cause_effect(
        scope,
        cause_of_event(event),
        kind=MAIL,
        effect_key=f"mail:renewal_notice:{subscription_id}:{announced}",
        payload={"template": "renewal_notice", "to": None, "context": context},
        end_user_id=row.end_user_id if row else None,
        skipped_because=skip,
    )


def tell_finalization_failed(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Put an invoice that could not be finalized before the staff: nothing is collected until somebody mends it."""
    invoice = snapshot.of_kind(INVOICES).get(event.object_id)
    if invoice is not None:
        trouble = (invoice.get("last_finalization_error") or {}).get("message")
        _put_invoice(scope, event, invoice, "could not be finalized", "finalization", {"error": trouble})


def tell_uncollectible(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Put an invoice that was given up before the staff."""
    invoice = snapshot.of_kind(INVOICES).get(event.object_id)
    if invoice is not None:
        _put_invoice(scope, event, invoice, "was given up as uncollectible", "uncollectible", {})


def tell_failed_payment(scope: Scope, event: WebhookEvent, snapshot: Snapshot) -> None:
    """Tell the app of an attempt to pay that failed: once per attempt, which is one charge."""
    payment_id = scope.row_id(event.object_id)
    payment = payments_with_users(scope, [payment_id]).get(payment_id)
    if payment is None:
        return
    told = _told_by(event)
    charge_id = id_of(told.get("latest_charge")) or id_of((told.get("last_payment_error") or {}).get("charge"))
    key = f"{event.object_id}:{charge_id or event.event_id}"
    tell_app(scope, cause_of_event(event), payment, "payment.failed", key)


def _mail_payer(
    scope: Scope,
    event: WebhookEvent,
    invoice: StripeObject,
    template: str,
    about: dict[str, Any],
    *,
    skipped_because: str,
) -> None:
    attempt = _told_by(event).get("attempt_count", invoice.get("attempt_count") or 0)
    row = _subscription_row(scope, subscription_id_of(invoice))
    context = {
        "plan_name": row.plan.name if row and row.plan else None,
        "invoice_id": invoice["id"],
        "invoice_number": invoice.get("number"),
        "invoice_url": invoice.get("hosted_invoice_url"),
        "attempt": attempt,
    }
    cause_effect(
        scope,
        cause_of_event(event),
        kind=MAIL,
        effect_key=f"mail:{template}:{invoice['id']}:{attempt}",
        payload={"template": template, "to": None, "context": context | _amount_of(invoice) | about},
        end_user_id=payer_of(scope, invoice, invoice),
        skipped_because=skipped_because,
    )


def _put_invoice(
    scope: Scope, event: WebhookEvent, invoice: StripeObject, what: str, discriminator: str, about: dict[str, Any]
) -> None:
    amount = _amount_of(invoice)
    put_before_staff(
        scope,
        cause_of_event(event),
        kind=ReviewItem.Kind.INVOICE_TROUBLE,
        subject=invoice["id"],
        discriminator=f":{discriminator}",
        title=f"An invoice over {amount['amount']} {what}",
        end_user_id=payer_of(scope, invoice, invoice),
        details=amount | about | {"invoice_id": invoice["id"], "status": invoice.get("status")},
    )


def _usage_so_far(scope: Scope, end_user_id: uuid.UUID) -> dict[str, Any]:
    """Tell what was used beyond the plan so far, which the invoice of the renewal is going to bill besides."""
    found = expected_overage(project_id=scope.project_id, mode=scope.mode, end_user_id=end_user_id, moment=clock.now())
    if not found:
        return {}
    amounts = [{"name": one.meter.name, "amount": money_text(one.amount_cents, one.meter.currency)} for one in found]
    return {"overage": amounts}


def _told_by(event: WebhookEvent) -> StripeObject:
    """Return the object as the event has it; nothing when the body names it only or was emptied."""
    data = (event.payload or {}).get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _amount_of(invoice: StripeObject) -> dict[str, Any]:
    amount, currency = int(invoice.get("amount_due") or 0), str(invoice["currency"])
    return {"amount": money_text(amount, currency), "amount_cents": amount, "currency": currency}


def _subscription_row(scope: Scope, subscription_id: str) -> Subscription | None:
    if not subscription_id:
        return None
    rows = Subscription.objects.for_project(scope.project_id).filter(pk=scope.row_id(subscription_id))
    return rows.select_related("plan", "project__billing_policy").first()


def _grace_of(scope: Scope, invoice: StripeObject) -> str | None:
    """Say until when a plan goes on although it is not paid."""
    row = _subscription_row(scope, subscription_id_of(invoice))
    if row is None or row.status != "past_due" or row.past_due_since is None:
        return None
    access = access_of(row, row.past_due_since)
    return utc_text(access.plan_expires) if access.plan_active else None
