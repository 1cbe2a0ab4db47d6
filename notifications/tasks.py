"""Celery tasks: they carry no data, since the rows of the outbox and of the deliveries are the work.

Workers are threads (docs/adr/0007-worker-threads.md); every executor bounds its own waiting, and leases bound the rest.
"""

from collections.abc import Sequence

from celery import shared_task

from common import clock
from common.leased_rounds import LeasedRounds
from notifications.models import OutboxRow, WebhookDelivery
from notifications.services import deliveries
from notifications.services.alerting import evaluate_alerts
from notifications.services.endpoints import forget_old_secrets
from notifications.services.outbound import attempt_delivery
from notifications.services.running import carry_out_row, lease_due_rows, renew_leases


def _renew(rows: Sequence[OutboxRow]) -> None:
    renew_leases(tokens=[row.lease_token for row in rows if row.lease_token])


_rounds = LeasedRounds[OutboxRow](
    name="outbox",
    lease=lambda limit, in_hand: lease_due_rows(limit=limit, in_hand=in_hand),
    carry_out=carry_out_row,
    renew=_renew,
    describe=lambda row: {
        "project": str(row.project_id),
        "row": str(row.pk),
        "kind": row.kind,
        "effect_key": row.effect_key,
        "cause": row.cause,
    },
)


@shared_task(name="notifications.tasks.run_outbox", acks_late=False, ignore_result=True)
def run_outbox() -> None:
    """Carry out what is due, also what dead workers left. One run per process: a second call makes the first look again."""
    _rounds.run()


def _renew_deliveries(rows: Sequence[WebhookDelivery]) -> None:
    deliveries.renew_leases(tokens=[row.lease_token for row in rows if row.lease_token])


# Threads of their own: an app that takes its time to answer holds up no mail.
_webhook_rounds = LeasedRounds[WebhookDelivery](
    name="webhooks",
    lease=lambda limit, _: deliveries.lease_due_deliveries(limit=limit),
    carry_out=attempt_delivery,
    renew=_renew_deliveries,
    describe=lambda row: {
        "project": str(row.project_id),
        "delivery": str(row.pk),
        "endpoint": str(row.endpoint_id),
        "event_row": str(row.event_id),
    },
)


@shared_task(name="notifications.tasks.run_webhooks", acks_late=False, ignore_result=True)
def run_webhooks() -> None:
    """Deliver what is due, also what dead workers left. One run per process."""
    _webhook_rounds.run()


@shared_task(name="notifications.tasks.tidy_webhooks", acks_late=False, ignore_result=True)
def tidy_webhooks() -> None:
    """Give up what is late, forget secrets whose overlap is over, delete what is old."""
    deliveries.give_up_late_deliveries()
    forget_old_secrets()
    deliveries.prune_deliveries()


@shared_task(name="notifications.tasks.watch_for_trouble", acks_late=False, ignore_result=True)
def watch_for_trouble() -> None:
    """Measure what alerts are about; what changed is told by the outbox."""
    evaluate_alerts(moment=clock.now())
