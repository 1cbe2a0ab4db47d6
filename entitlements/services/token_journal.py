"""What Redis counted goes to PostgreSQL, at least once a second, and back when Redis lost it.

Invariant: an entry is taken out of the journal after it was committed, and only as it was read. It says how much was used in all,
not how much more: written twice, late or by two writers at once, it counts once.
"""

import datetime as dt
import logging
import uuid
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now

from common.batches import repeat_statement
from entitlements.models import MarkKind, TokenMark
from entitlements.services.token_facts import NOTHING
from entitlements.services.token_periods import OpenPeriod
from entitlements.services.token_store import KEYS_MAX, StoreDown, answer_key, token_store

logger = logging.getLogger(__name__)

PAGE = 1000
PAGES_MAX = 1000
PRUNE_BATCH = 1000
PRUNE_SECONDS_MAX = 60.0


@dataclass
class Entries:
    """One page of the journal, sorted by where it goes."""

    uses: list[tuple[str, str, int]] = field(default_factory=list)
    marks: list[tuple[Any, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, page: dict[str, str]) -> "Entries":
        """Read a page. What cannot be read is left out, and said: it must not hold up the rest."""
        entries = cls()
        for name, value in page.items():
            try:
                entries._add(name, value)
            except ValueError:
                logger.error("token_journal_entry_is_odd entry=%s", name[:120])
        return entries

    def _add(self, name: str, value: str) -> None:
        if name.startswith("u:"):
            _, period, era = name.split(":")
            self.uses.append((str(uuid.UUID(period)), era, int(value)))
            return
        short, project, mode, end_user, what = name.split(":")
        whose = (str(uuid.UUID(project)), mode, str(uuid.UUID(end_user)))
        if short == "r":
            tokens, expires, closed = value.split(" ")
            self.marks.append((*whose, MarkKind.RESERVATION, what, "", int(tokens), closed == "1", int(expires)))
        else:
            expires, _, kept = value.partition("\n")
            self.marks.append((*whose, MarkKind.KEY, what, kept, 0, False, int(expires)))


def write_journal() -> int:
    """Write everything that the journal holds at the moment. Returns how many entries. Raises StoreDown, OperationalError."""
    store, cursor, written = token_store(), 0, 0
    for _ in range(PAGES_MAX):
        cursor, page = store.journal_page(cursor, PAGE)
        if page:
            write_entries(Entries.of(page))
            store.note_written(page)
            written += len(page)
        if cursor == 0:
            break
    return written


def write_journal_in_turn(*, writer: str, interval_seconds: float) -> int:
    """As write_journal, unless another process does it at the moment; nothing while Redis is away."""
    try:
        if not token_store().may_write(writer, for_ms=int(interval_seconds * 800)):
            return 0
        return write_journal()
    except StoreDown:
        return 0


# Rows whose period or user is deleted have nowhere to go and are left out.
_WRITE_USES = """
    INSERT INTO entitlements_tokenuse AS kept (id, project_id, mode, period_id, era, used_tokens, journalled_at)
    SELECT gen_random_uuid(), period.project_id, period.mode, period.id, given.era, given.used, now()
    FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS given(period, era, used)
    JOIN entitlements_tokenperiod period ON period.id = given.period
    ORDER BY period.id, given.era
    ON CONFLICT (period_id, project_id, mode, era) DO UPDATE
    SET used_tokens = excluded.used_tokens, journalled_at = excluded.journalled_at
    WHERE kept.used_tokens < excluded.used_tokens
"""
# A reservation that is closed stays closed; a key that is used again after its time gets its new answer.
_WRITE_MARKS = """
    INSERT INTO entitlements_tokenmark AS kept
        (id, project_id, mode, end_user_id, kind, name, value, tokens, closed, in_outage, expires_at)
    SELECT gen_random_uuid(), person.project_id, given.mode, person.id, given.kind, given.name, given.value, given.tokens,
        given.closed, false, to_timestamp(given.expires_ms / 1000.0)
    FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bool[], %s::bigint[])
        AS given(project, mode, end_user, kind, name, value, tokens, closed, expires_ms)
    JOIN projects_enduser person ON person.id = given.end_user AND person.project_id = given.project
    ORDER BY person.id, given.mode, given.kind, given.name
    ON CONFLICT (end_user_id, project_id, mode, kind, name) DO UPDATE
    SET closed = excluded.closed, value = excluded.value, expires_at = excluded.expires_at
    WHERE excluded.closed AND NOT kept.closed
        OR excluded.kind = 'key' AND excluded.expires_at > kept.expires_at
"""


def write_entries(entries: Entries) -> None:
    """Write one page, all of it or nothing."""
    with transaction.atomic(), connection.cursor() as cursor:
        if entries.uses:
            cursor.execute(_WRITE_USES, [list(column) for column in zip(*entries.uses, strict=True)])
        if entries.marks:
            cursor.execute(_WRITE_MARKS, [list(column) for column in zip(*entries.marks, strict=True)])


def facts_of(period: OpenPeriod, *, with_marks: bool, **whose: Any) -> dict[str, Any]:
    """Return what Redis is told of an account: its period, what was used of it, and with marks also what was open and answered."""
    reservations, keys = _marks(**whose) if with_marks else ([], [])
    return {
        "period": str(period.id),
        "limit": "" if period.limit_tokens is None else str(period.limit_tokens),
        "starts": _seconds(period.starts_at),
        "ends": _seconds(period.ends_at) or NOTHING,
        "until": _seconds(period.sure_until),
        "uses": period.uses,
        "reservations": reservations,
        "keys": keys,
    }


def _seconds(at: dt.datetime | None) -> str:
    return "" if at is None else str(int(at.timestamp()))


def _marks(**whose: Any) -> tuple[list[Any], list[Any]]:
    rows = TokenMark.objects.filter(**whose, closed=False, expires_at__gt=Now())
    reservations, keys = [], []
    for mark in rows.order_by("-expires_at")[: 2 * KEYS_MAX]:
        expires_ms = int(mark.expires_at.timestamp() * 1000)
        if mark.kind == MarkKind.KEY:
            keys.append([answer_key(mark.name), mark.value, expires_ms])
        elif not mark.in_outage:
            reservations.append([mark.name, mark.tokens, expires_ms])
    return reservations, keys[:KEYS_MAX]


# The index token_mark_expiry finds them, oldest first. Materialized: a plan that picked anew for each row would delete more than
# was asked for.
_PRUNE = """
    WITH old AS MATERIALIZED (
        SELECT id FROM entitlements_tokenmark WHERE expires_at < now() ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
    DELETE FROM entitlements_tokenmark mark USING old WHERE mark.id = old.id
"""


def prune_marks(*, batch: int = PRUNE_BATCH, seconds_max: float = PRUNE_SECONDS_MAX) -> int:
    """Delete idempotency keys and reservations that have expired, a batch per statement. Returns how many.

    Each batch is committed by itself: a run that is cut off has lost nothing, and two runs share the work.
    """
    return repeat_statement(_PRUNE, [], batch=batch, seconds_max=seconds_max)
