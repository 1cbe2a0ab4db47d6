"""Where a run of reconciliation has come to: one at a time per project, mode and kind, gone on with after an interruption.

Invariant: the cursor is committed with the report of the page that it stands behind, by the holder of the run's lease only. A run
whose process died is taken over when its lease has ended, and goes on from that page. Time is the database's clock.
"""

import datetime as dt
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from common.errors import Conflict
from common.failpoints import failpoint
from common.logs import redact
from payments.models import Drift, ReconcileRun
from payments.services.reconcile.compare import Difference

EVENTS, OBJECTS, IMPORT, REBUILD = "events", "objects", "import", "rebuild"
LEASE_SECONDS = 120
RENEW_SECONDS = 20.0
SHOW_SECONDS = 2.0
ERROR_CHARS = 1000
RUNS_KEPT = dt.timedelta(days=90)
EMPTY_RUNS_KEPT = dt.timedelta(days=3)
Status = ReconcileRun.Status
# What a run keeps beside its cursors: objects that failed, objects that somebody else was writing, lists that the key may not read,
# and differences that no event explains, each as its key and what people read.
FAILED, BUSY, LEFT_OUT, UNEXPLAINED = "failed", "busy", "left_out", "not_explained"
# So many differences are put before people one by one; the others together.
UNEXPLAINED_MAX = 50


class RunInProgress(Conflict):
    """409: the same comparison of this project and mode is being made by another process."""

    code = "reconcile_in_progress"
    detail = "This account is being reconciled right now."
    retryable = True


class RunLost(Conflict):
    """409: the run was taken over by another process, or its project was deleted; nothing more is written here."""

    code = "reconcile_run_lost"
    detail = "The run was taken over by another process."


class RunPaused(Exception):
    """The time for this round is over; the run is gone on with from its cursors."""


_RENEW = """
    UPDATE payments_reconcilerun SET lease_until = clock_timestamp() + make_interval(secs => %s)
    WHERE id = %s AND status = 'running' AND (lease_until = %s OR lease_until IS NULL AND %s::timestamptz IS NULL)
    RETURNING lease_until
"""


@dataclass
class Progress:
    """A run in work: its row, what it has found, and how it tells people."""

    run: ReconcileRun
    tell: Callable[[str], None]
    # By this process's steady clock; None = without an end.
    pause_at: float | None = None
    drifts: list[Drift] = field(default_factory=list)
    _renewed_at: float = field(default_factory=time.monotonic)
    _shown_at: float = field(default_factory=time.monotonic)
    _began_at: float = field(default_factory=time.monotonic)
    _seen_before: int = 0

    @property
    def cursors(self) -> dict[str, Any]:
        """Where each list has come to; kept with the run's row."""
        return self.run.cursors

    def note(self, differences: Iterable[Difference], *, healed: bool) -> None:
        """Take differences into the report; they are committed with the next page."""
        for one in differences:
            self.drifts.append(
                Drift(
                    project_id=self.run.project_id,
                    mode=self.run.mode,
                    run_id=self.run.pk,
                    object_type=one.object_type,
                    object_id=one.object_id,
                    field=one.field,
                    ours=one.ours,
                    stripes=one.stripes,
                    healed=healed,
                )
            )
            self.run.differences += 1
            self.run.healed += int(healed)
            self.tell(
                f"  {one.object_type} {one.object_id} {one.field or 'as a whole'}: {_short(one.ours)} → {_short(one.stripes)}"
            )

    def count(self, what: str) -> None:
        """Count an object that was not dealt with; committed with the next page."""
        self.cursors[what] = self.cursors.get(what, 0) + 1

    def keep_unexplained(self, differences: Iterable[Difference]) -> None:
        """Keep differences for people: the first ones each, the others as a number and a key that their order does not change."""
        kept = self.cursors.setdefault(UNEXPLAINED, {"each": [], "more": 0, "more_key": 0})
        for one in differences:
            key = key_of(one)
            if len(kept["each"]) < UNEXPLAINED_MAX:
                kept["each"].append([key, f"{one.object_type} {one.object_id}", one.field or "as a whole"])
            else:
                kept["more"] += 1
                kept["more_key"] ^= int(key[:12], 16)

    def keep(self) -> None:
        """Prolong the lease when it is time to. Raises: RunLost."""
        if time.monotonic() - self._renewed_at > RENEW_SECONDS:
            _renew(self.run)
            self._renewed_at = time.monotonic()

    def save_page(self, what: str, *, seen: int) -> None:
        """Commit the cursors and what the page's report says.

        Raises: RunLost, and nothing is written; RunPaused when time is up, after the commit.
        """
        self.run.seen += seen
        with transaction.atomic():
            _renew(self.run)
            Drift.objects.bulk_create(self.drifts, ignore_conflicts=True)
            ReconcileRun.objects.for_project(self.run.project_id).filter(pk=self.run.pk).update(
                cursors=self.run.cursors, seen=self.run.seen, differences=self.run.differences, healed=self.run.healed
            )
        self.drifts, self._renewed_at = [], time.monotonic()
        failpoint("reconcile.after_page")
        if time.monotonic() - self._shown_at > SHOW_SECONDS:
            self._shown_at = time.monotonic()
            self.show(what)
        if self.pause_at is not None and time.monotonic() > self.pause_at:
            raise RunPaused

    def show(self, what: str) -> None:
        """Tell how far the run is and how fast."""
        rate = (self.run.seen - self._seen_before) / max(time.monotonic() - self._began_at, 0.001)
        self.tell(f"{what}: {self.run.seen} seen, {self.run.differences} differ, {rate:.0f}/s")


