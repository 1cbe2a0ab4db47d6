"""Rows as a sync would have written them, for tests of what is read."""

import datetime as dt
import itertools
import uuid
from typing import Any

from django.db import transaction

from common import clock
from common.ids import stripe_row_id
from entitlements.models import Plan
from payments.models import (
    CheckoutSession,
    CreditClawback,
    CreditPurchase,
    Dispute,
    Invoice,
    Refund,
    Subscription,
    Transaction,
)
from payments.services.standing import write_standings
from projects.models import EndUser, Project

_numbers = itertools.count(1)


def stripe_id(prefix: str) -> str:
    """Make an id of Stripe's kind that no other test has."""
    return f"{prefix}_{uuid.uuid4().hex[:20]}"


def create_end_user(project: Project, **fields: Any) -> EndUser:
    """Make an end user of a project."""
    return EndUser.objects.create(project=project, **{"external_id": f"user-{uuid.uuid4().hex[:12]}"} | fields)


def create_plan(project: Project, **fields: Any) -> Plan:
    """Make a plan of a project."""
    return Plan.objects.create(project=project, **{"code": f"plan-{next(_numbers)}", "name": "Maker"} | fields)


def create_subscription(project: Project, **fields: Any) -> Subscription:
    """Make an active test-mode subscription."""
    now = clock.now()
    values: dict[str, Any] = {
        "mode": "test",
        "stripe_subscription_id": stripe_id("sub"),
        "stripe_customer_id": stripe_id("cus"),
        "status": "active",
        "current_period_start": now - dt.timedelta(days=10),
        "current_period_end": now + dt.timedelta(days=20),
        "created_at": now,
    } | fields
    row_id = stripe_row_id(project.pk, values["mode"], values["stripe_subscription_id"])
    row = Subscription.objects.create(id=row_id, project=project, **values)
    follow_subscription(row)
    return row


def follow_subscription(row: Subscription) -> None:
    """Let its user hold what a subscription gives, as whoever writes one does in the same transaction."""
    if row.end_user_id is not None:
        with transaction.atomic():
            write_standings(
                project_id=row.project_id, mode=row.mode, end_user_ids=[row.end_user_id], cause="a test's row"
            )


def create_credit_purchase(session: CheckoutSession, **fields: Any) -> CreditPurchase:
    """Make a purchase of 100 credits for 5.00 dollars by a checkout, as if it was paid."""
    values: dict[str, Any] = {
        "pack_code": "small", "pack_name": "100 credits", "quantity": 1, "credits": 100, "amount_cents": 500, "currency": "usd",
        "payment_intent_id": stripe_id("pi"), "granted_at": clock.now(),
    } | fields  # fmt: skip
    whose = {"project": session.project, "mode": session.mode, "end_user": session.end_user}
    bought = CreditPurchase.objects.create(checkout_session=session, **whose, **values)
    CreditClawback.objects.create(
        project=session.project,
        mode=session.mode,
        purchase=bought,
        cause=stripe_id("re"),
        credits=40,
        taken=30,
        debt=10,
    )
    return bought


def create_payment(project: Project, **fields: Any) -> Transaction:
    """Make a succeeded test-mode payment of 10.00 dollars."""
    values: dict[str, Any] = {
        "mode": "test",
        "payment_intent_id": stripe_id("pi"),
        "status": "succeeded",
        "amount_cents": 1000,
        "currency": "usd",
        "created_at": clock.now(),
    } | fields
    row_id = stripe_row_id(project.pk, values["mode"], values["payment_intent_id"])
    payment = Transaction.objects.create(id=row_id, project=project, **values)
    if payment.refunded_amount_cents:
        create_refund(payment, amount_cents=payment.refunded_amount_cents)
    return payment


def create_refund(payment: Transaction, **fields: Any) -> Refund:
    """Make a refund that has succeeded, of the whole payment unless an amount is given."""
    values: dict[str, Any] = {
        "mode": payment.mode,
        "stripe_refund_id": stripe_id("re"),
        "payment_intent_id": payment.payment_intent_id,
        "status": "succeeded",
        "amount_cents": payment.amount_cents,
        "currency": payment.currency,
        "created_at": clock.now(),
    } | fields
    row_id = stripe_row_id(payment.project_id, payment.mode, values["stripe_refund_id"])
    return Refund.objects.create(id=row_id, project_id=payment.project_id, transaction=payment, **values)


def create_dispute(payment: Transaction, **fields: Any) -> Dispute:
    """Make a dispute of the whole payment that waits for an answer."""
    values: dict[str, Any] = {
        "mode": payment.mode,
        "stripe_dispute_id": stripe_id("du"),
        "payment_intent_id": payment.payment_intent_id,
        "status": "needs_response",
        "reason": "fraudulent",
        "amount_cents": payment.amount_cents,
        "currency": payment.currency,
        "created_at": clock.now(),
    } | fields
    row_id = stripe_row_id(payment.project_id, payment.mode, values["stripe_dispute_id"])
    return Dispute.objects.create(id=row_id, project_id=payment.project_id, transaction=payment, **values)


def create_invoice(project: Project, **fields: Any) -> Invoice:
    """Make a paid test-mode invoice of 10.00 dollars."""
    values: dict[str, Any] = {
        "mode": "test",
        "stripe_invoice_id": stripe_id("in"),
        "status": "paid",
        "currency": "usd",
        "amount_due_cents": 1000,
        "amount_paid_cents": 1000,
        "created_at": clock.now(),
    } | fields
    row_id = stripe_row_id(project.pk, values["mode"], values["stripe_invoice_id"])
    return Invoice.objects.create(id=row_id, project=project, **values)


def create_money_around(payment: Transaction, **fields: Any) -> list[Any]:
    """Make what may happen around a payment: an invoice, a refund and a dispute."""
    return [create_invoice(payment.project), create_refund(payment, **fields), create_dispute(payment, **fields)]
