"""Celery tasks: they carry no data, since the rows in the database are the work.

Celery's time limits are not used: workers are threads (docs/adr/0007-worker-threads.md), and every wait inside is
bounded by the time-outs of Stripe's client, the database's statement time-out and the leases.
"""

import time
from collections.abc import Sequence

import structlog
from celery import shared_task

from common.leased_rounds import LeasedRounds
from payments.services import invariants, rollups, standing
from payments.services.card_expiry import tell_of_expiring_cards
from payments.services.credit_healing import heal_purchases
from payments.services.endpoint_rounds import look_after_endpoints
from payments.services.inbox import EventGroup, follow_ignored_events, lease_due_groups, renew_leases
from payments.services.intents import reconcile_open_intents
from payments.services.leases import purge_old_leases
from payments.services.processing import process_group
from payments.services.rate_budget import background_calls
from payments.services.reconcile.rounds import go_on_with_runs, reconcile_all_events, reconcile_all_objects
from payments.services.retention import empty_old_bodies
from payments.services.usage_billing import follow_waiting_lines
from payments.webhooks import HANDLERS

log = structlog.get_logger(__name__)

HOUSEKEEPING_SECONDS = 60.0
# How many of a group's events its log lines name.
EVENTS_NAMED = 20
# How often, and when a worker starts, events are looked for that a release before this one has ignored.
FOLLOW_SECONDS = 600.0

_kept_house_at: float | None = None
_followed_at: float | None = None


def _process(group: EventGroup) -> None:
    with background_calls():
        process_group(group, HANDLERS)


def _renew(groups: Sequence[EventGroup]) -> None:
    """Keep groups in hand: a slow Stripe must not make others take them over, and counts against its account's share."""
    renew_leases(tokens=[group.token for group in groups])


_rounds = LeasedRounds[EventGroup](
    name="events",
    lease=lambda limit, _: lease_due_groups(limit=limit),
    carry_out=_process,
    renew=_renew,
    describe=lambda group: {
        "project": str(group.project_id),
        "mode": group.mode,
        "root": group.root,
        "event_ids": ",".join(event.event_id for event in group.events[:EVENTS_NAMED]),
    },
)


@shared_task(name="payments.tasks.process_due_events", acks_late=False, ignore_result=True)
def process_due_events() -> None:
    """Process what is due. One run per process at a time: a second call only makes the first one look again."""
    _rounds.run()


@shared_task(name="payments.tasks.sweep_events", acks_late=False, ignore_result=True)
def sweep_events() -> None:
    """Own recovery: find due rows, also those of workers that died and of messages that were lost. Safe to run anywhere."""
    global _kept_house_at, _followed_at
    process_due_events()
    now = time.monotonic()
    if _kept_house_at is None or now - _kept_house_at > HOUSEKEEPING_SECONDS:
        _kept_house_at = now
        purge_old_leases()
        reconcile_intents()
        look_after_webhook_endpoints()
    if _followed_at is None or now - _followed_at > FOLLOW_SECONDS:
        _followed_at = now
        follow_what_was_ignored()


@shared_task(name="payments.tasks.follow_what_was_ignored", acks_late=False, ignore_result=True)
def follow_what_was_ignored() -> None:
    """Make events due whose type the release before did not follow: its workers may have run beside ours."""
    found = follow_ignored_events(types=HANDLERS)
    if found:
        log.info("ignored_events_followed", count=found)


@shared_task(name="payments.tasks.reconcile_intents", acks_late=False, ignore_result=True)
def reconcile_intents() -> None:
    """Settle calls to Stripe whose answer was lost: each row is held while it is settled, so two runs do not meet."""
    with background_calls():
        reconcile_open_intents()


@shared_task(name="payments.tasks.fold_rollups", acks_late=False, ignore_result=True)
def fold_rollups() -> None:
    """Fold what was written since the last round into the days and gauges of the statistics."""
    rollups.fold_rollups()


@shared_task(name="payments.tasks.check_rollups", acks_late=False, ignore_result=True)
def check_rollups() -> None:
    """Compare the statistics with the rows that they sum up; a difference is a defect: it is logged, then mended."""
    for difference in rollups.find_rollup_differences():
        log.error("rollup_differs", **{name: str(value) for name, value in difference.items()})
    rollups.mend_rollups()


@shared_task(name="payments.tasks.look_after_webhook_endpoints", acks_late=False, ignore_result=True)
def look_after_webhook_endpoints() -> None:
    """Check the webhook endpoints that are due, carry rolls on, take away what has expired."""
    with background_calls():
        look_after_endpoints()


@shared_task(name="payments.tasks.empty_old_bodies", acks_late=False, ignore_result=True)
def empty_bodies() -> None:
    """Empty the bodies of events past their retention; what one run does not finish the next one does."""
    empty_old_bodies()


@shared_task(name="payments.tasks.tell_of_expiring_cards", acks_late=False, ignore_result=True)
def tell_of_expiring_cards_daily() -> None:
    """Record a mail for each card that expires before the renewal it is to pay; each once, however often this runs."""
    tell_of_expiring_cards()


@shared_task(name="payments.tasks.reconcile_events", acks_late=False, ignore_result=True)
def reconcile_events() -> None:
    """Look through Stripe's list of events for what never arrived. Two rounds at once do not meet: a run is leased."""
    reconcile_all_events(types=HANDLERS)


@shared_task(name="payments.tasks.reconcile_objects", acks_late=False, ignore_result=True)
def reconcile_objects() -> None:
    """Compare every object at Stripe with our row of it, and heal what differs."""
    reconcile_all_objects()


@shared_task(name="payments.tasks.go_on_with_reconciliation", acks_late=False, ignore_result=True)
def go_on_with_reconciliation() -> None:
    """Carry out the reconciliations that somebody asked for. Safe to run anywhere: a call beside another ends at once."""
    go_on_with_runs(types=HANDLERS)


@shared_task(name="payments.tasks.heal_entitlements", acks_late=False, ignore_result=True)
def heal_entitlements() -> None:
    """Decide anew what users hold where it is not what they bought, as after a release that knows no entitlements ran beside us.

    Credits that are paid and were never given, likewise.
    """
    standing.heal_standings(cause="healed")
    with background_calls():
        heal_purchases()


@shared_task(name="payments.tasks.follow_usage_lines", acks_late=False, ignore_result=True)
def follow_usage_lines() -> None:
    """Record a look at overage whose line waits for a subscription's invoice; each once a day, however often this runs."""
    follow_waiting_lines()


@shared_task(name="payments.tasks.check_invariants", acks_late=False, ignore_result=True)
def check_invariants() -> None:
    """Check what must hold at every moment; what does not is logged and put before the staff."""
    invariants.report_violations(invariants.check_invariants())
