"""Walks over everything that an account has and compares it with our rows, in both directions.

Invariant: a row is written by `sync_object` only, under its lease and from a fresh read. The lists tell where to look: each listed
object is first compared as it stands on its page, and only one that seems to differ is read by itself. Memory holds one page.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Now

from common.clock import from_unix
from payments.models import Dispute, Invoice, Refund, StripeCustomer, Subscription, Transaction, WebhookEvent
from payments.services.leases import LeaseLost, SyncBusy
from payments.services.mirror_lag import find_lagging_mirror
from payments.services.objects.customer import CUSTOMER_EXPAND, CUSTOMERS, collect_customer
from payments.services.objects.dispute import collect_dispute
from payments.services.objects.invoice import collect_invoice
from payments.services.objects.payment import DISPUTES, INVOICES, PAYMENT_INTENTS, REFUNDS
from payments.services.objects.payment_intent import collect_payment_intent
from payments.services.objects.refund import collect_refund
from payments.services.objects.subscription import SUBSCRIPTIONS, collect_subscription
from payments.services.ownership import Cause, Scope
from payments.services.reconcile.accounts import Followed, ours_among
from payments.services.reconcile.compare import FOLLOWING, Difference, Watch, shown, snapshot_of_listed, would_change
from payments.services.reconcile.runs import BUSY, FAILED, LEFT_OUT, Progress, RunLost
from payments.services.snapshot import StripeObject, root_of
from payments.services.sync import Collect, sync_object
from payments.stripe_api import (
    StripeKeyRejected,
    StripePermissionMissing,
    StripeRefused,
    StripeUnavailable,
    unix,
)

logger = logging.getLogger(__name__)

PAGES_MAX = 100_000
BUCKETS = 256
ROWS_AT_ONCE = 200
MIRROR_COPIES_MAX = 1000
LEASE_WAIT_SECONDS = 2.0
# An event about an object explains a difference for so long before it must have been written.
UNDER_WAY = dt.timedelta(minutes=10)
DONE = "done"


@dataclass(frozen=True)
class Kind:
    """One of Stripe's lists: what our rows of it are, and how one object of it is read by itself."""

    path: str
    model: type[models.Model]
    collect: Collect
    params: Mapping[str, Any] = field(default_factory=dict)
    expand: tuple[str, ...] = ()
    # Rows of the table that a list of this kind names.
    rows: Q = field(default_factory=Q)

    @property
    def id_field(self) -> str:
        """The column of the id at Stripe."""
        return FOLLOWING[self.model][0]

    @property
    def object_type(self) -> str:
        """The word for people."""
        return FOLLOWING[self.model][1]


# Parents first, so that what follows finds them. A payment without a PaymentIntent is its invoice's.
KINDS = (
    Kind(CUSTOMERS, StripeCustomer, collect_customer, expand=CUSTOMER_EXPAND, rows=Q(deleted_at__isnull=True)),
    Kind(SUBSCRIPTIONS, Subscription, collect_subscription, {"status": "all"}, ("customer", "latest_invoice")),
    Kind(INVOICES, Invoice, collect_invoice, expand=("payments",)),
    Kind(
        PAYMENT_INTENTS,
        Transaction,
        collect_payment_intent,
        expand=("latest_charge.refunds",),
        rows=Q(payment_intent_id__startswith="pi_"),
    ),
    Kind(REFUNDS, Refund, collect_refund),
    Kind(DISPUTES, Dispute, collect_dispute),
)


@dataclass
class Sweep:
    """One walk over an account's objects: what is done about a difference."""

    followed: Followed
    progress: Progress
    heals: bool
    without_effects: bool = False
    since: dt.datetime | None = None
    # What follows when an object was looked at under its lease; a rebuild writes every one.
    always: bool = False
    source: str = "reconcile"
    watch: Callable[[bool], Watch] = Watch

    @property
    def scope(self) -> Scope:
        """A fresh scope: what one object taught must not leak into the next one's comparison."""
        return Scope(self.followed.project_id, self.followed.mode, self.followed.account_id)


def sweep_objects(sweep: Sweep, kinds: Sequence[Kind] = KINDS) -> None:
    """Compare every object of an account with our rows, and our rows with the account. Raises: RunLost, StripeFailure."""
    cursors = sweep.progress.cursors
    for kind in kinds:
        if cursors.get(kind.path) == DONE:
            continue
        try:
            _walk_from_cursor(sweep, kind)
            if sweep.since is None:
                _look_for_ours(sweep, kind)
        except StripePermissionMissing as error:
            sweep.progress.tell(f"{kind.path}: left out, {error.detail}")
            cursors.setdefault(LEFT_OUT, []).append(kind.path)
        cursors[kind.path] = DONE
        cursors.pop(f"{kind.path}:seen", None)
        sweep.progress.save_page(kind.path, seen=0)
    if sweep.since is None:
        _look_for_payments_of_no_invoice(sweep)
        _mend_mirror(sweep)


