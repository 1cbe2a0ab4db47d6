"""Empties the bodies of old events, in small steps; their keys stay for good, so that a late delivery is still a duplicate."""

from django.conf import settings

from common.batches import repeat_statement

BATCH = 1000
RUN_SECONDS_MAX = 60.0

# The partial index webhook_event_body_kept holds just the rows that this looks for, oldest first. What is not finished keeps
# its body, however old it is. Materialized: a plan that picked anew for each row would empty more than was asked for.
_EMPTY = """
    WITH old AS MATERIALIZED (
        SELECT id FROM payments_webhookevent
        WHERE emptied_at IS NULL AND status IN ('processed', 'ignored', 'dead')
          AND received_at < clock_timestamp() - make_interval(days => %s)
        ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE payments_webhookevent event SET payload = NULL, emptied_at = clock_timestamp() FROM old WHERE event.id = old.id
"""


def empty_old_bodies(*, batch: int = BATCH, seconds_max: float = RUN_SECONDS_MAX) -> int:
    """Empty bodies older than EVENT_BODY_RETENTION_DAYS, a batch per statement; returns how many.

    Each batch is committed by itself: a run that is cut off has lost nothing, and two runs share the work.
    """
    return repeat_statement(_EMPTY, [settings.EVENT_BODY_RETENTION_DAYS], batch=batch, seconds_max=seconds_max)
