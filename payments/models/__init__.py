"""The payments tables, one noun a file."""

from payments.models.billing import StripeCustomer, Subscription, Transaction
from payments.models.config import StripeConfig, StripeCredentials
from payments.models.inbox import SyncLease, WebhookEvent
from payments.models.intents import CheckoutSession, StripeIntent
from payments.models.mirror import MirrorFailure

__all__ = [
    "CheckoutSession",
    "MirrorFailure",
    "StripeConfig",
    "StripeCredentials",
    "StripeCustomer",
    "StripeIntent",
    "Subscription",
    "SyncLease",
    "Transaction",
    "WebhookEvent",
]