def _walk_from_cursor(sweep: Sweep, kind: Kind) -> None:
    try:
        _walk(sweep, kind)
    except StripeRefused:
        if not sweep.progress.cursors.pop(kind.path, None):
            raise
        # What the cursor stood on was deleted meanwhile: the list is gone through from its beginning.
        sweep.progress.cursors.pop(f"{kind.path}:seen", None)
        _walk(sweep, kind)


def _walk(sweep: Sweep, kind: Kind) -> None:
    """Go through one of Stripe's lists, newest first."""
    cursors = sweep.progress.cursors
    query: dict[str, Any] = {"limit": settings.RECONCILE_PAGE_SIZE, **kind.params}
    if kind.expand:
        query["expand"] = [f"data.{name}" for name in kind.expand]
    if sweep.since is not None:
        query["created"] = {"gte": unix(sweep.since)}
    seen = cursors.setdefault(f"{kind.path}:seen", [0] * BUCKETS)
    at = cursors.get(kind.path) or ""
    for _ in range(PAGES_MAX):
        page = sweep.followed.stripe.list(kind.path, query | ({"starting_after": at} if at else {}))
        for found in ours_among(sweep.followed, page["data"]):
            _look_at(sweep, kind, str(found["id"]), found)
            sweep.progress.keep()
        # Counted after the page is healed: a row that was missing is there now.
        for row_id in _rows_with(sweep, kind, [str(found["id"]) for found in page["data"]]):
            seen[row_id.bytes[0]] += 1
        if page["data"]:
            at = cursors[kind.path] = page["data"][-1]["id"]
        sweep.progress.save_page(kind.path, seen=len(page["data"]))
        if not page.get("has_more") or not page["data"]:
            return


def _look_for_ours(sweep: Sweep, kind: Kind) -> None:
    """Look at rows of ours that the list did not name.

    Rows are counted by the first byte of their id, on both sides: where the counts agree nothing is missing, so that memory does
    not grow with the account, and an interrupted run knows what it has seen.
    """
    seen = sweep.progress.cursors[f"{kind.path}:seen"]
    for bucket, count in _counts(sweep, kind).items():
        if count == seen[bucket]:
            continue
        for object_id in _ids_in(sweep, kind, bucket):
            _look_at(sweep, kind, object_id, None)
            sweep.progress.keep()
        sweep.progress.save_page(f"our {kind.path}", seen=0)


def _look_for_payments_of_no_invoice(sweep: Sweep) -> None:
    """Look at payments outside Stripe's intents whose invoice was not found among the invoices."""
    kind = Kind(INVOICES, Transaction, collect_invoice, rows=~Q(payment_intent_id__startswith="pi_"))
    invoices = Invoice.objects.for_project(sweep.followed.project_id).filter(mode=sweep.followed.mode)
    alone = _rows(sweep, kind).exclude(pk__in=invoices.values("pk")).order_by("pk")
    for object_id in alone.values_list("payment_intent_id", flat=True).iterator(chunk_size=ROWS_AT_ONCE):
        _look_at(sweep, kind, object_id, None)
        sweep.progress.keep()


def _mend_mirror(sweep: Sweep) -> None:
    """Write what a crash kept from the mirror: a read of the object writes its copy too."""
    if not sweep.heals:
        return
    by_path = {kind.path: kind for kind in KINDS}
    project_id, mode = sweep.followed.project_id, sweep.followed.mode
    for path, object_id in find_lagging_mirror(project_id=project_id, mode=mode, limit=MIRROR_COPIES_MAX):
        _look_at(sweep, by_path[path], object_id, None)
        sweep.progress.keep()


def _look_at(sweep: Sweep, kind: Kind, object_id: str, listed: StripeObject | None) -> None:
    """Compare one object, and read and write it under its lease when it differs; one that fails spoils no other."""
    try:
        if sweep.always or listed is None or _seems_to_differ(sweep, kind, listed):
            _examine(sweep, kind, object_id, listed)
    except (SyncBusy, LeaseLost):
        # Somebody else is writing it from a fresh read right now: that is what we were about to do. Whether it was done, the
        # next walk sees.
        sweep.progress.count(BUSY)
    except (RunLost, StripeKeyRejected, StripeUnavailable):
        raise
    except Exception as error:
        logger.exception("reconcile_object_failed project=%s object=%s", sweep.followed.project_id, object_id)
        sweep.progress.tell(f"  {object_id}: {type(error).__name__}")
        sweep.progress.count(FAILED)


def _seems_to_differ(sweep: Sweep, kind: Kind, listed: StripeObject) -> bool:
    snapshot, is_whole = snapshot_of_listed(kind.collect, kind.path, listed)
    return would_change(sweep.scope, snapshot, is_whole=is_whole)


