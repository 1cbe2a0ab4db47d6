"""In which period usage counts: a month of the subscription that stands behind it, else a calendar month (UTC).

Invariants: periods of one end user and mode do not overlap; whoever changes them, or counts in them, holds the rows. A period that
has no event yet has no row, and is told by the same rules.
"""

import calendar
import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection
from django.db.models import Q

from common.ids import stripe_row_id
from entitlements.models import Entitlement, Plan, TokenPeriod, UsagePeriod
from entitlements.services.usage_standing import Stretch, settle_totals

# A subscription's period that is longer than this is cut into months, so that nobody waits a year for a bill.
LONGEST = dt.timedelta(days=45)
SHORTEST_MONTH = dt.timedelta(days=20)
# How far back an event may have happened: as far as Stripe's meters take it.
# Source: https://docs.stripe.com/api/billing/meter-event/create
OLDEST = dt.timedelta(days=35)
# So long after its end a period still takes what was used in it: a server reports what it has collected.
GRACE = dt.timedelta(minutes=15)


TRIALING = "trialing"


@dataclass(frozen=True)
class Span:
    """From when to when usage is added up, and on which plan; "" = no subscription pays for it.

    `paid_from` is the begin of the whole stretch for which the plan includes what it includes: another part of it may be over.
    """

    start: dt.datetime
    end: dt.datetime
    plan: Plan | None
    subscription_id: str
    trial: bool = False
    paid_from: dt.datetime | None = None

    @property
    def billable(self) -> bool:
        """Whether somebody pays for what goes beyond the plan: a subscription that is not in its trial."""
        return bool(self.subscription_id) and not self.trial

    def of(self, period: UsagePeriod | None) -> Stretch:
        """Describe the running period, with its row where it has one."""
        return Stretch(period, self.start, self.paid_from, self.subscription_id, self.plan, self.billable)


def span_at(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, moment: dt.datetime) -> Span:
    """Say in which stretch of time a moment lies by what the end user holds then. One or two queries."""
    rows = Entitlement.objects.for_project(project_id).in_mode(mode).filter(end_user=end_user_id)
    held = rows.select_related("plan").first()
    plan = held.plan if held and held.holds_at(moment) else None
    return span_of(held, plan or Plan.objects.free_of(project_id), moment)


def span_of(entitlement: Entitlement | None, plan: Plan | None, moment: dt.datetime) -> Span:
    """Say the same where the row, and the plan that holds, are known."""
    if entitlement is None or not entitlement.holds_at(moment) or entitlement.plan_id is None:
        # Also where a price is on no plan: nobody knows what it includes, so nothing is billed beyond it.
        return Span(*_calendar_month(moment), plan, "")
    begin, end = entitlement.period_start, entitlement.period_end
    if begin is None or end is None or not begin < end or moment < begin:
        start, last = _calendar_month(moment)
    else:
        start, last = _cut(begin, end, moment)
    trial = entitlement.status == TRIALING
    return Span(start, last, plan, entitlement.subscription_id, trial=trial, paid_from=start)


def follow_plan(entitlement: Entitlement, plan: Plan | None, moment: dt.datetime) -> None:
    """Let the running period follow a changed holding, in its transaction: another plan, another end, or it ends here.

    One query, and one more when something changes. A period without a row needs nothing.
    """
    rows = held_periods(
        project_id=entitlement.project_id,
        mode=entitlement.mode,
        end_user_id=entitlement.end_user_id,
        since=moment,
    )
    running = _running(rows, moment)
    if running is not None:
        _fit(running, span_of(entitlement, plan, moment), moment)


