"""Runs one reconciliation from its beginning to its report (docs/runbook.md)."""

import datetime as dt
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.db import transaction

from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from payments.models import ReconcileRun
from payments.services.effects import ALERT, cause_effect
from payments.services.ownership import Cause, Scope
from payments.services.rate_budget import background_calls
from payments.services.rebuild import rebuild_account
from payments.services.reconcile.accounts import Followed, follow_account
from payments.services.reconcile.events import EventSearch, find_events
from payments.services.reconcile.importing import import_account
from payments.services.reconcile.objects import Sweep, sweep_objects
from payments.services.reconcile.runs import (
    EVENTS,
    IMPORT,
    OBJECTS,
    REBUILD,
    Progress,
    RunLost,
    RunPaused,
    begin_run,
    finish_run,
    leave_run,
)
from payments.stripe_api import StripePermissionMissing, StripeUnavailable

KINDS = (EVENTS, OBJECTS, IMPORT)
# A run waits longer for its turn than an event does: nobody is behind it.
CALL_WAITS_SECONDS = 60.0
OUTAGES_MAX = 5
OUTAGE_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Wish:
    """What is to be reconciled, and what is done about what is found."""

    kind: str
    # The types that something here follows.
    types: Collection[str] = ()
    since: dt.datetime | None = None
    dry_run: bool = False
    heals: bool = False
    without_effects: bool = False
    effects_from: dt.datetime | None = None
    # After so long the run is left for another time.
    seconds_max: float | None = None


def reconcile(
    *, project_id: uuid.UUID, mode: str, wish: Wish, tell: Callable[[str], None] = lambda text: None
) -> ReconcileRun:
    """Carry out one run, or go on with an interrupted one; returns its row.

    Raises: RunInProgress, RunLost (409), StripeNotConfigured (404), StripeFailure (502, 503).
    """
    followed = follow_account(project_id=project_id, mode=mode)
    # A walk that only reports is never gone on with by a round that heals.
    only_looks = wish.dry_run or (wish.kind == OBJECTS and not wish.heals)
    progress = begin_run(
        project_id=project_id, mode=mode, kind=wish.kind, dry_run=only_looks, since=wish.since, tell=tell
    )
    if wish.seconds_max is not None:
        progress.pause_at = time.monotonic() + wish.seconds_max
    try:
        with background_calls(wait_seconds=CALL_WAITS_SECONDS):
            _carry_out(followed, progress, wish)
        _put_before_staff(followed, progress)
        finish_run(progress)
    except RunLost:
        raise
    except RunPaused:
        leave_run(progress, None)
        return progress.run
    except BaseException as error:
        leave_run(progress, error if isinstance(error, Exception) else None)
        raise
    progress.show(wish.kind)
    return progress.run


def _carry_out(followed: Followed, progress: Progress, wish: Wish) -> None:
    """Work until the end; a Stripe that is away for a moment is waited for, from the last page on."""
    for attempt in range(1, OUTAGES_MAX + 1):
        try:
            _work(followed, progress, wish)
        except StripeUnavailable as error:
            if attempt == OUTAGES_MAX:
                raise
            progress.tell(f"Stripe does not answer as it should ({error.detail}); trying again.")
            progress.keep()
            time.sleep(OUTAGE_PAUSE_SECONDS * attempt)
        else:
            return


def _work(followed: Followed, progress: Progress, wish: Wish) -> None:
    since = progress.run.since
    if wish.kind == EVENTS:
        search = EventSearch(
            types=wish.types,
            since=since,
            dry_run=wish.dry_run,
            effects_from=wish.effects_from,
            without_effects=wish.without_effects,
        )
        try:
            find_events(followed, progress, search)
        except StripePermissionMissing as error:
            # A restricted key without it: the walk over objects still finds what was missed.
            progress.tell(f"events: left out, {error.detail}")
            progress.cursors["left_out"] = ["events"]
    elif wish.kind == OBJECTS:
        sweep = Sweep(
            followed, progress, heals=wish.heals and not wish.dry_run, without_effects=wish.without_effects, since=since
        )
        sweep_objects(sweep)
    elif wish.kind == REBUILD:
        rebuild_account(followed, progress)
    else:
        import_account(followed, progress, dry_run=wish.dry_run)


def _put_before_staff(followed: Followed, progress: Progress) -> None:
    """Tell people about differences that no event explains: something was lost, or somebody changed our rows."""
    unexplained, run = progress.cursors.get("unexplained", 0), progress.run
    if not unexplained or run.dry_run or run.kind != OBJECTS:
        return
    title = f"{unexplained} differences from Stripe that no event explains"
    details = {"seen": run.seen, "differences": run.differences, "healed": run.healed, "mode": followed.mode}
    scope = Scope(followed.project_id, followed.mode, followed.account_id)
    with transaction.atomic():
        open_review_item(
            project_id=followed.project_id,
            mode=followed.mode,
            kind=ReviewItem.Kind.DRIFT,
            cause_key=f"drift:{run.pk}",
            title=title,
            subject=str(run.pk),
            details=details,
        )
        cause_effect(
            scope,
            Cause("reconcile"),
            kind=ALERT,
            effect_key=f"alert:drift:{run.pk}",
            payload={"template": "", "title": title, "context": details},
        )
