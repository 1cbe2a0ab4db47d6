"""How long the audit log remembers: entries hold addresses of people, which are not kept for ever."""

from django.conf import settings

from common.batches import repeat_statement

BATCH = 5_000
RUN_SECONDS_MAX = 60.0
_FORGET = """
DELETE FROM auditlog_logentry WHERE id IN (
    SELECT id FROM auditlog_logentry WHERE timestamp < now() - make_interval(days => %s) ORDER BY timestamp LIMIT %s
)
"""


def forget_old_entries(*, batch: int = BATCH, seconds_max: float = RUN_SECONDS_MAX) -> int:
    """Delete entries older than AUDIT_LOG_RETENTION_DAYS, a batch per statement; returns how many.

    A run that is cut off has lost nothing: the next one goes on.
    """
    return repeat_statement(_FORGET, [settings.AUDIT_LOG_RETENTION_DAYS], batch=batch, seconds_max=seconds_max)
