"""Asks for exports, makes them and lets them expire. A file is made by one worker at a time, anew when that one died.

Invariant: every piece of a file is of the attempt that marked it as ready; what its maker may no longer see is not in it.
"""

import datetime as dt
import logging
from collections.abc import Iterator

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.http import QueryDict

from accounts.models import User
from backoffice.models import Export, ExportPart
from backoffice.services.exports.listings import (
    FILTERS_CHARS_MAX,
    LISTINGS,
    FilterRefused,
    Wanted,
    filtered_rows,
    is_small,
    projects_for,
    rows_of,
    sees_everything,
)
from backoffice.services.exports.writing import Chunks, write_csv, write_xlsx
from common.errors import Conflict, FieldError, Forbidden
from common.logs import redact
from common.rate_limits import RateLimit, count_call
from moderation.services.action_log import log_action

logger = logging.getLogger(__name__)
Status = Export.Status
# So many rows are written while the maker waits; more in the background.
AT_ONCE_ROWS = 2000
ROWS_MAX = 2_000_000
LEASE = dt.timedelta(minutes=2)
KEPT_FOR = dt.timedelta(hours=24)
WAITING_MAX = 3
MADE_AT_ONCE = 2
EXPORTS = RateLimit("exports", 30, 3600)


class NotYours(Forbidden):
    """403: the list or the project is not one whose rows this person may take away."""

    code = "export_not_allowed"
    detail = "You may not export this list of this project."


class TooManyExports(Conflict):
    """409: the person's other exports come first."""

    code = "exports_waiting"
    detail = "Your other exports are still being made. Wait for one of them."


class TooLarge(Exception):
    """More rows than one file may have."""


class TakenOver(Exception):
    """Another worker makes this file now, or it was stopped."""


def request_export(*, actor: User, wanted: Wanted, file_format: str) -> Export:
    """Ask for a file and log it; a small one is made at once.

    Raises: FieldError (422), NotYours (403), TooManyExports (409), TooManyRequests (429).
    """
    listing = LISTINGS.get(wanted.what)
    if listing is None or file_format not in Export.Format.values:
        raise FieldError("what", msg="There is no such list or format.")
    if wanted.since and wanted.until and wanted.since > wanted.until:
        raise FieldError("until", msg="The last day comes before the first.")
    if wanted.project_id is None and not sees_everything(actor, listing):
        raise FieldError("project", msg="Choose one of your projects.")
    if wanted.project_id is not None and not projects_for(actor, listing).filter(pk=wanted.project_id).exists():
        raise NotYours()
    if len(wanted.filters) > FILTERS_CHARS_MAX:
        raise FilterRefused()
    filtered_rows(actor, wanted)
    count_call(EXPORTS, f"user:{actor.pk}")
    with transaction.atomic():
        # Of several requests of one person at once, one is counted after the other.
        User.objects.select_for_update(no_key=True).get(pk=actor.pk)
        if Export.objects.filter(made_by=actor, status__in=[Status.PENDING, Status.RUNNING]).count() >= WAITING_MAX:
            raise TooManyExports()
        export = Export.objects.create(
            made_by=actor,
            project_id=wanted.project_id,
            mode=wanted.mode if listing.has_mode else "",
            what=wanted.what,
            since=wanted.since,
            until=wanted.until,
            filters=wanted.filters,
            format=file_format,
        )
        log_action(
            action="export.create",
            subject=str(export.pk),
            actor=actor,
            project_id=wanted.project_id,
            mode=export.mode,
            details={
                "list": wanted.what,
                "format": file_format,
                "since": str(wanted.since or ""),
                "until": str(wanted.until or ""),
                # What was searched for may be an address: the log keeps by what, and the file's own row the rest for a day.
                **({"filtered_by": sorted(QueryDict(wanted.filters))} if wanted.filters else {}),
            },
        )
    if is_small(actor, wanted, AT_ONCE_ROWS):
        make_export(export)
    export.refresh_from_db()
    return export


def make_due_exports() -> int:
    """Make what waits, the oldest first, a few over all workers at a time; returns how many were begun."""
    begun = 0
    while (export := _next_due()) is not None:
        begun += make_export(export)
    return begun


