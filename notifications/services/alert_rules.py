"""What counts as trouble: the rules that ship, and those that a project or the operator has set instead."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from notifications.models import AlertKind, AlertRule


@dataclass(frozen=True)
class Rule:
    """Opens an incident at `threshold`, ends it after `calm_minutes` at or below `recovers_at`.

    Units: of the values, those of UNITS; `window_minutes` is how far back is looked, where a kind looks back.
    """

    threshold: int
    recovers_at: int
    window_minutes: int = 60
    calm_minutes: int = 10
    is_enabled: bool = True


DEFAULT_RULES = {
    AlertKind.INBOUND_FAILURES: Rule(5, 0),
    AlertKind.OUTBOUND_FAILURES: Rule(10, 2),
    AlertKind.OLDEST_EVENT: Rule(15, 5),
    AlertKind.FAILED_PAYMENTS: Rule(30, 15),
    AlertKind.ODD_CREDIT_USE: Rule(20, 10),
    AlertKind.REVIEW_BACKLOG: Rule(20, 10),
    AlertKind.REPORTS_SPIKE: Rule(10, 3),
}
UNITS = {
    AlertKind.INBOUND_FAILURES: "events",
    AlertKind.OUTBOUND_FAILURES: "deliveries",
    AlertKind.OLDEST_EVENT: "minutes",
    AlertKind.FAILED_PAYMENTS: "percent of the payments",
    AlertKind.ODD_CREDIT_USE: "times the usual",
    AlertKind.REVIEW_BACKLOG: "items",
    AlertKind.REPORTS_SPIKE: "reports",
}


class Rules:
    """The rules of one kind: a project's own, else the operator's, else the one that ships."""

    def __init__(self, kind: AlertKind, rows: Iterable[AlertRule]) -> None:
        """Sort the rows of the kind by whose they are."""
        self._own: dict[uuid.UUID, Rule] = {}
        self._general = DEFAULT_RULES[kind]
        for row in rows:
            rule = Rule(row.threshold, row.recovers_at, row.window_minutes, row.calm_minutes, row.is_enabled)
            if row.project_id is None:
                self._general = rule
            else:
                self._own[row.project_id] = rule

    def of(self, project_id: uuid.UUID) -> Rule:
        """Return the rule that holds for a project."""
        return self._own.get(project_id, self._general)

    def windows(self) -> set[int]:
        """Name the windows that some rule in use looks back over."""
        return {rule.window_minutes for rule in (self._general, *self._own.values()) if rule.is_enabled}


def read_rules() -> dict[AlertKind, Rules]:
    """Read the rules of every kind. One query."""
    rows = list(AlertRule.objects.all())
    return {kind: Rules(kind, [row for row in rows if row.kind == kind]) for kind in AlertKind}
