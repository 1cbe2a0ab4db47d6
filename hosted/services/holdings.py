"""What somebody has besides a plan, for the account page: metered use of the running period, and licences."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from entitlements.models import Meter
from entitlements.services.quotas import plain
from entitlements.services.usage import read_usage
from entitlements.services.usage_standing import Standing
from hosted.models import HostedSession
from licenses.models import License
from licenses.services.access_tokens import RETURNED, access_link, mint_access_token
from licenses.services.states import LicenseNotFound

LICENSES_SHOWN = 20


@dataclass(frozen=True)
class MeterShown:
    """How far somebody is with one meter. Units: `amount_cents` is what goes beyond the plan, minor units of `currency`."""

    name: str
    unit: str
    used: str
    included: str
    percent: int | None
    beyond: str
    amount_cents: int
    currency: str


@dataclass(frozen=True)
class UsageShown:
    """The running period and what was used in it."""

    since: dt.datetime
    until: dt.datetime
    meters: list[MeterShown]


def read_meters(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> UsageShown | None:
    """Return what was used; None where nothing is counted. One query without meters, else some eight."""
    if not Meter.objects.for_project(project_id).exists():
        return None
    found = read_usage(project_id=project_id, mode=mode, end_user_id=end_user_id)
    meters = [_shown(one) for one in found.standings if one.used or one.quota is not None]
    return UsageShown(found.span.start, found.span.end, meters) if meters else None


def licenses_of(session: HostedSession) -> list[License]:
    """Return the licences that the user has bought, the newest first. One query."""
    return list(_theirs(session).select_related("product").order_by("-purchased_at", "-id")[:LICENSES_SHOWN])


def license_url(*, session: HostedSession, license_id: str) -> str:
    """Sign a way to the page of one of the user's own licences. Raises: LicenseNotFound (404)."""
    try:
        row = _theirs(session).filter(pk=uuid.UUID(license_id)).first()
    except ValueError:
        row = None
    if row is None:
        raise LicenseNotFound()
    token = mint_access_token(project_id=row.project_id, license_id=row.pk, purpose=RETURNED)
    return access_link(session_id=row.stripe_session_id, token=token)


def _theirs(session: HostedSession) -> Any:
    rows = License.objects.for_project(session.project_id).in_mode(session.mode)
    return rows.filter(end_user=session.end_user_id)


def _shown(one: Standing) -> MeterShown:
    percent = min(100, int(one.percent)) if one.percent is not None else None
    return MeterShown(
        one.meter.name or one.meter.code,
        one.meter.unit,
        plain(one.used),
        plain(one.included) if one.included is not None else "",
        percent,
        plain(one.overage) if one.overage else "",
        one.amount_cents,
        one.meter.currency,
    )
