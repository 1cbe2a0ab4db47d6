"""Who is told that somebody's credits are low: the app by an event, and whoever registers here. Once per user and UTC day.

The spend is committed before anybody is told, so that telling costs a spend nothing. A crash between the two is made good when the
request is repeated with its key.
"""

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from common.modes import TEST
from notifications.event_types import APP_EVENT
from notifications.services.outbox import record_effect
from projects.models import EndUser

LOW_EVENT = "credits.low"


@dataclass(frozen=True)
class LowCredits:
    """A spend or reservation that brought somebody's credits below the project's threshold."""

    project_id: uuid.UUID
    mode: str
    end_user_id: uuid.UUID
    available: int
    at: dt.datetime

    @property
    def day(self) -> dt.date:
        """The UTC day that it is told of once."""
        return self.at.astimezone(dt.UTC).date()


# Called in the transaction that records the event, once per user and day.
LowCreditsNotice = Callable[[LowCredits], None]

_notices: list[LowCreditsNotice] = []


def register_low_credits_notice(notice: LowCreditsNotice) -> None:
    """Say who is told of low credits; once per process, in `AppConfig.ready`."""
    if notice not in _notices:
        _notices.append(notice)


def tell_of_low_credits(low: LowCredits) -> bool:
    """Record the app's event and tell whoever registered, in one transaction. False when this day's was told already."""
    with transaction.atomic():
        end_user = EndUser.objects.for_project(low.project_id).get(pk=low.end_user_id)
        fresh = record_effect(
            project_id=low.project_id,
            mode=low.mode,
            kind=APP_EVENT,
            effect_key=f"app:{LOW_EVENT}:{low.end_user_id}:{low.day}",
            payload={
                "type": LOW_EVENT,
                "data": {
                    "project_id": str(low.project_id),
                    "user_id": str(low.end_user_id),
                    "external_user_id": end_user.external_id,
                    "is_test_mode": low.mode == TEST,
                    "available": low.available,
                },
            },
            end_user_id=low.end_user_id,
        )
        if fresh:
            for notice in _notices:
                notice(low)
    return fresh
