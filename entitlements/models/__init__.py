"""The entitlements tables, one noun a file."""

from entitlements.models.connections import Connection, ProvisionedUser
from entitlements.models.holdings import Entitlement
from entitlements.models.packs import CreditPack, CreditPackPrice
from entitlements.models.plans import Plan, PlanPrice
from entitlements.models.usage import Meter, PlanQuota, UsageCharge, UsageEvent, UsagePeriod, UsageTotal

__all__ = [
    "Connection",
    "CreditPack",
    "CreditPackPrice",
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
