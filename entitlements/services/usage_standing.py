"""How far an end user is with each meter in a period: what is included, what goes beyond it, and what that costs.

A plan that changes within the period settles what was used until then. A period that goes on after the plan did not hold for a
while includes no second time what was included before: it carries on from there.
"""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

from entitlements.models import Meter, Plan, PlanQuota, UsageCharge, UsagePeriod, UsageTotal
from entitlements.models.usage import QUANTITY_PLACES

WARN_AT_PERCENT = (95, 80)
NOTHING = Decimal(0)
SMALLEST = Decimal(1).scaleb(-QUANTITY_PLACES)
# Digits for whatever the columns hold: with the usual 28, an absurd report cannot be rounded any more, which is an error.
WIDE = Context(prec=100)


@dataclass(frozen=True)
class Stretch:
    """A period as it is judged, whether it has a row yet or not. `paid_from`: what is included is given once from then on."""

    period: UsagePeriod | None
    starts_at: dt.datetime
    paid_from: dt.datetime | None
    subscription_id: str
    plan: Plan | None
    billable: bool


@dataclass(frozen=True)
class Standing:
    """How far an end user is with one meter in a period. `quota` None = the plan has none; `billable` = somebody pays for the rest.

    What was settled when the plan changed last is judged by no later one: what was included then stays included, and what went
    beyond stays beyond, at its price.  Units: amounts are minor units of the meter's currency.
    """

    meter: Meter
    quota: PlanQuota | None
    used: Decimal
    billable: bool
    late: Decimal = NOTHING
    settled_used: Decimal = NOTHING
    settled_overage: Decimal = NOTHING
    settled_amount: Decimal = NOTHING

    @property
    def included(self) -> Decimal | None:
        """What the plan includes, and at the least what an earlier one of the same period has covered; None without a limit."""
        if self.quota is None or self.quota.included is None:
            return None
        return max(self.quota.included, self.settled_used - self.settled_overage)

    @property
    def counted(self) -> Decimal:
        """What of the use counts against it: what went beyond an earlier plan is paid for already."""
        return self.used - self.settled_overage

    @property
    def remaining(self) -> Decimal | None:
        """What is left of it; None without a limit."""
        return None if self.included is None else max(self.included - self.counted, NOTHING)

    @property
    def percent(self) -> Decimal | None:
        """How much of it is used, to two decimals, rounded down: 79.999 is not 80. None without a limit, and of nothing."""
        if not self.included:
            return None
        share = WIDE.divide(WIDE.multiply(self.counted, Decimal(100)), self.included)
        return share.quantize(Decimal("0.01"), ROUND_DOWN, WIDE)

    @property
    def _beyond(self) -> Decimal:
        return NOTHING if self.included is None else max(self.counted - self.included, NOTHING)

    @property
    def overage(self) -> Decimal:
        """What was used beyond it."""
        return self.settled_overage + self._beyond

    @property
    def unit_amount(self) -> Decimal:
        """What a unit beyond it costs."""
        if self.quota is not None and self.quota.unit_amount is not None:
            return self.quota.unit_amount
        return self.meter.unit_amount

    @property
    def amount(self) -> Decimal:
        """What all of it costs, exactly."""
        if not self.billable:
            return NOTHING
        return WIDE.add(self.settled_amount, WIDE.multiply(self._beyond, self.unit_amount))

    @property
    def amount_cents(self) -> int:
        """What all of it costs, rounded half up once."""
        return rounded(self.amount)

    def after(self, quantity: Decimal) -> "Standing":
        """Return where they would be after using more."""
        return replace(self, used=self.used + quantity)

    @property
    def is_blocked(self) -> bool:
        """Say whether this is further than the quota lets anybody go."""
        if self.quota is None or self.included is None or self.quota.block_at_percent is None:
            return False
        return self.counted * 100 > self.included * self.quota.block_at_percent

    @property
    def is_full(self) -> bool:
        """Say whether the smallest bit more would be refused."""
        return self.after(SMALLEST).is_blocked

    @property
    def warning_percent(self) -> int | None:
        """Name the highest mark that is reached: 80 or 95; None below, and without a limit."""
        if self.included is None or not self.counted:
            return None
        return next((mark for mark in WARN_AT_PERCENT if self.counted * 100 >= self.included * mark), None)


