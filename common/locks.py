"""The numbers of our advisory locks, in one place: two purposes that share one would wait for each other."""

LEASE_EVENTS = 7_310_002
SHARED_WEBHOOK_SECRETS = 7_310_003
LEASE_OUTBOX = 7_310_004
FOLD_ROLLUPS = 7_310_005
# With a second number that is made of the end user: what one user holds is decided by one at a time.
HOLDINGS = 7_310_006
APPLY_DECLARATION = 7_310_007
CONNECTIONS = 7_310_008
LEASE_DELIVERIES = 7_310_009
EVALUATE_ALERTS = 7_310_010
