"""Takes reports of usage: each counts once, in one period, and the total moves in the transaction that stores it.

Invariant: of a request all reports are stored or none; a key that was used before counts nothing a second time, and says so.
"""

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from common import clock
from common.errors import FieldError
from common.ids import uuid7
from entitlements.models import Meter, UsageCharge, UsageEvent, UsagePeriod, UsageTotal
from entitlements.services.meters import find_meters, meters_named
from entitlements.services.quotas import UnknownMeter
from entitlements.services.usage_periods import (
    OLDEST,
    Span,
    current_period,
    look_at_period,
    period_for,
    with_unpaid_periods,
)
from entitlements.services.usage_standing import Standing, standings

BATCH_MAX = 1000
# Clocks differ a little. Source for both bounds: https://docs.stripe.com/api/billing/meter-event/create
NEWEST = dt.timedelta(minutes=5)
SERVER = ""
SHOWN_CHARGES = 50


@dataclass(frozen=True)
class UsageReport:
    """One report as it came. `loc` is where in the request it stood, for refusals."""

    meter: str
    quantity: Decimal
    key: str
    happened_at: dt.datetime | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    loc: tuple[str | int, ...] = ("body",)


@dataclass(frozen=True)
class Outcome:
    """What became of a report. `differs`: its key was used before for something else, which is what counts."""

    key: str
    accepted: bool
    late: bool = False
    differs: bool = False


@dataclass(frozen=True)
class UsageSummary:
    """Where an end user is in the running period, and what earlier ones cost, the newest first."""

    span: Span
    standings: list[Standing]
    charges: list[UsageCharge]


# One statement: what is new is stored and added to its totals, and its keys are answered. Both parts go in one order, so that
# two requests at once wait for each other and never both ways.
_COUNT = """
    WITH given AS (
        SELECT * FROM unnest(
            %(ids)s::uuid[], %(keys)s::text[], %(meters)s::uuid[], %(periods)s::uuid[], %(quantities)s::numeric[],
            %(times)s::timestamptz[], %(late)s::boolean[], %(metadata)s::text[]
        ) AS one(id, event_key, meter_id, period_id, quantity, happened_at, late, metadata)
    ), added AS (
        INSERT INTO entitlements_usageevent
            (id, project_id, mode, end_user_id, reporter, event_key, meter_id, period_id, quantity, happened_at, late, metadata)
        SELECT id, %(project)s, %(mode)s, %(end_user)s, %(reporter)s, event_key, meter_id, period_id, quantity, happened_at,
            late, metadata::jsonb
        FROM given ORDER BY event_key
        ON CONFLICT (project_id, mode, reporter, event_key) DO NOTHING
        RETURNING event_key, meter_id, period_id, quantity, late
    ), summed AS (
        INSERT INTO entitlements_usagetotal AS total (id, project_id, mode, period_id, meter_id, used, events, late)
        SELECT gen_random_uuid(), %(project)s, %(mode)s, period_id, meter_id, sum(quantity), count(*),
            coalesce(sum(quantity) FILTER (WHERE late), 0)
        FROM added GROUP BY period_id, meter_id ORDER BY period_id, meter_id
        ON CONFLICT (project_id, mode, period_id, meter_id) DO UPDATE
        SET used = total.used + excluded.used, events = total.events + excluded.events, late = total.late + excluded.late
    )
    SELECT event_key, late FROM added
"""
# Usage that a total does not have, or has too much of; nothing while every total is the sum of its events and of what was folded.
USAGE_DIFFERENCES = """
    SELECT coalesce(total.project_id, summed.project_id) AS project_id, coalesce(total.mode, summed.mode) AS mode,
        coalesce(total.period_id, summed.period_id) AS period_id, coalesce(total.meter_id, summed.meter_id) AS meter_id,
        coalesce(total.used, 0) - coalesce(total.folded_used, 0) - coalesce(summed.used, 0) AS used
    FROM entitlements_usagetotal total
    FULL JOIN (
        SELECT project_id, mode, period_id, meter_id, sum(quantity) AS used, count(*) AS events,
            coalesce(sum(quantity) FILTER (WHERE late), 0) AS late
        FROM entitlements_usageevent GROUP BY project_id, mode, period_id, meter_id
    ) summed USING (project_id, mode, period_id, meter_id)
    WHERE total.used - total.folded_used IS DISTINCT FROM coalesce(summed.used, 0)
        OR total.events - total.folded_events IS DISTINCT FROM coalesce(summed.events, 0)
        OR total.late - total.folded_late IS DISTINCT FROM coalesce(summed.late, 0)
"""

# Two periods of one user and mode in which the same moment lies; none ever.
OVERLAPS = """
    SELECT period.project_id, period.mode, period.id, other.id AS other_id
    FROM entitlements_usageperiod period JOIN entitlements_usageperiod other
        ON other.project_id = period.project_id AND other.mode = period.mode AND other.end_user_id = period.end_user_id
        AND other.starts_at > period.starts_at AND other.starts_at < period.ends_at
"""


