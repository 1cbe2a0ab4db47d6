"""The numbers of our advisory locks, in one place: two purposes that share one would wait for each other."""

from django.db import connection

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

# Between the statements of somebody who picks there is nothing to wait for, so that whoever is silent for so long is frozen.
PICKER_SILENCE_MS = 3_000


def pick_alone(lock: int) -> None:
    """Wait until nobody else picks work of this kind, and let others go on soon when this process freezes before it commits.

    Needs an open transaction. A worker that is frozen there loses it after PICKER_SILENCE_MS; every other worker would stand still
    for the minute that transactions may idle otherwise.
    Source: https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('idle_in_transaction_session_timeout', %s, true), pg_advisory_xact_lock(%s)",
            [str(PICKER_SILENCE_MS), lock],
        )
