"""The entitlements tables, one noun a file."""

from entitlements.models.connections import Connection, ProvisionedUser
from entitlements.models.holdings import Entitlement
from entitlements.models.packs import CreditPack, CreditPackPrice
from entitlements.models.plans import Plan, PlanPrice

__all__ = ["Connection", "CreditPack", "CreditPackPrice", "Entitlement", "Plan", "PlanPrice", "ProvisionedUser"]
