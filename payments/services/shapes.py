"""The contract's shapes of what is bought, as plain functions: fast, and without a query per row.

The API answers with them and outbound webhooks carry them, so that an app reads one shape wherever it meets it.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from common import clock
from payments.models import BillingPolicy, Subscription, SubscriptionChange, Transaction
from payments.services.access import access_of
from payments.services.billing_policy import values_of


def utc_text(at: dt.datetime | None) -> str | None:
    """Write a time as the contract does: ISO-8601 in UTC, ending in Z."""
    return None if at is None else at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def render_subscription(subscription: Subscription, *, at: dt.datetime | None = None) -> dict[str, Any]:
    """Return the shape Subscription. Reads `plan` and `end_user`: select them with the row."""
    access = access_of(subscription, at or clock.now())
    end_user = subscription.end_user
    return {
        "id": str(subscription.id),
        "project_id": str(subscription.project_id),
        "user_id": str(subscription.end_user_id) if subscription.end_user_id else None,
        "external_user_id": end_user.external_id if end_user else None,
        "is_test_mode": subscription.is_test_mode,
        "subscription_id": subscription.stripe_subscription_id,
        "customer_id": subscription.stripe_customer_id or None,
        "price_id": subscription.stripe_price_id or None,
        "status": subscription.status,
        "plan_name": access.plan_name,
        "plan_code": access.plan_code,
        "plan_active": access.plan_active,
        "plan_expires": utc_text(access.plan_expires),
        "quantity": subscription.quantity,
        "current_period_start": utc_text(subscription.current_period_start),
        "current_period_end": utc_text(subscription.current_period_end),
        "trial_end": utc_text(subscription.trial_end),
        "cancel_at_period_end": subscription.cancel_at_period_end,
        "cancel_at": utc_text(subscription.cancel_at),
        "cancelled_at": utc_text(subscription.canceled_at),
        "created_at": utc_text(subscription.created_at),
    }


def render_payment(payment: Transaction) -> dict[str, Any]:
    """Return the shape Payment. Reads `end_user`: select it with the row. Units: minor units of `currency`."""
    end_user = payment.end_user
    return {
        "id": str(payment.id),
        "project_id": str(payment.project_id),
        "subscription_id": str(payment.subscription_id) if payment.subscription_id else None,
        "user_id": str(payment.end_user_id) if payment.end_user_id else None,
        "external_user_id": end_user.external_id if end_user else None,
        "is_test_mode": payment.is_test_mode,
        "payment_intent_id": payment.payment_intent_id,
        "invoice_id": payment.stripe_invoice_id or None,
        "status": payment.status,
        "amount_cents": payment.amount_cents,
        "currency": payment.currency,
        "refunded_amount_cents": payment.refunded_amount_cents,
        "description": payment.description or None,
        "receipt_url": payment.receipt_url or None,
        "invoice_pdf": payment.invoice_pdf or None,
        "failure_code": payment.failure_code or None,
        "disputed": payment.disputed,
        "created_at": utc_text(payment.created_at),
    }


def render_billing_policy(policy: BillingPolicy) -> dict[str, Any]:
    """Return a project's policy; one that was never saved has no time."""
    return {
        "project_id": str(policy.project_id),
        **values_of(policy),
        "updated_at": utc_text(policy.updated_at),
    }


def render_changes(rows: Iterable[SubscriptionChange]) -> list[dict[str, Any]]:
    """Return changes of a subscription."""
    return [
        {
            "id": str(row.id),
            "kind": row.kind,
            "before": row.before,
            "after": row.after,
            "source": row.source,
            "event_id": row.event_id or None,
            "event_type": row.event_type or None,
            "happened_at": utc_text(row.happened_at),
            "recorded_at": utc_text(row.recorded_at),
        }
        for row in rows
    ]
