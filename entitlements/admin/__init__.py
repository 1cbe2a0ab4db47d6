"""The entitlements' pages in the admin, one noun a file."""

from entitlements.admin import plans

__all__ = ["plans"]