def _examine(sweep: Sweep, kind: Kind, object_id: str, listed: StripeObject | None) -> None:
    row = _row_of(sweep, kind, object_id)
    root = root_of(listed) if listed else ""
    root = root if root and root != object_id else (row or {}).get("stripe_customer_id") or ""
    if not sweep.always and _is_under_way(sweep, object_id, root):
        sweep.progress.count(BUSY)
        return
    watch = sweep.watch(sweep.heals)
    found = sync_object(
        project_id=sweep.followed.project_id,
        mode=sweep.followed.mode,
        collect=kind.collect,
        object_id=object_id,
        root=root,
        wait_seconds=LEASE_WAIT_SECONDS,
        cause=_cause(sweep, listed, row),
        observer=watch,
    )
    differences = list(watch.differences)
    if found is None and row is not None and not differences:
        differences = _missing_at_stripe(sweep, kind, object_id, row)
        sweep.progress.note(differences, healed=False)
    else:
        sweep.progress.note(differences, healed=sweep.heals)
    if differences and not _is_explained(sweep, object_id, root):
        sweep.progress.keep_unexplained(differences)


def _cause(sweep: Sweep, listed: StripeObject | None, row: Mapping[str, Any] | None) -> Cause:
    """Say why an object is written. What happened before this service followed the account causes nothing."""
    created = from_unix(listed.get("created")) if listed else None
    # Stripe tells whole seconds: what was made in the second in which following began counts as followed.
    since = sweep.followed.since.replace(microsecond=0) if sweep.followed.since else None
    is_past = row is None and created is not None and since is not None and created < since
    return Cause(source=sweep.source, without_effects=sweep.without_effects or is_past)


def _missing_at_stripe(sweep: Sweep, kind: Kind, object_id: str, row: Mapping[str, Any]) -> list[Difference]:
    """Report a row of something that Stripe has not; of what is over already there is nothing to say."""
    if kind.model in (StripeCustomer, Subscription):
        return []
    return [Difference(kind.object_type, object_id, "", shown(kind.model, dict(row)), None)]


def _is_under_way(sweep: Sweep, object_id: str, root: str) -> bool:
    """Say whether an event that waits in the inbox is going to write this object."""
    return _events_about(sweep, object_id, root).unfinished().exists()


def _is_explained(sweep: Sweep, object_id: str, root: str) -> bool:
    """Say whether the inbox knows of a reason: an event that just came, or one that was laid aside and awaits a person."""
    reasons = Q(status=WebhookEvent.Status.DEAD) | Q(received_at__gt=Now() - UNDER_WAY)
    return _events_about(sweep, object_id, root).filter(reasons).exists()


def _events_about(sweep: Sweep, object_id: str, root: str) -> Any:
    rows = WebhookEvent.objects.for_project(sweep.followed.project_id).filter(mode=sweep.followed.mode)
    return rows.filter(Q(object_id=object_id) | Q(root__in=[object_id, root or object_id]))


def _rows(sweep: Sweep, kind: Kind) -> Any:
    rows = kind.model._base_manager.filter(project=sweep.followed.project_id, mode=sweep.followed.mode)
    return rows.filter(kind.rows)


def _rows_with(sweep: Sweep, kind: Kind, object_ids: Sequence[str]) -> list[uuid.UUID]:
    return list(_rows(sweep, kind).filter(**{f"{kind.id_field}__in": object_ids}).values_list("pk", flat=True))


def _row_of(sweep: Sweep, kind: Kind, object_id: str) -> dict[str, Any] | None:
    row: dict[str, Any] | None = _rows(sweep, kind).filter(**{kind.id_field: object_id}).values().first()
    return row


def _counts(sweep: Sweep, kind: Kind) -> dict[int, int]:
    """Count our rows by the first byte of their id."""
    counted, values = _rows(sweep, kind).values("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT get_byte(uuid_send(id), 0), count(*) FROM ({counted}) AS ours(id) GROUP BY 1 ORDER BY 1",  # noqa: S608
            values,
        )
        return dict(cursor.fetchall())


def _ids_in(sweep: Sweep, kind: Kind, bucket: int) -> Iterator[str]:
    """Yield the ids at Stripe of the rows in one bucket, a bounded number in memory."""
    first = uuid.UUID(bytes=bytes([bucket]) + bytes(15))
    last = uuid.UUID(bytes=bytes([bucket]) + b"\xff" * 15)
    rows = _rows(sweep, kind).filter(pk__gte=first, pk__lte=last).order_by("pk")
    after: uuid.UUID | None = None
    while True:
        some = rows.filter(pk__gt=after) if after else rows
        found = list(some.values_list("pk", kind.id_field)[:ROWS_AT_ONCE])
        for _, object_id in found:
            yield object_id
        if len(found) < ROWS_AT_ONCE:
            return
        after = found[-1][0]


def unbound_customers(followed: Followed, *, limit: int) -> tuple[int, list[str]]:
    """Return how many customers belong to no end user, and some of their ids. Nobody is guessed by an e-mail address."""
    rows = StripeCustomer.objects.for_project(followed.project_id).filter(mode=followed.mode, end_user__isnull=True)
    rows = rows.filter(deleted_at__isnull=True).order_by("stripe_customer_id")
    return rows.count(), list(rows.values_list("stripe_customer_id", flat=True)[:limit])
