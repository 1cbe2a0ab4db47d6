"""The payments tables, one noun a file."""

from payments.models.billing import StripeCustomer, Subscription, Transaction
from payments.models.config import StripeConfig, StripeCredentials
from payments.models.history import SubscriptionChange
from payments.models.inbox import SyncLease, WebhookEvent
from payments.models.intents import CheckoutSession, StripeIntent
from payments.models.license_purchases import LIFETIME_LICENSE, LicensePurchase
from payments.models.mirror import MirrorFailure
from payments.models.money import Dispute, Invoice, Refund
from payments.models.policy import BillingPolicy, Trial
from payments.models.purchases import CreditClawback, CreditPurchase
from payments.models.reconciliation import Drift, EventCursor, ReconcileRun
from payments.models.rollups import RevenueDay, RevenueDelta, SubscriptionGauge, SubscriptionGaugeDelta

__all__ = [
    "LIFETIME_LICENSE",
    "BillingPolicy",
    "CheckoutSession",
    "CreditClawback",
    "CreditPurchase",
    "Dispute",
    "Drift",
    "EventCursor",
    "Invoice",
    "LicensePurchase",
    "MirrorFailure",
    "ReconcileRun",
    "Refund",
    "RevenueDay",
    "RevenueDelta",
    "StripeConfig",
    "StripeCredentials",
    "StripeCustomer",
    "StripeIntent",
    "Subscription",
    "SubscriptionChange",
    "SubscriptionGauge",
    "SubscriptionGaugeDelta",
    "SyncLease",
    "Transaction",
    "Trial",
    "WebhookEvent",
]
