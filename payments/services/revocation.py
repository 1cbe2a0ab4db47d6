"""Whether what was paid for was taken away again: a refund or a dispute of the latest paid invoice's payment.

A refund of an older payment takes nothing away, unless whoever refunded chose so and nothing newer was paid since.

Invariant: the answer follows from the rows of invoices, payments, refunds and disputes and the project's policy alone, so that
no order of events and no rebuild changes it. It holds until something newer is paid.
"""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from django.db.models import F, Q

from notifications.models import OutboxRow
from payments.models import BillingPolicy, CreditPurchase, Dispute, Invoice, LicensePurchase, Subscription, Transaction
from payments.services.credit_clawback import REVOKE, derive_clawbacks
from payments.services.history import state_of, write_changed
from payments.services.leases import end_lease, take_lease, writing_under
from payments.services.license_purchases import derive_license_revocations
from payments.services.objects.payment import LIVE_REFUND_STATUSES
from payments.services.ownership import Cause, Scope
from payments.services.standing import follow_standings

REVOCATION_FIELDS = ("access_revoked_at", "access_revoked_by")
# A dispute in one of these holds the money. An inquiry (`warning_…`) holds nothing yet.
OPEN_DISPUTE_STATUSES = ("needs_response", "under_review")
# An invoice of nothing, such as that of a downgrade, does not make good for money that went back; a new period does.
CYCLE = "subscription_cycle"
LEASE_WAITS_SECONDS = 5.0

_DERIVE = """
    WITH latest AS (
        SELECT DISTINCT ON (subscription_id) subscription_id, stripe_invoice_id, paid_at
        FROM payments_invoice
        WHERE project_id = %(project_id)s AND mode = %(mode)s AND subscription_id = ANY(%(ids)s) AND status = 'paid'
            AND (amount_paid_cents > 0 OR billing_reason = %(cycle)s)
        ORDER BY subscription_id, paid_at DESC NULLS LAST, created_at DESC, period_end DESC NULLS LAST, id DESC
    ), paid AS (
        SELECT latest.subscription_id, payment.id FROM latest JOIN payments_transaction payment
            ON payment.project_id = %(project_id)s AND payment.mode = %(mode)s
            AND payment.stripe_invoice_id = latest.stripe_invoice_id
    ), causes AS (
        SELECT paid.subscription_id, refund.created_at AS at, refund.stripe_refund_id AS cause
        FROM paid JOIN payments_refund refund ON refund.transaction_id = paid.id
        WHERE refund.revokes_access AND refund.status = ANY(%(live)s)
        UNION ALL
        SELECT latest.subscription_id, refund.created_at, refund.stripe_refund_id
        FROM latest JOIN payments_transaction payment
            ON payment.subscription_id = latest.subscription_id AND payment.refunded_amount_cents > 0
        JOIN payments_refund refund ON refund.transaction_id = payment.id
        WHERE refund.access_choice = %(chosen)s AND refund.status = ANY(%(live)s) AND refund.created_at >= latest.paid_at
        UNION ALL
        SELECT paid.subscription_id, dispute.created_at, dispute.stripe_dispute_id
        FROM paid JOIN payments_dispute dispute ON dispute.transaction_id = paid.id
        LEFT JOIN payments_billingpolicy policy ON policy.project_id = %(project_id)s
        WHERE (dispute.status = 'lost' AND coalesce(policy.dispute_revokes, %(lost)s) <> %(never)s)
            OR (dispute.status = ANY(%(open)s) AND policy.dispute_revokes = %(opened)s)
    ), first AS (
        SELECT DISTINCT ON (subscription_id) subscription_id, at, cause FROM causes ORDER BY subscription_id, at, cause
    )
    SELECT subscription.id, first.at, coalesce(first.cause, '')
    FROM payments_subscription subscription LEFT JOIN first ON first.subscription_id = subscription.id
    WHERE subscription.id = ANY(%(ids)s) AND subscription.project_id = %(project_id)s
        AND (subscription.access_revoked_at, subscription.access_revoked_by)
            IS DISTINCT FROM (first.at, coalesce(first.cause, ''))
"""


def is_of_older_invoice(payment: Transaction) -> bool:
    """Say whether something newer was paid for a payment's subscription, so that only a choice takes anything away with it."""
    if payment.subscription_id is None:
        return False
    paid = Invoice.objects.for_project(payment.project_id).filter(subscription=payment.subscription_id, status="paid")
    counted = paid.filter(Q(amount_paid_cents__gt=0) | Q(billing_reason=CYCLE))
    latest_first = (F("paid_at").desc(nulls_last=True), "-created_at", F("period_end").desc(nulls_last=True), "-id")
    latest = counted.order_by(*latest_first).values_list("stripe_invoice_id", flat=True).first()
    return latest is not None and latest != payment.stripe_invoice_id


