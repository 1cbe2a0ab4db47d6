"""Celery tasks: they carry no data, since the rows of the outbox are the work.

Workers are threads (docs/adr/0007-worker-threads.md); every executor bounds its own waiting, and leases bound the rest.
"""

from collections.abc import Sequence

from celery import shared_task

from common.leased_rounds import LeasedRounds
from notifications.models import OutboxRow
from notifications.services.running import carry_out_row, lease_due_rows, renew_leases


def _renew(rows: Sequence[OutboxRow]) -> None:
    renew_leases(tokens=[row.lease_token for row in rows if row.lease_token])


_rounds = LeasedRounds[OutboxRow](
    name="outbox",
    lease=lambda limit: lease_due_rows(limit=limit),
    carry_out=carry_out_row,
    renew=_renew,
    describe=lambda row: {"row": str(row.pk), "kind": row.kind},
)


@shared_task(name="notifications.tasks.run_outbox", acks_late=False, ignore_result=True)
def run_outbox() -> None:
    """Carry out what is due, also what dead workers left. One run per process: a second call makes the first look again."""
    _rounds.run()
