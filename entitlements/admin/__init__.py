"""The entitlements' pages in the admin, one noun a file."""

from entitlements.admin import packs, plans

__all__ = ["packs", "plans"]