def report_usage(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, reports: Sequence[UsageReport], reporter: str = SERVER
) -> list[Outcome]:
    """Count reports of one end user's usage, each key once; all of them or none.

    `reporter` is the end user's id where they report themselves: keys of theirs are apart from the server's.
    Raises: UnknownMeter (422), FieldError (422) for a time out of bounds.
    """
    moment = clock.now()
    meters = check_reports(project_id=project_id, reports=reports, moment=moment)
    if any(meter._state.adding for meter in meters.values()):
        meters = find_meters(project_id=project_id, codes=list(meters))
    # Of one key that a request has twice, the first counts.
    first: dict[str, UsageReport] = {}
    for report in reports:
        first.setdefault(report.key, report)
    whose = {"project_id": project_id, "mode": mode, "end_user_id": end_user_id}
    with transaction.atomic():
        current, recent = current_period(**whose, moment=moment)  # type: ignore[arg-type]
        recent = with_unpaid_periods(recent, current, {one.happened_at for one in first.values() if one.happened_at})
        added = _count(whose, reporter, [_row(report, meters, current, recent, moment) for report in first.values()])
    known = _known_before(whose, reporter, [key for key in first if key not in added])
    outcomes: list[Outcome] = []
    for report in reports:
        if report.key in added and first[report.key] is report:
            outcomes.append(Outcome(report.key, accepted=True, late=added[report.key]))
            continue
        counted = known.get(report.key) or _as_counted(first[report.key], meters, end_user_id)
        differs = counted != _as_counted(report, meters, end_user_id)
        outcomes.append(Outcome(report.key, accepted=False, differs=differs))
    return outcomes


def read_usage(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> UsageSummary:
    """Tell how much of each meter an end user has used in the running period and what it will cost, and earlier charges."""
    whose: dict[str, Any] = {"project_id": project_id, "mode": mode, "end_user_id": end_user_id}
    period, span = look_at_period(**whose, moment=clock.now())
    meters = list(Meter.objects.for_project(project_id).order_by("code"))
    found = standings(project_id, mode, end_user_id, stretch=span.of(period), meters=meters)
    charges = UsageCharge.objects.for_project(project_id).filter(mode=mode, end_user_id=end_user_id)
    newest = charges.select_related("period", "meter").order_by("-period__starts_at", "meter__code")[:SHOWN_CHARGES]
    return UsageSummary(span, [one for one in found if one.meter.active or one.used], list(newest))


def expected_overage(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, moment: dt.datetime
) -> list[Standing]:
    """Tell which meters will be billed for the running period as it stands. One query where nothing was used."""
    rows = UsagePeriod.objects.of_user(project_id=project_id, mode=mode, end_user_id=end_user_id)
    if not rows.filter(closed_at=None, starts_at__lte=moment, ends_at__gt=moment).exclude(subscription_id="").exists():
        return []
    period, span = look_at_period(project_id=project_id, mode=mode, end_user_id=end_user_id, moment=moment)
    meters = [total.meter for total in used_in(period)] if period else []
    found = standings(project_id, mode, end_user_id, stretch=span.of(period), meters=meters)
    return [one for one in found if one.amount_cents]


def check_reports(
    *, project_id: uuid.UUID, reports: Sequence[UsageReport], moment: dt.datetime | None = None
) -> dict[str, Meter]:
    """Refuse what would be refused; returns the meters, of which some may not be made yet. Writes nothing.

    Raises: as report_usage.
    """
    now = moment or clock.now()
    for report in reports:
        if report.happened_at is not None and not now - OLDEST <= report.happened_at <= now + NEWEST:
            raise FieldError(
                *report.loc, "timestamp", msg=f"Give a time of the last {OLDEST.days} days, at most 5 minutes ahead."
            )
    known = meters_named(project_id=project_id, codes={report.meter for report in reports})
    for report in reports:
        if report.meter not in known:
            raise UnknownMeter(*report.loc, "meter")
    return known


def _row(
    report: UsageReport,
    meters: dict[str, Meter],
    current: UsagePeriod,
    recent: Sequence[UsagePeriod],
    moment: dt.datetime,
) -> UsageEvent:
    happened_at = report.happened_at or moment
    period = period_for(recent, current, happened_at)
    return UsageEvent(
        id=uuid7(),
        event_key=report.key,
        meter=meters[report.meter],
        period=period,
        quantity=report.quantity,
        happened_at=happened_at,
        late=happened_at < period.starts_at,
        metadata=report.metadata,
    )


def _count(whose: dict[str, Any], reporter: str, rows: Sequence[UsageEvent]) -> dict[str, bool]:
    """Store what is new and add it up; returns the keys that counted, and whether late. One statement."""
    values = {
        "project": whose["project_id"],
        "mode": whose["mode"],
        "end_user": whose["end_user_id"],
        "reporter": reporter,
        "ids": [row.id for row in rows],
        "keys": [row.event_key for row in rows],
        "meters": [row.meter_id for row in rows],
        "periods": [row.period_id for row in rows],
        "quantities": [row.quantity for row in rows],
        "times": [row.happened_at for row in rows],
        "late": [row.late for row in rows],
        "metadata": [json.dumps(row.metadata) for row in rows],
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, values)
        return dict(cursor.fetchall())


def _known_before(
    whose: dict[str, Any], reporter: str, keys: Sequence[str]
) -> dict[str, tuple[uuid.UUID, uuid.UUID, Decimal]]:
    """Read what counted under keys that were used before."""
    if not keys:
        return {}
    rows = UsageEvent.objects.for_project(whose["project_id"]).filter(mode=whose["mode"], reporter=reporter)
    found = rows.filter(event_key__in=keys).values_list("event_key", "end_user_id", "meter_id", "quantity")
    return {key: (end_user_id, meter_id, quantity) for key, end_user_id, meter_id, quantity in found}


def _as_counted(
    report: UsageReport, meters: dict[str, Meter], end_user_id: uuid.UUID
) -> tuple[uuid.UUID, uuid.UUID, Decimal]:
    return end_user_id, meters[report.meter].pk, report.quantity


def used_in(period: UsagePeriod) -> list[UsageTotal]:
    """Return what was used in a period, by meter."""
    rows = UsageTotal.objects.for_project(period.project_id).filter(mode=period.mode, period=period)
    return list(rows.select_related("meter").order_by("meter__code"))