def make_export(export: Export) -> bool:
    """Make a file from its beginning; False when another worker does."""
    free = Q(status=Status.PENDING) | Q(status=Status.RUNNING, lease_until__lt=Now())
    taken = Export.objects.filter(free, pk=export.pk).update(
        status=Status.RUNNING, lease_until=Now() + LEASE, rows_written=0, size_bytes=0
    )
    if not taken:
        return False
    export.refresh_from_db()
    try:
        _write_file(export)
    except TakenOver:
        # Nobody makes it any more when it was stopped, and a piece may have been written since.
        ExportPart.objects.filter(export=export, export__status=Status.FAILED).delete()
        return False
    except TooLarge:
        _fail(export, f"More than {ROWS_MAX:,} rows. Choose fewer days, or one project.")
    except Exception as error:  # Whatever it was, the maker is told, and may ask again.
        logger.exception("export_failed")
        _fail(export, redact(f"{type(error).__name__}: {error}")[:300])
    return True


def may_fetch(actor: User, export: Export) -> bool:
    """Say whether somebody may take a file away now: its maker, while they may still see what is in it."""
    listing = LISTINGS.get(export.what)
    if listing is None or export.made_by_id != actor.pk:
        return False
    if export.project_id is None:
        return sees_everything(actor, listing)
    return projects_for(actor, listing).filter(pk=export.project_id).exists()


def pieces_of(export: Export) -> Iterator[bytes]:
    """Yield a file's pieces in order, one at a time."""
    for number in range(export.parts.count()):
        yield bytes(export.parts.values_list("content", flat=True).get(number=number))


def expire_exports() -> int:
    """Delete the pieces of files whose day is over, and what was searched for; returns how many files."""
    Export.objects.filter(status=Status.FAILED, done_at__lt=Now() - KEPT_FOR).exclude(filters="").update(filters="")
    old = list(Export.objects.filter(status=Status.DONE, expires_at__lt=Now())[:100])
    for export in old:
        with transaction.atomic():
            export.parts.all().delete()
            Export.objects.filter(pk=export.pk).update(status=Status.EXPIRED, filters="")
    return len(old)


def _next_due() -> Export | None:
    running = Export.objects.filter(status=Status.RUNNING, lease_until__gte=Now()).count()
    if running >= MADE_AT_ONCE:
        return None
    due = Export.objects.filter(Q(status=Status.PENDING) | Q(status=Status.RUNNING, lease_until__lt=Now()))
    return due.order_by("created_at").first()


def _write_file(export: Export) -> None:
    export.parts.all().delete()
    wanted = Wanted(export.what, export.project_id, export.mode, export.since, export.until, export.filters)
    listing = LISTINGS[export.what]
    headings = [heading for heading, _ in listing.columns]
    writer = write_xlsx if export.format == Export.Format.XLSX else write_csv
    lease = export.lease_until
    size = 0

    def tell(rows: int) -> None:
        nonlocal lease
        mine = Export.objects.filter(pk=export.pk, status=Status.RUNNING, lease_until=lease)
        if not mine.update(rows_written=rows, lease_until=Now() + LEASE):
            raise TakenOver()
        lease = Export.objects.values_list("lease_until", flat=True).get(pk=export.pk)

    for number, piece in enumerate(writer(headings, _limited(rows_of(export.made_by, wanted)), tell)):
        ExportPart.objects.create(export=export, number=number, content=piece)
        size += len(piece)
    done = Export.objects.filter(pk=export.pk, status=Status.RUNNING, lease_until=lease)
    if not done.update(
        status=Status.DONE, size_bytes=size, done_at=Now(), expires_at=Now() + KEPT_FOR, lease_until=None
    ):
        raise TakenOver()


def _limited(chunks: Chunks) -> Iterator[list[tuple[object, ...]]]:
    count = 0
    for chunk in chunks:
        count += len(chunk)
        if count > ROWS_MAX:
            raise TooLarge()
        yield chunk


def _fail(export: Export, why: str) -> None:
    ExportPart.objects.filter(export=export).delete()
    Export.objects.filter(pk=export.pk, status=Status.RUNNING).update(
        status=Status.FAILED, error=why, done_at=Now(), lease_until=None
    )
