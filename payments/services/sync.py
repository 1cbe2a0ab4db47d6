"""Bring our rows of one root up to what Stripe says: lease, read with no transaction open, write after checking the lease.

The same function serves the return from checkout, the my-* endpoints and, event by event, the inbox.
"""

import logging
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from django.db import transaction

from payments import mirror
from payments.services.leases import Lease, LeaseLost, end_lease, take_lease, writing_under
from payments.services.objects.catalogue import write_catalogue
from payments.services.objects.checkout import bind_checkout_customer, write_checkout_session
from payments.services.objects.customer import CUSTOMERS, write_customer
from payments.services.objects.money import write_money
from payments.services.objects.payment import INVOICES, subscription_id_of
from payments.services.objects.subscription import SUBSCRIPTIONS, write_subscription
from payments.services.ownership import Cause, Scope
from payments.services.snapshot import SESSIONS, Snapshot, StripeObject, root_of
from payments.services.standing import follow_standings
from payments.services.trials import note_trials
from payments.stripe_api import stripe_account

logger = logging.getLogger(__name__)

Collect = Callable[[Snapshot, str], StripeObject | None]
MAX_ROOTS = 3


class Observer(Protocol):
    """Looks at the rows around a write; one that does not keep it has it rolled back."""

    keeps: bool

    def watching(self, scope: Scope, snapshot: Snapshot) -> AbstractContextManager[None]:
        """Surround the write, in its transaction."""
        ...


def sync_object(
    *,
    project_id: uuid.UUID,
    mode: str,
    collect: Collect,
    object_id: str,
    root: str = "",
    wait_seconds: float = 5.0,
    cause: Cause | None = None,
    observer: Observer | None = None,
) -> StripeObject | None:
    """Read one object and what hangs on it, write the rows and return the object; None when Stripe has none.

    `root` is what its lease is taken on, when the caller knows. Raises: SyncBusy, LeaseLost (409), StripeNotConfigured (404),
    StripeFailure (502, 503).
    """
    account = stripe_account(project_id, mode)
    scope = Scope(project_id, mode, account.account_id, cause=cause or Cause())
    if not root:
        first_look = collect(Snapshot(account), object_id)
        root = root_of(first_look) if first_look else object_id
    for _ in range(MAX_ROOTS):
        lease = take_lease(project_id=project_id, mode=mode, root=root, wait_seconds=wait_seconds)
        try:
            snapshot = Snapshot(account)
            found = collect(snapshot, object_id)
            if found is None or root_of(found) == root:
                with writing_under(lease):
                    with observer.watching(scope, snapshot) if observer else nullcontext():
                        write_snapshot(scope, snapshot)
                    if observer is None or observer.keeps:
                        follow_standings(scope, snapshot)
                if observer is None or observer.keeps:
                    write_mirror(lease, scope, snapshot)
                return found
            root = root_of(found)
        finally:
            end_lease(lease)
    raise LeaseLost()


def write_snapshot(scope: Scope, snapshot: Snapshot) -> None:
    """Write a row for everything that was read, parents first. Call inside `writing_under`, and `follow_standings` after it."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("rows that follow Stripe are written under a lease only")
    sessions = snapshot.of_kind(SESSIONS)
    for session in sessions.values():
        if session is not None:
            bind_checkout_customer(scope, session)
    for customer_id, customer in snapshot.of_kind(CUSTOMERS).items():
        write_customer(scope, customer_id, customer, snapshot)
    invoices = snapshot.of_kind(INVOICES)
    invoices_of = _by_subscription(invoices.values())
    for subscription_id, subscription in snapshot.of_kind(SUBSCRIPTIONS).items():
        read_besides = invoices_of.get(subscription_id, ())
        write_subscription(scope, subscription_id, subscription, read_besides, snapshot.unpaid.get(subscription_id))
    write_money(scope, snapshot)
    write_catalogue(scope, snapshot)
    note_trials(scope, snapshot.of_kind(SUBSCRIPTIONS).values())
    for session_id, session in sessions.items():
        write_checkout_session(scope, session_id, session, snapshot)


def _by_subscription(invoices: Iterable[StripeObject | None]) -> dict[str, list[StripeObject]]:
    found: dict[str, list[StripeObject]] = {}
    for invoice in invoices:
        if invoice is not None:
            found.setdefault(subscription_id_of(invoice), []).append(invoice)
    return found


def write_mirror(lease: Lease, scope: Scope, snapshot: Snapshot) -> None:
    """Write the mirror in a transaction of its own that also ends the lease; nothing that goes wrong there reaches the caller."""
    try:
        with writing_under(lease, end=True):
            mirror.write_mirror_rows(scope, [found for found in snapshot.objects.values() if found is not None])
    except LeaseLost:
        return
    except Exception:
        logger.exception("mirror_write_failed project=%s root=%s", scope.project_id, lease.root)
        end_lease(lease)
