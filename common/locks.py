"""The numbers of our advisory locks, in one place: two purposes that share one would wait for each other."""

LEASE_EVENTS = 7_310_002
SHARED_WEBHOOK_SECRETS = 7_310_003
LEASE_OUTBOX = 7_310_004
FOLD_ROLLUPS = 7_310_005
