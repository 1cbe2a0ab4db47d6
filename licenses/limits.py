"""How often the public doors of licences may be knocked at: per address, and per licence or project."""

from django.http import HttpRequest

from common.client_address import client_address
from common.rate_limits import RateLimit, count_call

PAGES_PER_ADDRESS = RateLimit("license-page-address", amount=300, seconds=300)
PAGES_PER_LICENSE = RateLimit("license-page-license", amount=120, seconds=60)
# GitHub is asked about each of them.
USERNAMES_PER_ADDRESS = RateLimit("license-username-address", amount=30, seconds=3600)
USERNAMES_PER_LICENSE = RateLimit("license-username-license", amount=10, seconds=3600)
CHECKS_PER_LICENSE = RateLimit("license-check-license", amount=12, seconds=60)
LINKS_PER_LICENSE = RateLimit("license-link-license", amount=3, seconds=3600)
LINKS_PER_ADDRESS = RateLimit("license-link-address", amount=10, seconds=3600)
KEYS_PER_LICENSE = RateLimit("license-key-license", amount=10, seconds=3600)
KEY_CALLS_PER_ADDRESS = RateLimit("license-key-address", amount=120, seconds=60)
CHECKOUTS_PER_ADDRESS = RateLimit("license-checkout-address", amount=20, seconds=300)


def count_by_address(limit: RateLimit, request: HttpRequest) -> None:
    """Count one call of the request's address. Raises: TooManyRequests (429)."""
    count_call(limit, client_address(request))