def current_period(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, moment: dt.datetime
) -> tuple[UsagePeriod, Sequence[UsagePeriod]]:
    """Return the row of the running period, made when it is missing, and all that are recent; all are held until the commit."""
    whose: dict[str, Any] = {"project_id": project_id, "mode": mode, "end_user_id": end_user_id}
    rows = held_periods(**whose, since=moment - OLDEST)
    running, span = _look(rows, whose, moment)
    begin = span.start
    if running is not None:
        cut = _fit(running, span, moment)
        if cut is None:
            return running, rows
        begin = cut
    made = UsagePeriod(
        id=_period_id(whose, begin),
        **whose,
        starts_at=begin,
        ends_at=span.end,
        plan=span.plan,
        subscription_id=span.subscription_id,
        trial=span.trial,
        paid_from=span.paid_from,
    )
    UsagePeriod.objects.bulk_create([made], ignore_conflicts=True)
    # Whoever won the race made the row that counts.
    rows = held_periods(**whose, since=moment - OLDEST)
    return next(row for row in rows if row.starts_at == begin), rows


def look_at_period(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, moment: dt.datetime
) -> tuple[UsagePeriod | None, Span]:
    """Return the running period's row, None without one, and from when to when it goes. Two or three queries, nothing is held."""
    whose: dict[str, Any] = {"project_id": project_id, "mode": mode, "end_user_id": end_user_id}
    rows = list(UsagePeriod.objects.of_user(**whose).filter(ends_at__gt=moment - OLDEST).order_by("-starts_at"))
    running, span = _look(rows, whose, moment)
    if running is None:
        return None, span
    cut = _cut_at(running, span, moment)
    begin = running.starts_at if cut is None else cut
    return running if cut is None else None, replace(span, start=begin)


def held_periods(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, since: dt.datetime) -> list[UsagePeriod]:
    """Read an end user's periods that end after a time and hold them until the commit.

    The oldest is held first: whoever did not see the newest yet, and comes back for it, must not meet somebody who began with it.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("periods are held in a transaction")
    rows = UsagePeriod.objects.of_user(project_id=project_id, mode=mode, end_user_id=end_user_id)
    return list(rows.filter(ends_at__gt=since).select_for_update(no_key=True).order_by("starts_at"))


def period_for(rows: Sequence[UsagePeriod], current: UsagePeriod, happened_at: dt.datetime) -> UsagePeriod:
    """Choose the period in which something counts: the one in which it happened while that takes events, else the running one.

    One for which nobody pays takes events also when it is closed: nothing of it is ever billed, and must not be elsewhere.
    """
    for row in rows:
        takes = row.closed_at is None or not row.is_billable
        if takes and row.starts_at <= happened_at < row.ends_at:
            return row
    return current


def with_unpaid_periods(
    rows: Sequence[UsagePeriod], current: UsagePeriod, times: Iterable[dt.datetime]
) -> Sequence[UsagePeriod]:
    """Return an end user's periods with those in which nobody paid, nothing was used until now, and these times lie.

    Without them, what was used before a purchase would be billed to it. The caller holds the rows. No query where each time has a
    period or the running one is not billed.
    """
    before = [moment for moment in sorted(times) if moment < current.starts_at and not _covering(rows, moment)]
    if not before or not current.is_billable:
        return rows
    whose: dict[str, Any] = {
        "project_id": current.project_id,
        "mode": current.mode,
        "end_user_id": current.end_user_id,
    }
    # Read anew: whoever held the rows before may have made one, and a month may have begun before the oldest of them.
    found = list(UsagePeriod.objects.of_user(**whose).filter(ends_at__gt=before[0] - OLDEST))
    for moment in before:
        if _covering(found, moment) or _was_paid(whose, moment):
            continue
        start, end = _calendar_month(moment)
        start = max([start, *(row.ends_at for row in found if row.ends_at <= moment)])
        end = min([end, *(row.starts_at for row in found if row.starts_at > moment)])
        free = Plan.objects.free_of(current.project_id)
        made = UsagePeriod(id=_period_id(whose, start), **whose, starts_at=start, ends_at=end, plan=free)
        made.save(force_insert=True)
        found.append(made)
    return found


def _covering(rows: Sequence[UsagePeriod], moment: dt.datetime) -> bool:
    return any(row.starts_at <= moment < row.ends_at for row in rows)


def _was_paid(whose: dict[str, Any], moment: dt.datetime) -> bool:
    """Say whether a moment lies in a period that a subscription was granted: with each a budget of tokens was, of whatever size."""
    rows = TokenPeriod.objects.of_user(**whose).exclude(subscription_id="")
    in_time = Q(ends_at__isnull=True) | Q(ends_at__gt=moment)
    return rows.filter(in_time, starts_at__lte=moment).exists()


def _period_id(whose: dict[str, Any], begin: dt.datetime) -> uuid.UUID:
    """Derive a period's id, so that one that a restored backup has forgotten is the same when it is made again."""
    name = f"usage_period:{whose['end_user_id']}:{begin.astimezone(dt.UTC).isoformat()}"
    return stripe_row_id(whose["project_id"], whose["mode"], name)


