"""Compares what is measured with the rules; opens incidents and ends them, and tells of each when it begins and when it is over.

Invariants: of one kind a project and mode has at most one open incident (unique key), and an effect key per incident and phase, so
that two rounds at once tell nothing twice. A value between the two levels changes nothing: no incident opens or ends there. Neither
does what is not known.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Iterable, Mapping

from django.db import connection, transaction

from common.locks import EVALUATE_ALERTS
from notifications.models import AlertIncident, AlertKind
from notifications.services.alert_measures import Reading, has_gaps, measure_of
from notifications.services.alert_notices import Phase, tell_of
from notifications.services.alert_rules import Rule, Rules, read_rules

logger = logging.getLogger(__name__)

Account = tuple[uuid.UUID, str]


def evaluate_alerts(*, moment: dt.datetime) -> int:
    """Measure everything once; returns how many incidents were opened or ended. Two rounds at once are one after the other."""
    changed = 0
    for kind, rules in read_rules().items():
        try:
            changed += _compare(kind, rules, _read(kind, rules, moment), moment)
        except Exception:
            # One kind that fails must not silence the others; what it measures is not known, so nothing of it changes.
            logger.exception("alert_measure_failed kind=%s", kind)
    return changed


def _read(kind: AlertKind, rules: Rules, moment: dt.datetime) -> dict[Account, Reading]:
    measure = measure_of(kind)
    if measure is None:
        return {}
    found: dict[Account, Reading] = {}
    for minutes in rules.windows():
        for reading in measure(moment, dt.timedelta(minutes=minutes)):
            if rules.of(reading.project_id).window_minutes == minutes:
                found[reading.project_id, reading.mode] = reading
    return found


def _compare(kind: AlertKind, rules: Rules, readings: Mapping[Account, Reading], moment: dt.datetime) -> int:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [EVALUATE_ALERTS])
        incidents = list(AlertIncident.objects.open().filter(kind=kind).select_related("project"))
        changed = sum(_follow(incident, rules, readings, moment) for incident in incidents)
        open_accounts = {(incident.project_id, incident.mode) for incident in incidents}
        fresh = [reading for account, reading in readings.items() if account not in open_accounts]
        return changed + _open(kind, rules, fresh, moment)


def _follow(incident: AlertIncident, rules: Rules, readings: Mapping[Account, Reading], moment: dt.datetime) -> bool:
    """Note how an open incident does, and end it when it was calm for long enough."""
    rule = rules.of(incident.project_id)
    is_watched = rule.is_enabled and incident.project.deleted_at is None
    reading = readings.get((incident.project_id, incident.mode))
    if reading is None and is_watched and has_gaps(AlertKind(incident.kind)):
        return False
    incident.value = reading.value if reading else 0
    incident.peak = max(incident.peak, incident.value)
    if incident.value > rule.recovers_at:
        incident.calm_since = None
    else:
        incident.calm_since = incident.calm_since or moment
    is_over = incident.calm_since is not None and moment - incident.calm_since >= dt.timedelta(
        minutes=rule.calm_minutes
    )
    if is_over or not is_watched:
        incident.resolved_at = moment
    incident.save(update_fields=["value", "peak", "calm_since", "resolved_at"])
    if is_over and is_watched:
        tell_of(incident, Phase.RECOVERED, reading.about if reading else "")
    return incident.resolved_at is not None


def _open(kind: AlertKind, rules: Rules, readings: Iterable[Reading], moment: dt.datetime) -> int:
    opened = 0
    for reading in readings:
        rule: Rule = rules.of(reading.project_id)
        if not rule.is_enabled or reading.value < rule.threshold:
            continue
        incident = AlertIncident.objects.create(
            project_id=reading.project_id,
            mode=reading.mode,
            kind=kind,
            threshold=rule.threshold,
            value=reading.value,
            peak=reading.value,
            opened_at=moment,
        )
        tell_of(incident, Phase.OPENED, reading.about)
        opened += 1
    return opened
