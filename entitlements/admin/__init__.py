"""The entitlements' pages in the admin, one noun a file."""

from entitlements.admin import connections, credits, holdings, packs, plans, tokens, usage

__all__ = ["connections", "credits", "holdings", "packs", "plans", "tokens", "usage"]
