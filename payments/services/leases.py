"""The right to write one root's state (a customer and all that hangs on it), held while Stripe is read without a transaction.

Invariant: between taking a lease and writing under it nobody else may have taken it; a writer whose token was replaced writes
nothing. Time is the database's clock, so that machines with wrong clocks agree.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.db import connection, transaction

from common.errors import Conflict

POLL_SECONDS = 0.05


class SyncBusy(Conflict):
    """409: somebody else is reading this customer from Stripe right now."""

    code = "sync_in_progress"
    detail = "This customer is being read from Stripe right now. Try again in a moment."
    retryable = True

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=2)


class LeaseLost(Conflict):
    """409: the lease ran out and somebody else took it; nothing was written."""

    code = "sync_lease_lost"
    detail = "Reading from Stripe took too long. Try again."
    retryable = True


@dataclass
class Lease:
    """One holding of a root; the token tells it from the holdings before and after."""

    project_id: uuid.UUID
    mode: str
    root: str
    token: uuid.UUID
    ended: bool = False


# now() would be the time at which a surrounding transaction began; a lease counts from the statement itself.
_TAKE = """
    INSERT INTO payments_synclease (project_id, mode, root, token, until)
    VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))
    ON CONFLICT (project_id, mode, root) DO UPDATE SET token = excluded.token, until = excluded.until
    WHERE payments_synclease.until <= clock_timestamp()
    RETURNING 1
"""
_CHECK = "SELECT 1 FROM payments_synclease WHERE project_id = %s AND mode = %s AND root = %s AND token = %s FOR UPDATE"
# The token goes with the lease: a renewal that began a moment before and waited for this row must not prolong it.
_END = """
    UPDATE payments_synclease SET until = clock_timestamp(), token = gen_random_uuid()
    WHERE project_id = %s AND mode = %s AND root = %s AND token = %s RETURNING 1
"""
_PURGE = "DELETE FROM payments_synclease WHERE until < now() - interval '1 day'"


def take_lease(
    *, project_id: uuid.UUID, mode: str, root: str, wait_seconds: float = 0.0, token: uuid.UUID | None = None
) -> Lease:
    """Commit a lease on a root, waiting for another holder at most so long. Raises: SyncBusy (409).

    `token` is the holder's own, new for each holding; without one a fresh one is made.
    """
    lease = Lease(project_id, mode, root, token or uuid.uuid4())
    give_up_at = time.monotonic() + wait_seconds
    while True:
        if _execute(_TAKE, lease, settings.EVENT_LEASE_SECONDS):
            return lease
        if time.monotonic() >= give_up_at:
            raise SyncBusy()
        time.sleep(POLL_SECONDS)


@contextmanager
def writing_under(lease: Lease, *, end: bool = False) -> Iterator[None]:
    """Open the one transaction that may write under a lease; with `end`, its commit also gives the lease back.

    Raises: LeaseLost (409), and then nothing is written.
    """
    with transaction.atomic():
        if not _execute(_END if end else _CHECK, lease):
            raise LeaseLost()
        yield
    lease.ended = lease.ended or end


def end_lease(lease: Lease) -> None:
    """Give a lease back; does nothing when it was lost or given back already."""
    if not lease.ended:
        _execute(_END, lease)
        lease.ended = True


def purge_old_leases() -> None:
    """Delete rows that nobody held for a day, so that the table follows activity and not history."""
    with connection.cursor() as cursor:
        cursor.execute(_PURGE)


def _execute(statement: str, lease: Lease, *more: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, (lease.project_id, lease.mode, lease.root, lease.token, *more))
        return cursor.fetchone() is not None
