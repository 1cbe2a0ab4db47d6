"""The admin of everything that touches Stripe. Rows that follow Stripe's objects are looked at here, never changed."""

from payments.admin import billing, config, inbox, mirror, money, policy, purchases, reconciliation

__all__ = ["billing", "config", "inbox", "mirror", "money", "policy", "purchases", "reconciliation"]
