"""Closes periods that are over: what was used beyond the quotas becomes charges, and an effect that bills them.

Invariant: a period is closed once, under its row's lock, with its charges and its effect in one transaction; who counts usage holds
the same row, so that nothing is counted in a closed period and nothing is left out of the charges. A charge has the same id
whenever it is made, so that one that a restored backup has forgotten is found at Stripe and not billed again.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Sequence

from django.db import DatabaseError, transaction

from common import clock
from common.ids import stripe_row_id
from entitlements.models import Meter, UsageCharge, UsagePeriod
from entitlements.services.usage import used_in
from entitlements.services.usage_periods import GRACE
from entitlements.services.usage_standing import Standing, standings, stretch_of
from notifications.services.outbox import record_effect
from projects.models import Project

logger = logging.getLogger(__name__)

# The kind of effect that bills a period; the payments app carries it out.
USAGE_BILL = "usage_bill"
CLOSED_AT_ONCE_MAX = 500
TOO_LITTLE = "It comes to less than half of the smallest coin."
CHANGED = "Includes what went beyond the plan that held earlier in the period."
LATE = "Includes usage that was reported after its own period was closed."
# What a row can hold. Stripe takes nothing near it: such a bill is refused there, comes before a person, and keeps no period open.
AMOUNT_MAX = 2**63 - 1

Method = UsageCharge.Method
Status = UsageCharge.Status


def close_ended_periods(*, moment: dt.datetime | None = None, limit: int = CLOSED_AT_ONCE_MAX) -> int:
    """Close what is over and past its grace, oldest first; returns how many. Two rounds at once share the work."""
    now = moment or clock.now()
    closed = 0
    failed: list[uuid.UUID] = []
    for _ in range(limit):
        due = None
        try:
            with transaction.atomic():
                due = _due(now, failed)
                if due is None:
                    return closed
                close_period(due, now)
            closed += 1
        except DatabaseError:
            if due is None:
                raise
            # The others must not wait for this one; the next round tries it again.
            logger.exception("usage_period_not_closed period=%s", due.pk)
            failed.append(due.pk)
    logger.warning("More than %s periods of usage were over; the next round closes the others.", limit)
    return closed


def _due(now: dt.datetime, failed: Sequence[uuid.UUID]) -> UsagePeriod | None:
    """Hold the oldest period that is over and that nobody holds; those of a deleted project are billed to nobody any more."""
    rows = UsagePeriod.objects.filter(closed_at__isnull=True, ends_at__lte=now - GRACE).exclude(pk__in=failed)
    rows = rows.filter(project__in=Project.objects.existing())
    return rows.order_by("ends_at").select_for_update(skip_locked=True, of=("self",)).first()


def close_period(period: UsagePeriod, now: dt.datetime) -> list[UsageCharge]:
    """Close a period that the caller holds in its transaction, and record what bills its charges."""
    charges = [charge for charge in (_charge(period, one) for one in _standings(period)) if charge is not None]
    UsageCharge.objects.bulk_create(charges)
    period.closed_at = now
    period.save(update_fields=["closed_at"])
    if any(charge.status == Status.PENDING for charge in charges):
        record_effect(
            project_id=period.project_id,
            mode=period.mode,
            kind=USAGE_BILL,
            effect_key=f"{USAGE_BILL}:{period.pk}",
            payload={"period_id": str(period.pk)},
            end_user_id=period.end_user_id,
            cause=f"usage until {period.ends_at:%Y-%m-%d}",
            # One end user's bills go out in order, and one at a time.
            lane=f"{USAGE_BILL}:{period.end_user_id}",
        )
    return charges


def charges_to_bill(*, project_id: uuid.UUID, mode: str, period_id: uuid.UUID) -> list[UsageCharge]:
    """Return a closed period's charges that are not billed yet, in the order of a bill."""
    rows = UsageCharge.objects.for_project(project_id).filter(mode=mode, period_id=period_id, status=Status.PENDING)
    return list(rows.select_related("meter", "period", "end_user").order_by("meter__code"))


def _standings(period: UsagePeriod) -> list[Standing]:
    if not period.is_billable:
        return []
    whose = (period.project_id, period.mode, period.end_user_id)
    return standings(*whose, stretch=stretch_of(period), meters=[total.meter for total in used_in(period)])


def charge_id(period: UsagePeriod, meter: Meter) -> uuid.UUID:
    """Derive the id of what a meter costs in a period: Stripe knows the charge by it."""
    begin = period.starts_at.astimezone(dt.UTC).isoformat()
    return stripe_row_id(period.project_id, period.mode, f"usage:{period.end_user_id}:{begin}:{meter.code}")


def _charge(period: UsagePeriod, standing: Standing) -> UsageCharge | None:
    """Return what one meter costs; None when nothing is owed: within the quota, without one, or nobody pays for the period."""
    if not standing.overage or not standing.amount:
        return None
    meter = standing.meter
    method = Method.METER_EVENT if meter.stripe_event_name else Method.INVOICE_ITEM
    too_little = method == Method.INVOICE_ITEM and standing.amount_cents == 0
    return UsageCharge(
        id=charge_id(period, meter),
        project_id=period.project_id,
        mode=period.mode,
        end_user_id=period.end_user_id,
        period=period,
        meter=meter,
        used=standing.used,
        included=standing.used - standing.overage if standing.included is None else standing.included,
        overage=standing.overage,
        unit_amount=standing.unit_amount,
        amount_cents=min(standing.amount_cents, AMOUNT_MAX),
        currency=meter.currency,
        method=method,
        status=Status.WAIVED if too_little else Status.PENDING,
        note=TOO_LITTLE if too_little else _note(standing),
    )


def _note(standing: Standing) -> str:
    return " ".join([CHANGED] * bool(standing.settled_overage) + [LATE] * bool(standing.late))
