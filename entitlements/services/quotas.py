"""How much of each meter a plan includes, how far somebody is, and whether they may go on.

A meter without a quota is neither limited nor billed. Beyond what is included usage is billed where a subscription pays for the
period, and refused past the quota's block: 110 % unless the quota says otherwise.
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import transaction

from common.errors import FieldError
from common.ids import uuid7
from entitlements.models import Plan, PlanQuota
from entitlements.models.usage import QUANTITY_PLACES, RATE_DIGITS, RATE_PLACES, TOTAL_DIGITS
from entitlements.services.meters import DEFAULT_METERS, find_meters, meters_named
from entitlements.services.usage_periods import Span, look_at_period
from entitlements.services.usage_standing import Standing, standings

BLOCK_AT_PERCENT = 110
BLOCK_PERCENT_MAX = 100_000
UNLIMITED = "unlimited"
QUOTA_KEYS = ("included", "block_at_percent", "unit_amount")


@dataclass(frozen=True)
class Verdict:
    """Where somebody is with a meter, and where they would be after using more."""

    now: Standing
    after: Standing
    span: Span

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """Tell what the highest mark means that would be reached: a word for machines, and a sentence."""
        after, mark = self.after, self.after.warning_percent
        if after.is_blocked:
            assert after.quota is not None
            return [
                ("quota_exceeded", f"Use past {after.quota.block_at_percent} % of what the plan includes is refused.")
            ]
        if mark is None:
            return []
        if after.overage:
            what = "is billed" if after.billable else "goes beyond the plan"
            return [("quota_exceeded", f"All that the plan includes is used; {plain(after.overage)} {what}.")]
        return [(f"quota_{mark}", f"{mark} % of what the plan includes is used.")]


class UnknownMeter(FieldError):
    """422: the project counts no such thing."""

    def __init__(self, *loc: str | int) -> None:
        usual = ", ".join(DEFAULT_METERS)
        super().__init__(*loc, msg=f"This project has no such meter. The usual ones are {usual}.")


def can_execute(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, meter_code: str, quantity: Decimal, moment: dt.datetime
) -> Verdict:
    """Say where an end user is with a meter and where they would be after using more; nothing is reserved, nothing is written.

    Raises: UnknownMeter (422).
    """
    meter = meters_named(project_id=project_id, codes=[meter_code]).get(meter_code)
    if meter is None:
        raise UnknownMeter("body", "meter")
    period, span = look_at_period(project_id=project_id, mode=mode, end_user_id=end_user_id, moment=moment)
    whose = (project_id, mode, end_user_id)
    (now,) = standings(*whose, stretch=span.of(period), meters=[meter])
    return Verdict(now, now.after(quantity), span)


def read_quotas(*, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return a plan's quotas in the words of `set_quotas`, by the meter's code, exact numbers as texts."""
    rows = (
        PlanQuota.objects.for_project(plan.project_id).filter(plan=plan).select_related("meter").order_by("meter__code")
    )
    return {row.meter.code: _words(row.included, row.block_at_percent, row.unit_amount) for row in rows}


def set_quotas(*, plan: Plan, quotas: Mapping[str, Any]) -> None:
    """Make these a plan's quotas, and the only ones. They hold from now on, also for periods that are running.

    Each is a number, or a table with `included` (a number or "unlimited"), `block_at_percent` (110 unless given; "never") and
    `unit_amount` (minor units per unit; the meter's unless given).  Raises: FieldError (422) that names the meter and the key.
    """
    wanted = {code: checked_quota(code, value) for code, value in quotas.items()}
    meters = find_meters(project_id=plan.project_id, codes=wanted)
    for code in wanted:
        if code not in meters:
            raise UnknownMeter("quotas", code)
    with transaction.atomic():
        rows = PlanQuota.objects.for_project(plan.project_id).filter(plan=plan)
        rows.exclude(meter__code__in=wanted).delete()
        PlanQuota.objects.bulk_create(
            [
                PlanQuota(id=uuid7(), project_id=plan.project_id, plan=plan, meter=meters[code], **values)
                for code, values in wanted.items()
            ],
            update_conflicts=True,
            unique_fields=["project", "plan", "meter"],
            update_fields=list(QUOTA_KEYS),
        )


def checked_quota(code: str, value: Any) -> dict[str, Any]:
    """Read one quota as people write it. Raises: FieldError (422) that names the meter and the key."""
    given = dict(value) if isinstance(value, Mapping) else {"included": value}
    unknown = sorted(set(given) - set(QUOTA_KEYS))
    if unknown:
        raise FieldError("quotas", code, unknown[0], msg=f"Give {', '.join(QUOTA_KEYS)}.")
    if "included" not in given:
        raise FieldError("quotas", code, "included", msg='Give a number, or "unlimited".', type="missing")
    included: Decimal | None = None
    if given["included"] != UNLIMITED:
        included = _exact(given["included"], TOTAL_DIGITS, QUANTITY_PLACES, "quotas", code, "included")
    block = given.get("block_at_percent", BLOCK_AT_PERCENT)
    if block == "never":
        block = None
    elif type(block) is not int or not 100 <= block <= BLOCK_PERCENT_MAX:
        raise FieldError("quotas", code, "block_at_percent", msg='Give a whole number from 100 on, or "never".')
    rate = given.get("unit_amount")
    if rate is not None:
        rate = exact_rate(rate, "quotas", code, "unit_amount")
    return {"included": included, "block_at_percent": block, "unit_amount": rate}


def quota_in_words(value: Any) -> dict[str, Any]:
    """Write a quota that somebody gave as `read_quotas` writes those that are stored, to compare the two."""
    given = checked_quota("quota", value)
    return _words(given["included"], given["block_at_percent"], given["unit_amount"])


def _words(included: Decimal | None, block: int | None, rate: Decimal | None) -> dict[str, Any]:
    words: dict[str, Any] = {
        "included": UNLIMITED if included is None else plain(included),
        "block_at_percent": "never" if block is None else block,
    }
    return words if rate is None else {**words, "unit_amount": plain(rate)}


def plain(number: Decimal) -> str:
    """Write an exact number without an exponent or zeros that say nothing."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact_rate(value: Any, *loc: str) -> Decimal:
    """Read what a unit costs, in minor units: an integer, or a text with decimals. Raises: FieldError (422)."""
    return _exact(value, RATE_DIGITS, RATE_PLACES, *loc)


def _exact(value: Any, digits: int, places: int, *loc: str) -> Decimal:
    """Read a number that must be exact: an integer, a text, or a Decimal; a float is none."""
    message = f"Give a number from 0 on with at most {places} decimals; one with decimals as a text."
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise FieldError(*loc, msg=message)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise FieldError(*loc, msg=message) from None
    exponent = number.as_tuple().exponent
    if not number.is_finite() or number < 0 or not isinstance(exponent, int):
        raise FieldError(*loc, msg=message)
    if number >= Decimal(10) ** (digits - places) or number != number.quantize(Decimal(1).scaleb(-places)):
        raise FieldError(*loc, msg=message)
    return number