def begin_run(
    *,
    project_id: uuid.UUID,
    mode: str,
    kind: str,
    dry_run: bool,
    since: dt.datetime | None,
    without_effects: bool = False,
    effects_from: dt.datetime | None = None,
    only_goes_on: bool = False,
    tell: Callable[[str], None],
) -> Progress:
    """Open a run, or go on with one that was interrupted, as that one was started. Raises: RunInProgress (409).

    A run that only looks is always a new one: it writes nothing but its report. With `only_goes_on` none is begun: what somebody
    else has finished meanwhile is refused like what somebody else works on.
    """
    run = None
    if not dry_run:
        interrupted = ReconcileRun.objects.for_project(project_id).filter(mode=mode, kind=kind, status=Status.RUNNING)
        run = interrupted.filter(dry_run=False).first()
    if run is not None:
        if not _take_over(run):
            raise RunInProgress()
        tell(f"Going on with the run of {run.started_at:%Y-%m-%d %H:%M} after {run.seen} objects.")
        return Progress(run, tell, _seen_before=run.seen)
    if only_goes_on:
        raise RunInProgress()
    run = ReconcileRun(
        project_id=project_id,
        mode=mode,
        kind=kind,
        dry_run=dry_run,
        since=since,
        without_effects=without_effects,
        effects_from=effects_from,
    )
    try:
        with transaction.atomic():
            run.save(force_insert=True)
    except IntegrityError:
        raise RunInProgress() from None
    _renew(run)
    return Progress(run, tell)


def finish_run(progress: Progress) -> None:
    """Mark a run as done. Raises: RunLost."""
    progress.pause_at = None
    progress.save_page(progress.run.kind, seen=0)
    rows = ReconcileRun.objects.for_project(progress.run.project_id).filter(pk=progress.run.pk)
    rows.update(status=Status.DONE, finished_at=Now(), lease_until=None, error="")
    progress.run.status = Status.DONE


def leave_run(progress: Progress, error: Exception | None) -> None:
    """Give a run up for now: it stays as it is and is gone on with later. One that only looked has failed."""
    text = redact(f"{type(error).__name__}: {error}")[:ERROR_CHARS] if error else ""
    rows = ReconcileRun.objects.for_project(progress.run.project_id).filter(
        pk=progress.run.pk, status=Status.RUNNING, lease_until=progress.run.lease_until
    )
    if progress.run.dry_run:
        rows.update(status=Status.FAILED, finished_at=Now(), lease_until=None, error=text)
    else:
        rows.update(lease_until=None, error=text)


def fail_run(progress: Progress, error: Exception) -> None:
    """Close a run that cannot go on from where it is: the next one begins anew."""
    text = redact(f"{type(error).__name__}: {error}")[:ERROR_CHARS]
    rows = ReconcileRun.objects.for_project(progress.run.project_id).filter(
        pk=progress.run.pk, status=Status.RUNNING, lease_until=progress.run.lease_until
    )
    rows.update(status=Status.FAILED, finished_at=Now(), lease_until=None, error=text, seen=F("seen"))


def interrupted_runs() -> Sequence[tuple[uuid.UUID, str, str]]:
    """Return project, mode and kind of the runs that nobody works on."""
    rows = ReconcileRun.objects.filter(status=Status.RUNNING, dry_run=False).exclude(lease_until__gt=Now())
    return list(rows.order_by("started_at").values_list("project_id", "mode", "kind"))


def forget_old_runs() -> int:
    """Delete reports after RUNS_KEPT, and those that found nothing after a few days; returns how many rows went.

    A run that only looked and whose process died is closed: nobody goes on with it.
    """
    lapsed = ReconcileRun.objects.filter(status=Status.RUNNING, dry_run=True, lease_until__lt=Now())
    lapsed.update(status=Status.FAILED, finished_at=Now(), lease_until=None, error="Its process ended.")
    old = ReconcileRun.objects.exclude(status=Status.RUNNING)
    unread = Q(differences=0, status=Status.DONE, started_at__lt=Now() - EMPTY_RUNS_KEPT)
    gone, _ = old.filter(Q(started_at__lt=Now() - RUNS_KEPT) | unread).delete()
    return gone


def left_by(run: ReconcileRun, *, workers_follow: bool = False) -> list[str]:
    """Say for people what a run has left to do; empty when nothing is left.

    With `workers_follow`, what waits in the inbox is not counted: the workers that are started next have it.
    """
    remain, cursors = run.differences - run.healed, run.cursors
    found = [f"{remain} differences remain"] if remain else []
    if cursors.get(FAILED):
        found.append(f"{cursors[FAILED]} objects failed")
    if cursors.get(BUSY) and not workers_follow:
        found.append(f"{cursors[BUSY]} objects were being written by somebody else")
    if cursors.get(LEFT_OUT):
        found.append(f"not read: {', '.join(cursors[LEFT_OUT])}")
    if run.status == Status.RUNNING:
        found.append("not finished")
    return found


def key_of(one: Difference) -> str:
    """Return what tells one difference from others: the object, the field, and what Stripe says."""
    said = json.dumps([one.object_type, one.object_id, one.field, one.stripes], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _take_over(run: ReconcileRun) -> bool:
    """Take an interrupted run's lease; False while somebody holds it."""
    rows = ReconcileRun.objects.for_project(run.project_id).filter(pk=run.pk, status=Status.RUNNING)
    if rows.filter(lease_until__gt=Now()).exists():
        return False
    try:
        _renew(run)
    except RunLost:
        return False
    return True


def _renew(run: ReconcileRun) -> None:
    """Prolong the lease, whose end is also its token. Raises: RunLost."""
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [LEASE_SECONDS, run.pk, run.lease_until, run.lease_until])
        found = cursor.fetchone()
    if found is None:
        raise RunLost()
    run.lease_until = found[0]


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"
