"""The entitlements' pages in the admin, one noun a file."""

from entitlements.admin import credits, packs, plans

__all__ = ["credits", "packs", "plans"]
