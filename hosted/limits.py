"""How often the hosted pages may be asked: per address, per user and per key."""

from common.rate_limits import RateLimit

PAGES_PER_ADDRESS = RateLimit("hosted-page-address", amount=600, seconds=300)
LINKS_OPENED_PER_ADDRESS = RateLimit("hosted-link-address", amount=60, seconds=300)
# Each of them asks Stripe for something.
ACTIONS_PER_USER = RateLimit("hosted-action-user", amount=30, seconds=60)
LINKS_MINTED_PER_USER = RateLimit("hosted-mint-user", amount=60, seconds=60)
