"""The vocabulary of the tests about alerts."""

import datetime as dt
import uuid
from typing import Any

from moderation.models import ReviewItem
from notifications.models import AlertIncident, AlertKind, AlertRule, OutboxRow
from notifications.services.alerting import evaluate_alerts
from projects.models import Project

NOON = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
BACKLOG = AlertKind.REVIEW_BACKLOG


def set_rule(project: Project | None, kind: AlertKind = BACKLOG, **fields: Any) -> AlertRule:
    """Have a rule that three waiting items break."""
    values = {"threshold": 3, "recovers_at": 1, "window_minutes": 60, "calm_minutes": 10} | fields
    return AlertRule.objects.create(project=project, kind=kind, **values)


def wait_for_review(project: Project, number: int, *, kind: str = "dead_letter", mode: str = "test") -> None:
    """Open review items."""
    for _ in range(number):
        ReviewItem.objects.create(project=project, mode=mode, kind=kind, cause_key=uuid.uuid4().hex, title="An item")


def leave_waiting(project: Project, number: int) -> None:
    """Decide items until so many wait."""
    waiting = ReviewItem.objects.for_project(project).filter(status="pending").order_by("created_at")
    keys = list(waiting.values_list("pk", flat=True))
    ReviewItem.objects.filter(pk__in=keys[: len(keys) - number]).update(status="dismissed")


def look(project: Project, minute: float = 0, kind: AlertKind = BACKLOG) -> AlertIncident | None:
    """Evaluate at a minute after noon; returns the newest incident of a kind."""
    evaluate_alerts(moment=NOON + minute * MINUTE)
    return AlertIncident.objects.for_project(project).filter(kind=kind).order_by("-opened_at").first()


def told(project: Project, kind: str = "alert") -> list[OutboxRow]:
    """List what was recorded about incidents, the oldest first."""
    rows = OutboxRow.objects.for_project(project).filter(kind=kind, cause="alert_rules")
    return list(rows.order_by("created_at", "id"))
