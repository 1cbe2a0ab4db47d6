"""What a write would change, or has changed: our rows before and after, field by field.

Invariant: the expected row comes from the writers themselves, run in a transaction and rolled back when only looking, so that what
is compared and what is written can never drift apart.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from django.db import models, transaction

from payments.models import Dispute, Invoice, Refund, StripeCustomer, Subscription, Transaction
from payments.services.ownership import Scope
from payments.services.snapshot import Snapshot
from payments.services.sync import Collect, write_snapshot
from payments.stripe_api import StripeAccount

Row = dict[str, Any]
Rows = dict[tuple[type[models.Model], uuid.UUID], Row]
# Every table whose rows follow Stripe's objects, with the column of the id at Stripe and the word for people.
FOLLOWING: dict[type[models.Model], tuple[str, str]] = {
    StripeCustomer: ("stripe_customer_id", "customer"),
    Subscription: ("stripe_subscription_id", "subscription"),
    Transaction: ("payment_intent_id", "payment"),
    Invoice: ("stripe_invoice_id", "invoice"),
    Refund: ("stripe_refund_id", "refund"),
    Dispute: ("stripe_dispute_id", "dispute"),
}
# Our own times say when we looked, not what Stripe has.
OWN_FIELDS: dict[type[models.Model], frozenset[str]] = {StripeCustomer: frozenset({"created_at", "synced_at"})}
OWN_TIMES = frozenset({"synced_at"})


@dataclass(frozen=True)
class Difference:
    """One field that differs; an empty field means that one side has nothing at all."""

    object_type: str
    object_id: str
    field: str
    ours: Any
    stripes: Any


class NotOnThePage(Exception):
    """More would have to be read than a page of a list holds."""


class _OnlyThePage:
    """Stands in for an account while a listed object is compared: nothing more is read for it."""

    def retrieve(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise NotOnThePage

    def list(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise NotOnThePage

    def iterate(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse."""
        raise NotOnThePage


def snapshot_of_listed(collect: Collect, kind: str, found: Mapping[str, Any]) -> tuple[Snapshot, bool]:
    """Return what one listed object says by itself, without another call to Stripe, and whether that is all there is."""
    known: dict[tuple[str, str], dict[str, Any] | None] = {(kind, str(found["id"])): dict(found)}
    snapshot = Snapshot(cast(StripeAccount, _OnlyThePage()), _read=known)
    try:
        collect(snapshot, str(found["id"]))
    except NotOnThePage:
        # What was gathered until then is what the page tells.
        return snapshot, False
    return snapshot, True


@dataclass
class Watch:
    """Looks at the rows of a snapshot around its write; without `keeps` the write is undone."""

    keeps: bool
    differences: list[Difference] = field(default_factory=list)
    before: Rows = field(default_factory=dict)
    after: Rows = field(default_factory=dict)

    @contextmanager
    def watching(self, scope: Scope, snapshot: Snapshot) -> Iterator[None]:
        """Note what the write inside changes. Call in its transaction."""
        ids = {scope.row_id(object_id) for _, object_id in snapshot.objects}
        self.before = rows_of(scope, ids)
        yield
        self.after = rows_of(scope, ids)
        self.differences = differences_between(self.before, self.after)
        if not self.keeps:
            transaction.set_rollback(True)


def would_change(scope: Scope, snapshot: Snapshot, *, is_whole: bool = True) -> bool:
    """Say whether writing a snapshot would change a row, and write nothing.

    No lease is taken: the answer only decides whether the object is looked at again, under its lease.
    """
    watch = Watch(keeps=False)
    with transaction.atomic(), watch.watching(scope, snapshot):
        write_snapshot(scope, snapshot)
    return any(is_whole or not _needs_more_than_the_page(one) for one in watch.differences)


def _needs_more_than_the_page(one: Difference) -> bool:
    """Say whether a difference is only what a page does not show.

    That is the card of a customer without a default one, and the payment that a refund or a dispute is about.
    """
    if one.object_type in ("refund", "dispute") and one.field == "transaction_id":
        return one.stripes is None
    if (one.object_type, one.field) != ("customer", "billing"):
        return False
    without_card = [{**(side or {}), "payment_method": None} for side in (one.ours, one.stripes)]
    return without_card[0] == without_card[1]


def rows_of(scope: Scope, ids: Collection[uuid.UUID]) -> Rows:
    """Read the rows with these ids out of every table that follows Stripe."""
    found: Rows = {}
    for model in FOLLOWING:
        rows = model._base_manager.filter(pk__in=ids, project=scope.project_id, mode=scope.mode)
        found |= {(model, row["id"]): row for row in rows.values()}
    return found


def differences_between(before: Rows, after: Rows) -> list[Difference]:
    """Return every field that differs, in a steady order."""
    found: list[Difference] = []
    for key in sorted(before.keys() | after.keys(), key=lambda key: (key[0].__name__, str(key[1]))):
        model, _ = key
        ours, stripes = before.get(key), after.get(key)
        id_field, object_type = FOLLOWING[model]
        object_id = str((ours or stripes or {})[id_field])
        if ours is None or stripes is None:
            found.append(Difference(object_type, object_id, "", shown(model, ours), shown(model, stripes)))
            continue
        names = [name for name in ours if name not in OWN_FIELDS.get(model, OWN_TIMES)]
        found += [
            Difference(object_type, object_id, name, plain(ours[name]), plain(stripes[name]))
            for name in names
            if ours[name] != stripes[name]
        ]
    return found


def shown(model: type[models.Model], row: Row | None) -> Row | None:
    """Return a whole row in the form that a report keeps."""
    left_out = {"id", "project_id", "mode", "synced_at"}
    return None if row is None else {name: plain(value) for name, value in row.items() if name not in left_out}


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return value