def _look(rows: Sequence[UsagePeriod], whose: dict[str, Any], moment: dt.datetime) -> tuple[UsagePeriod | None, Span]:
    """Find the running period among an end user's rows, and the span that it should have: it begins behind all that are over."""
    # A clock that was set back does not open again what is closed.
    moment = max([moment, *(row.ends_at for row in rows if row.closed_at is not None)])
    span = span_at(**whose, moment=moment)
    over = [row.ends_at for row in rows if row.ends_at <= moment]
    return _running(rows, moment), replace(span, start=max([span.start, *over]))


def _running(rows: Sequence[UsagePeriod], moment: dt.datetime) -> UsagePeriod | None:
    found = (row for row in rows if row.closed_at is None and row.starts_at <= moment < row.ends_at)
    return max(found, key=lambda row: row.starts_at, default=None)


def _cut_at(row: UsagePeriod, span: Span, moment: dt.datetime) -> dt.datetime | None:
    """Say where another period takes the place of the running one; None when it goes on, on whatever plan."""
    if row.subscription_id == span.subscription_id:
        return span.start if row.starts_at < span.start else None
    # Another subscription, or none any more. Where it begins in the row's past, the row is the one that becomes its own.
    cut = span.start if span.subscription_id else moment
    return cut if row.starts_at < cut else None


def _fit(row: UsagePeriod, span: Span, moment: dt.datetime) -> dt.datetime | None:
    """Make a running, held period follow a span; returns where it ends when another one follows it."""
    cut = _cut_at(row, span, moment)
    if cut is not None:
        row.ends_at = cut
        row.save(update_fields=["ends_at"])
        return cut
    plan_id = span.plan.pk if span.plan else None
    if row.subscription_id and row.subscription_id == span.subscription_id:
        if row.trial and not span.trial:
            settle_totals(row, owed=False)
        elif row.plan_id != plan_id and not row.trial:
            settle_totals(row)
    wanted = {
        "ends_at": span.end,
        "plan_id": plan_id,
        "subscription_id": span.subscription_id,
        "trial": span.trial,
        "paid_from": span.paid_from,
    }
    if any(getattr(row, name) != value for name, value in wanted.items()):
        for name, value in wanted.items():
            setattr(row, name, value)
        row.plan = span.plan
        row.save(update_fields=list(wanted))
    return None


def _calendar_month(moment: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    begin = moment.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin, _months_after(begin, 1)


def _cut(begin: dt.datetime, end: dt.datetime, moment: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Return the part of a subscription's period in which a moment lies; past its end, go on as nobody knows the next one yet."""
    length = end - begin
    if moment < end and length <= LONGEST:
        return begin, end
    if moment < end:
        first, last = month_around(begin, moment)
        # A rest of a few days belongs to the month before it.
        return first, end if last + dt.timedelta(days=3) >= end else last
    if length < SHORTEST_MONTH:
        passed = (moment - end) // length
        return end + passed * length, end + (passed + 1) * length
    return month_around(end, moment)


def month_around(anchor: dt.datetime, moment: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Count months from an anchor, always by the anchor's day: the 31st, the 28th, the 31st."""
    passed = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    if _months_after(anchor, passed) > moment:
        passed -= 1
    return _months_after(anchor, passed), _months_after(anchor, passed + 1)


def _months_after(anchor: dt.datetime, months: int) -> dt.datetime:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, last_day))
