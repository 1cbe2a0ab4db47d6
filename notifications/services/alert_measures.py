"""What alerts are measured by. An app registers the measures of what it knows; a kind that nobody measures never alerts."""

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db.models import Count, Q

from notifications.models import AlertKind, WebhookDelivery

# How long a delivery is tried for, so that none that failed within a window was made before this and the window.
TRIED_FOR = dt.timedelta(days=4)


@dataclass(frozen=True)
class Reading:
    """How much of a kind of trouble a project has in a mode."""

    project_id: uuid.UUID
    mode: str
    value: int
    about: str = ""


# Reads the moment and the length of the window; returns readings of projects that exist. A bounded number of queries.
Measure = Callable[[dt.datetime, dt.timedelta], Sequence[Reading]]

_measures: dict[AlertKind, Measure] = {}
# Of these kinds what is not read is not known. Of all others it is nothing, so that a measure may leave it out.
_kinds_with_gaps: set[AlertKind] = set()


def register_measure(kind: AlertKind, measure: Measure, *, has_gaps: bool = False) -> None:
    """Say who measures a kind, and whether what is not read is unknown; once per process, in `AppConfig.ready`."""
    if _measures.setdefault(kind, measure) is not measure:
        raise RuntimeError(f"two measures of {kind}")
    if has_gaps:
        _kinds_with_gaps.add(kind)


def has_gaps(kind: AlertKind) -> bool:
    """Say whether what is not read of a kind is unknown instead of nothing."""
    return kind in _kinds_with_gaps


def measure_of(kind: AlertKind) -> Measure | None:
    """Return who measures a kind."""
    return _measures.get(kind)


def failing_deliveries(moment: dt.datetime, window: dt.timedelta) -> list[Reading]:
    """Count deliveries to apps that were given up within the window, and those that were tried and still wait.

    What lies at an endpoint that is switched off is left out: nothing is tried there, and whoever must know was told.
    """
    since = moment - window
    waiting = Q(status__in=WebhookDelivery.UNFINISHED_STATUSES, attempts__gt=0)
    given_up = Q(status=WebhookDelivery.Status.FAILED, done_at__gte=since, created_at__gte=since - TRIED_FOR)
    rows = WebhookDelivery.objects.filter(waiting | given_up, is_test=False, project__deleted_at=None)
    rows = rows.filter(endpoint__disabled_at=None)
    counted = rows.values_list("project_id", "mode").annotate(number=Count("pk")).order_by()
    return [Reading(project_id, mode, number) for project_id, mode, number in counted]
