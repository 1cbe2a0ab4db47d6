"""What a project counts. The usual meters are there in every project, with their rates, from the moment that one is named."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from common.ids import uuid7
from entitlements.models import Meter


@dataclass(frozen=True)
class Rate:
    """A meter as it ships. Units: US cents for one unit."""

    name: str
    unit: str
    unit_amount: Decimal


# Searches $0.01, voice characters $0.0001, container hours $0.50, workflow runs $0.005, storage $0.10 a GB-month,
# API calls $0.0001, tokens $0.06 a thousand.
DEFAULT_METERS: Mapping[str, Rate] = {
    "searches": Rate("Searches", "search", Decimal("1")),
    "voice_characters": Rate("Voice characters", "character", Decimal("0.01")),
    "container_hours": Rate("Container hours", "hour", Decimal("50")),
    "workflow_runs": Rate("Workflow runs", "run", Decimal("0.5")),
    "storage_gb_months": Rate("Storage", "GB-month", Decimal("10")),
    "api_calls": Rate("API calls", "call", Decimal("0.01")),
    "tokens": Rate("Tokens", "token", Decimal("0.006")),
}


def find_meters(*, project_id: uuid.UUID, codes: Collection[str]) -> dict[str, Meter]:
    """Return the active meters of these codes; the usual ones that a project has not named before are made.

    One query when all are there.
    """
    found = meters_named(project_id=project_id, codes=codes)
    missing = [code for code, row in found.items() if row._state.adding]
    if missing:
        install_meters(project_id=project_id, codes=missing)
        found = meters_named(project_id=project_id, codes=codes)
    return found


def meters_named(*, project_id: uuid.UUID, codes: Collection[str]) -> dict[str, Meter]:
    """Return the active meters of these codes, the usual ones also where they are not made yet. Writes nothing. One query."""
    found = {row.code: row for row in Meter.objects.for_project(project_id).filter(code__in=codes)}
    for code in codes:
        if code not in found and code in DEFAULT_METERS:
            found[code] = _usual(project_id, code)
    return {code: row for code, row in found.items() if row.active}


def install_meters(*, project_id: uuid.UUID, codes: Collection[str] = tuple(DEFAULT_METERS)) -> None:
    """Make the usual meters of these codes in a project. One that is there keeps its rate."""
    made = [_usual(project_id, code) for code in codes]
    Meter.objects.bulk_create(made, ignore_conflicts=True)


def _usual(project_id: uuid.UUID, code: str) -> Meter:
    rate = DEFAULT_METERS[code]
    return Meter(
        id=uuid7(), project_id=project_id, code=code, name=rate.name, unit=rate.unit, unit_amount=rate.unit_amount
    )
