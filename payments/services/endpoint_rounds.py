"""The rounds over all webhook endpoints: each looked at hourly, rolls carried on, what has expired taken away.

Safe to run anywhere and at once: a row is taken by moving its time forward, and everything that is done twice is harmless.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from common import clock
from payments.models import StripeCredentials
from payments.services.endpoint_creation import ROLLING
from payments.services.webhook_endpoints import (
    DISABLED,
    FAILED,
    RETIRED_EARLY,
    SECRET_SETTLES,
    check_endpoint,
    retire_previous_endpoint,
    switch_off_endpoints,
)
from payments.stripe_api import StripeNotConfigured

logger = logging.getLogger(__name__)

LOOKED_AT_EVERY = dt.timedelta(hours=1)
FAILED_AGAIN_AFTER = dt.timedelta(minutes=5)
BATCH = 50
ROUND_SECONDS_MAX = 20.0


def look_after_endpoints(*, batch: int = BATCH) -> int:
    """Check the endpoints that are due, a bounded number; returns how many. One account's trouble stays its own."""
    give_up_at = time.monotonic() + ROUND_SECONDS_MAX
    looked_at = 0
    rounds: list[tuple[QuerySet[StripeCredentials], Callable[[StripeCredentials], None]]] = [
        (_to_retire(), _retire),
        (_to_check(), _check),
        (_to_switch_off(), _switch_off),
    ]
    for due, work in rounds:
        for row in due[:batch]:
            if time.monotonic() >= give_up_at:
                return looked_at
            try:
                work(row)
                looked_at += 1
            except Exception as error:
                logger.warning("webhook_endpoint_not_looked_after project=%s error=%s", row.project_id, error)
    return looked_at


def _to_retire() -> QuerySet[StripeCredentials]:
    rows = StripeCredentials.objects.exclude(webhook_status=ROLLING)
    now = clock.now()
    endpoint_goes = Q(previous_webhook_secret_expires_at__lte=now + RETIRED_EARLY) & ~Q(previous_webhook_endpoint_id="")
    return rows.filter(endpoint_goes | Q(previous_webhook_secret_expires_at__lte=now))


def _retire(row: StripeCredentials) -> None:
    retire_previous_endpoint(row)


def _to_check() -> QuerySet[StripeCredentials]:
    # Rows without a status were never saved since endpoints are managed: saving keys or asking for a check takes them up.
    rows = StripeCredentials.objects.usable().exclude(secret_key="").exclude(webhook_status="")
    due = (
        Q(webhook_checked_at__isnull=True)
        | Q(webhook_checked_at__lte=Now() - LOOKED_AT_EVERY)
        | Q(webhook_checked_at__lte=Now() - FAILED_AGAIN_AFTER, webhook_status=FAILED, webhook_endpoint_id="")
        | Q(webhook_checked_at__lte=Now() - SECRET_SETTLES, webhook_status=ROLLING)
    )
    return rows.filter(due).select_related("project").order_by(F("webhook_checked_at").asc(nulls_first=True))


def _check(row: StripeCredentials) -> None:
    # A roll counts from its time: twice carried on is the same.
    if row.webhook_status == ROLLING or _take(row):
        try:
            check_endpoint(project=row.project, mode=row.mode)
        except StripeNotConfigured:
            return


def _to_switch_off() -> QuerySet[StripeCredentials]:
    rows = StripeCredentials.objects.exclude(webhook_endpoint_id="").exclude(webhook_status=DISABLED)
    idle = Q(config__is_active=False) | Q(project__is_active=False) | Q(project__deleted_at__isnull=False)
    waited = Q(webhook_checked_at__isnull=True) | Q(webhook_checked_at__lte=Now() - LOOKED_AT_EVERY)
    return rows.filter(idle & waited).select_related("project")


def _switch_off(row: StripeCredentials) -> None:
    if _take(row):
        switch_off_endpoints(project=row.project)


def _take(row: StripeCredentials) -> bool:
    rows = StripeCredentials.objects.for_project(row.project_id).filter(pk=row.pk)
    seen = row.webhook_checked_at
    unchanged = Q(webhook_checked_at=seen) if seen else Q(webhook_checked_at__isnull=True)
    return rows.filter(unchanged).update(webhook_checked_at=Now()) == 1