def rounded(amount: Decimal) -> int:
    """Round an exact amount in minor units half up."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP, WIDE))


def stretch_of(period: UsagePeriod) -> Stretch:
    """Describe a period by its row alone."""
    return Stretch(
        period, period.starts_at, period.paid_from, period.subscription_id, period.plan, billable=period.is_billable
    )


def standings(
    project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, *, stretch: Stretch, meters: Sequence[Meter]
) -> list[Standing]:
    """Tell how far an end user is with each of these meters. Two queries, and three more where a period goes on."""
    totals: dict[uuid.UUID, UsageTotal] = {}
    if stretch.period is not None:
        rows = UsageTotal.objects.for_project(project_id).filter(mode=mode, period=stretch.period, meter__in=meters)
        totals = {row.meter_id: row for row in rows}
    quotas = quotas_of(stretch.plan)
    carried = _carried(project_id, mode, end_user_id, stretch)
    return [
        _standing(meter, quotas.get(meter.pk), totals.get(meter.pk), carried[meter.pk], stretch.billable)
        for meter in meters
    ]


def settle_totals(period: UsagePeriod, *, owed: bool = True) -> None:
    """Settle what was used until now by the plan that held until now. The caller holds the row, which still names that plan.

    Without `owed` nothing of it went beyond: nobody paid for it.
    """
    rows = UsageTotal.objects.for_project(period.project_id).filter(mode=period.mode, period=period)
    totals = list(rows.select_related("meter"))
    whose = (period.project_id, period.mode, period.end_user_id)
    found = standings(*whose, stretch=stretch_of(period), meters=[total.meter for total in totals])
    for total, standing in zip(totals, found, strict=True):
        total.settled_used = total.used
        total.settled_overage = standing.overage if owed else NOTHING
        total.settled_amount = standing.amount if owed else NOTHING
    UsageTotal.objects.bulk_update(totals, ["settled_used", "settled_overage", "settled_amount"])


def _standing(
    meter: Meter, quota: PlanQuota | None, total: UsageTotal | None, carried: Decimal, billable: bool
) -> Standing:
    if total is None:
        return Standing(meter, quota, carried, billable, settled_used=carried)
    return Standing(
        meter,
        quota,
        carried + total.used,
        billable,
        total.late,
        # What was covered before counts as used, and none of it as beyond.
        carried + total.settled_used,
        total.settled_overage,
        total.settled_amount,
    )


def _carried(project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, stretch: Stretch) -> dict[uuid.UUID, Decimal]:
    """Tell how much of what is included was used in earlier parts of the same paid stretch; no query where there is none."""
    carried: dict[uuid.UUID, Decimal] = defaultdict(Decimal)
    if not stretch.subscription_id or stretch.paid_from is None or stretch.starts_at <= stretch.paid_from:
        return carried
    rows = UsagePeriod.objects.of_user(project_id=project_id, mode=mode, end_user_id=end_user_id)
    rows = rows.filter(subscription_id=stretch.subscription_id, paid_from=stretch.paid_from)
    earlier = list(rows.filter(starts_at__lt=stretch.starts_at).select_related("plan").order_by("starts_at"))
    if not earlier:
        return carried
    totals = UsageTotal.objects.for_project(project_id).filter(mode=mode, period__in=earlier).select_related("meter")
    charges = UsageCharge.objects.for_project(project_id).filter(mode=mode, period__in=earlier)
    charged = {(one.period_id, one.meter_id): one.overage for one in charges}
    by_period = defaultdict(list)
    for total in totals:
        by_period[total.period_id].append(total)
    for row in earlier:
        quotas = quotas_of(row.plan) if row.closed_at is None else {}
        for total in by_period[row.pk]:
            meter_id = total.meter_id
            if row.closed_at is not None:
                beyond = charged.get((row.pk, meter_id), NOTHING)
            else:
                before = carried[meter_id]
                beyond = _standing(total.meter, quotas.get(meter_id), total, before, row.is_billable).overage
            carried[meter_id] += total.used - beyond
    return carried


def quotas_of(plan: Plan | None) -> dict[uuid.UUID, PlanQuota]:
    """Return a plan's quotas by meter. One query."""
    if plan is None:
        return {}
    return {row.meter_id: row for row in PlanQuota.objects.for_project(plan.project_id).filter(plan=plan)}
