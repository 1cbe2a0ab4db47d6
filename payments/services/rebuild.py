"""Writes every row that follows Stripe anew, from what Stripe has now: same ids, same values, whatever the rows said before.

Invariant: an object's rows are taken away and written in one transaction, under its lease, so that nobody ever reads a project
without them. What people did and what was sent is kept: history, outbox, reviews and our own times.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.functions import TransactionNow
from django.db import connection, models
from django.db.models import Q

from payments.models import StripeCustomer, Subscription, SubscriptionChange
from payments.services.objects.payment import INVOICES
from payments.services.ownership import Scope
from payments.services.reconcile.accounts import Followed
from payments.services.reconcile.compare import Rows, Watch, differences_between, plain, rows_of
from payments.services.reconcile.objects import Sweep, sweep_objects
from payments.services.reconcile.runs import REBUILD, Progress
from payments.services.rollups import mend_rollups
from payments.services.snapshot import Snapshot

Row = dict[str, Any]


@dataclass
class Rewrite(Watch):
    """Takes the rows of a snapshot away before they are written, so that nothing of what they said can stay."""

    @contextmanager
    def watching(self, scope: Scope, snapshot: Snapshot) -> Iterator[None]:
        """Surround the write. Call in its transaction."""
        ids = {scope.row_id(object_id) for _, object_id in snapshot.objects}
        self.before = rows_of(scope, ids)
        # Also who loses a subscription that Stripe has not: what they hold is decided when this is done.
        owners = [row["end_user_id"] for (model, _), row in self.before.items() if model is Subscription]
        scope.holders.update(owner for owner in owners if owner is not None)
        _take_away(self.before)
        yield
        _let_go(self.before, rows_of(scope, ids))
        _keep_what_stripe_cannot_tell(self.before, rows_of(scope, ids), snapshot)
        self.after = rows_of(scope, ids)
        self.differences = differences_between(self.before, self.after)
        _note_in_history(scope, self.before, self.after)


def rebuild_account(followed: Followed, progress: Progress) -> None:
    """Write every row of a project's account and mode anew, and delete those of what Stripe has not.

    Raises: RunLost, StripeFailure.
    """
    sweep_objects(
        Sweep(followed, progress, heals=True, without_effects=True, always=True, source=REBUILD, watch=Rewrite)
    )
    mended = mend_rollups()
    if mended:
        progress.tell(f"{mended} days and gauges of the statistics were wrong.")


def _take_away(rows: Rows) -> None:
    """Delete rows without what refers to them: foreign keys are checked at the commit, when the rows are there again."""
    for model, ids in _by_model(rows).items():
        if model is not StripeCustomer:
            with connection.cursor() as cursor:
                cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE id = ANY(%s)", [ids])  # noqa: S608


def _let_go(before: Rows, after: Rows) -> None:
    """Delete for good what was not written again, with all that refers to it, as deleting a row does."""
    for (model, row_id), row in before.items():
        if (model, row_id) not in after:
            model._base_manager.bulk_create([model(**row)])
            model._base_manager.filter(pk=row_id).delete()


def _keep_what_stripe_cannot_tell(before: Rows, after: Rows, snapshot: Snapshot) -> None:
    """Put back a plan whose price is not sold any more, and a revocation that was not derived in this write."""
    derived = bool(snapshot.of_kind(INVOICES))
    for (model, row_id), row in before.items():
        if model is not Subscription or (model, row_id) not in after:
            continue
        kept: Row = {}
        if after[model, row_id]["plan_id"] is None and row["plan_id"] is not None:
            kept["plan_id"] = row["plan_id"]
        if not derived:
            kept |= {name: row[name] for name in ("access_revoked_at", "access_revoked_by")}
        if kept:
            Subscription._base_manager.filter(pk=row_id).update(**kept)


def _note_in_history(scope: Scope, before: Rows, after: Rows) -> None:
    """Replace the lines that writing anew has left by one line per subscription that really differs."""
    ids = [row_id for model, row_id in before if model is Subscription and (model, row_id) in after]
    written = SubscriptionChange.objects.for_project(scope.project_id).filter(mode=scope.mode, subscription__in=ids)
    written.filter(Q(change_key="") | Q(kind="created"), source=REBUILD, recorded_at__gte=TransactionNow()).delete()
    for row_id in ids:
        old, new = before[Subscription, row_id], after[Subscription, row_id]
        changed = [name for name in old if old[name] != new[name] and name != "synced_at"]
        if changed:
            SubscriptionChange.objects.create(
                project_id=scope.project_id,
                mode=scope.mode,
                subscription_id=row_id,
                kind="other",
                before={name: plain(old[name]) for name in changed},
                after={name: plain(new[name]) for name in changed},
                source=SubscriptionChange.Source.REBUILD,
            )


def _by_model(rows: Rows) -> dict[type[models.Model], list[uuid.UUID]]:
    found: dict[type[models.Model], list[uuid.UUID]] = {}
    for model, row_id in rows:
        found.setdefault(model, []).append(row_id)
    return found
