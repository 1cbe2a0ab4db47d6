"""The entitlements tables, one noun a file."""

from entitlements.models.connections import Connection, ProvisionedUser
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
from entitlements.models.usage import Meter, PlanQuota, UsageCharge, UsageEvent, UsagePeriod, UsageTotal

__all__ = [
    "Bucket",
    "Connection",
    "CreditAccount",
    "CreditEntry",
    "CreditPack",
    "CreditPackPrice",
    "CreditPolicy",
    "CreditReservation",
    "CreditTransaction",
    "CreditWallet",
    "Entitlement",
    "Meter",
    "Plan",
    "PlanPrice",
    "PlanQuota",
    "ProvisionedUser",
    "UsageCharge",
    "UsageEvent",
    "UsagePeriod",
    "UsageTotal",
]