def derive_revocation(scope: Scope, subscription_ids: Sequence[str]) -> None:
    """Write what refunds and disputes leave of the access to these subscriptions: one statement when nothing changes.

    Call under their customer's lease, after the rows of their money were written.
    """
    if not subscription_ids:
        return
    for row_id, at, cause in _differing(scope, [scope.row_id(one) for one in subscription_ids]):
        rows = Subscription.objects.for_project(scope.project_id).filter(pk=row_id)
        row = rows.select_related("plan", "end_user", "project__billing_policy").get()
        before = state_of(row)
        row.access_revoked_at, row.access_revoked_by = at, cause
        known = scope.cause_of(cause) if cause else None
        write_changed(scope, row, before=before, fields=REVOCATION_FIELDS, cause=known)
        if row.end_user_id is not None:
            scope.holders.add(row.end_user_id)


def _differing(scope: Scope, row_ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, dt.datetime | None, str]]:
    actions = BillingPolicy.DisputeAction
    values: dict[str, Any] = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "ids": row_ids,
        "cycle": CYCLE,
        "live": list(LIVE_REFUND_STATUSES),
        "chosen": REVOKE,
        "open": list(OPEN_DISPUTE_STATUSES),
        "lost": str(actions.LOST),
        "opened": str(actions.OPENED),
        "never": str(actions.NEVER),
    }
    with connection.cursor() as cursor:
        cursor.execute(_DERIVE, values)
        return list(cursor.fetchall())


def redo_revocations(row: OutboxRow) -> Mapping[str, Any]:
    """Derive anew what disputes leave of a project's subscriptions, credits and licences, customer by customer under leases.

    Raises: SyncBusy, LeaseLost (409), after which it is begun again; what is right already is left as it is.
    """
    subscriptions, payments = _disputed_subscriptions(row), _disputed_purchases(row)
    for root in sorted(subscriptions.keys() | payments.keys()):
        lease = take_lease(project_id=row.project_id, mode=row.mode, root=root, wait_seconds=LEASE_WAITS_SECONDS)
        try:
            with writing_under(lease):
                scope = Scope(row.project_id, row.mode, cause=Cause("staff"))
                derive_revocation(scope, subscriptions.get(root, []))
                derive_clawbacks(scope, payments.get(root, []))
                derive_license_revocations(scope, payments.get(root, []))
                follow_standings(scope)
        finally:
            end_lease(lease)
    done = {"subscriptions": sum(map(len, subscriptions.values()))}
    return done | ({"credit_purchases": sum(map(len, payments.values()))} if payments else {})


def _disputed_subscriptions(row: OutboxRow) -> dict[str, list[str]]:
    """Name the subscriptions that had a dispute, by what their leases are taken on."""
    disputed = Dispute.objects.for_project(row.project_id).filter(
        mode=row.mode, transaction__subscription__isnull=False
    )
    rows = Subscription.objects.for_project(row.project_id).filter(pk__in=disputed.values("transaction__subscription"))
    of_customer: dict[str, list[str]] = {}
    for customer_id, subscription_id in rows.values_list("stripe_customer_id", "stripe_subscription_id"):
        of_customer.setdefault(customer_id or subscription_id, []).append(subscription_id)
    return of_customer


def _disputed_purchases(row: OutboxRow) -> dict[str, list[str]]:
    """Name the payments for credits and licences that had a dispute, by what their leases are taken on."""
    disputed = Dispute.objects.for_project(row.project_id).filter(mode=row.mode)
    bought = CreditPurchase.objects.for_project(row.project_id).in_mode(row.mode)
    payments = Transaction.objects.for_project(row.project_id).filter(
        mode=row.mode,
        payment_intent_id__in=disputed.values("payment_intent_id"),
    )
    licenses = LicensePurchase.objects.for_project(row.project_id).in_mode(row.mode)
    payments = payments.filter(
        Q(payment_intent_id__in=bought.values("payment_intent_id"))
        | Q(payment_intent_id__in=licenses.values("payment_intent_id"))
    )
    of_customer: dict[str, list[str]] = {}
    for customer_id, payment_intent_id in payments.values_list("stripe_customer_id", "payment_intent_id"):
        of_customer.setdefault(customer_id or payment_intent_id, []).append(payment_intent_id)
    return of_customer
