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
    LEFT_OUT,
    OBJECTS,
    REBUILD,
    UNEXPLAINED,
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
    # Finish what was interrupted, and nothing else.
    only_goes_on: bool = False

    @property
    def only_looks(self) -> bool:
        """A walk that only reports is never gone on with by a round that heals."""
        return self.dry_run or (self.kind == OBJECTS and not self.heals)

    def is_met_by(self, run: ReconcileRun) -> bool:
        """Say whether a run was started with the same wish, as far as an interruption could change its outcome."""
        as_begun = (run.since, run.without_effects, run.effects_from)
        return as_begun == (self.since, self.without_effects, self.effects_from)


def reconcile(
    *, project_id: uuid.UUID, mode: str, wish: Wish, tell: Callable[[str], None] = lambda text: None
) -> list[ReconcileRun]:
    """Carry out a run; returns its row, after that of an interrupted one that had to be finished first.

    An interrupted run is gone on with as it was started. One that was started with another wish does not stand for this one.
    Raises: RunInProgress, RunLost (409), StripeNotConfigured (404), StripeFailure (502, 503).
    """
    runs: list[ReconcileRun] = []
    while True:
        run = _reconcile_once(project_id, mode, wish, tell)
        runs.append(run)
        if wish.only_goes_on or wish.is_met_by(run) or run.status == ReconcileRun.Status.RUNNING:
            return runs
        tell("That run was started with other options; now the one that was asked for.")


def plan_run(*, project_id: uuid.UUID, mode: str, wish: Wish) -> None:
    """Open a run that is carried out later, by whoever comes first: nobody else starts one with another wish until it is done.

    Raises: RunInProgress (409).
    """
    leave_run(_begin(project_id, mode, wish, lambda text: None), None)


def _begin(project_id: uuid.UUID, mode: str, wish: Wish, tell: Callable[[str], None]) -> Progress:
    return begin_run(
        project_id=project_id,
        mode=mode,
        kind=wish.kind,
        dry_run=wish.only_looks,
        since=wish.since,
        without_effects=wish.without_effects,
        effects_from=wish.effects_from,
        only_goes_on=wish.only_goes_on,
        tell=tell,
    )


def _reconcile_once(project_id: uuid.UUID, mode: str, wish: Wish, tell: Callable[[str], None]) -> ReconcileRun:
    followed = follow_account(project_id=project_id, mode=mode)
    progress = _begin(project_id, mode, wish, tell)
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
    run = progress.run
    if wish.kind == EVENTS:
        search = EventSearch(
            types=wish.types,
            since=run.since,
            dry_run=wish.dry_run,
            effects_from=run.effects_from,
            without_effects=run.without_effects,
        )
        try:
            find_events(followed, progress, search)
        except StripePermissionMissing as error:
            # A restricted key without it: the walk over objects still finds what was missed.
            progress.tell(f"events: left out, {error.detail}")
            progress.cursors[LEFT_OUT] = ["events"]
    elif wish.kind == OBJECTS:
        heals = wish.heals and not wish.dry_run
        sweep_objects(Sweep(followed, progress, heals=heals, without_effects=run.without_effects, since=run.since))
    elif wish.kind == REBUILD:
        rebuild_account(followed, progress)
    else:
        import_account(followed, progress, dry_run=wish.dry_run)


def _put_before_staff(followed: Followed, progress: Progress) -> None:
    """Tell people about differences that no event explains: something was lost, or somebody changed our rows.

    Each difference is told once, however many nights it is found again, and a night's new ones make one alert.
    """
    unexplained, run = progress.cursors.get(UNEXPLAINED), progress.run
    if not unexplained or run.dry_run or run.kind != OBJECTS:
        return
    found = [
        (key, what, f"{what}: {field} differs from Stripe and no event explains it", 1)
        for key, what, field in unexplained["each"]
    ]
    if unexplained["more"]:
        title = f"{unexplained['more']} more differences from Stripe that no event explains"
        found.append((f"more:{unexplained['more_key']:x}", str(run.pk), title, unexplained["more"]))
    scope = Scope(followed.project_id, followed.mode, followed.account_id)
    details = {"seen": run.seen, "differences": run.differences, "healed": run.healed, "mode": followed.mode}
    with transaction.atomic():
        new = [
            (key, count)
            for key, what, title, count in found
            if open_review_item(
                project_id=followed.project_id,
                mode=followed.mode,
                kind=ReviewItem.Kind.DRIFT,
                cause_key=f"drift:{key}",
                title=title,
                subject=what,
                details=details | {"run": str(run.pk)},
            )
        ]
        if new:
            # Named by the first of them, which no other alert is: its item was opened just now.
            cause_effect(
                scope,
                Cause("reconcile"),
                kind=ALERT,
                effect_key=f"alert:drift:{new[0][0]}",
                payload={
                    "template": "",
                    "title": f"{sum(count for _, count in new)} differences from Stripe that no event explains",
                    "context": details,
                },
            )
