"""The entitlements tables, one noun a file."""

from entitlements.models.connections import Connection, ProvisionedUser
from entitlements.models.credit_days import CreditDay
from entitlements.models.holdings import Entitlement
from entitlements.models.ledger import (
    Bucket,
    CreditAccount,
    CreditEntry,
    CreditPolicy,
    CreditReservation,
    CreditTransaction,
    CreditWallet,
)
from entitlements.models.packs import CreditPack, CreditPackPrice
from entitlements.models.plans import Plan, PlanPrice
from entitlements.models.tokens import MarkKind, TokenMark, TokenPeriod, TokenUse
from entitlements.models.usage import Meter, PlanQuota, UsageCharge, UsageEvent, UsagePeriod, UsageTotal

__all__ = [
    "Bucket",
    "Connection",
    "CreditAccount",
    "CreditDay",
    "CreditEntry",
    "CreditPack",
    "CreditPackPrice",
    "CreditPolicy",
    "CreditReservation",
    "CreditTransaction",
    "CreditWallet",
    "Entitlement",
    "MarkKind",
    "Meter",
    "Plan",
    "PlanPrice",
    "PlanQuota",
    "ProvisionedUser",
    "TokenMark",
    "TokenPeriod",
    "TokenUse",
    "UsageCharge",
    "UsageEvent",
    "UsagePeriod",
    "UsageTotal",
]
