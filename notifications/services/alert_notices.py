"""Who is told of an incident, and by what: mails to addresses or owners, and a signed webhook, each once per phase."""

import datetime as dt
import json
from enum import StrEnum
from typing import Any

from django.conf import settings

from common.modes import TEST
from common.outgoing import OutgoingRefused, fetch
from notifications.models import AlertIncident, AlertKind, AlertTarget, OutboxRow
from notifications.services.alert_rules import UNITS
from notifications.services.outbound import ANSWER_BYTES_MAX, TIMEOUT_SECONDS, signed_headers
from notifications.services.outbox import EffectSkipped, record_effect

ALERT, ALERT_WEBHOOK = "alert", "alert_webhook"
TARGET_GONE = "Nobody listens for alerts there any more."


class Phase(StrEnum):
    """When an incident is told of."""

    OPENED = "opened"
    RECOVERED = "recovered"


class NotTaken(Exception):
    """The listener answered with something else than 2xx."""


class AddressRefused(Exception):
    """The listener's address may not be called; trying again does not help."""

    retryable = False


def tell_of(incident: AlertIncident, phase: Phase, about: str = "") -> None:
    """Record the notices of an incident in the current transaction: the project's, and the operator's."""
    targets = {row.project_id: row for row in AlertTarget.objects.filter(project=None)}
    targets |= {row.project_id: row for row in AlertTarget.objects.for_project(incident.project_id)}
    own, operators = targets.get(incident.project_id), targets.get(None)
    _mail(incident, phase, about, whose="project", to=own.mail_to if own and own.mail_to else None)
    if operators and operators.mail_to:
        _mail(incident, phase, about, whose="operator", to=operators.mail_to)
    for whose, target in (("project", own), ("operator", operators)):
        if target and target.webhook_url:
            _call(incident, phase, about, whose, target)


def send_alert_webhook(row: OutboxRow) -> dict[str, Any]:
    """Deliver a notice to a listener, signed as Standard Webhooks has it; the id is the same each time.

    Raises: EffectSkipped, AddressRefused; whatever else is raised is tried again.
    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    target = AlertTarget.objects.filter(pk=row.payload["target"]).first()
    if target is None or not target.webhook_url or not target.webhook_secret:
        raise EffectSkipped(TARGET_GONE)
    at = dt.datetime.now(dt.UTC)
    notice = {"type": row.payload["type"], "timestamp": row.payload["timestamp"], "data": row.payload["data"]}
    body = json.dumps(notice, separators=(",", ":"))
    message_id = f"msg_{row.pk.hex}"
    headers = signed_headers(secrets=[target.get_webhook_secret()], message_id=message_id, body=body, at=at)
    try:
        answer = fetch(
            "POST",
            target.webhook_url,
            headers=headers,
            content=body.encode(),
            timeout=TIMEOUT_SECONDS,
            max_bytes=ANSWER_BYTES_MAX,
            whose=str(row.project_id),
        )
    except OutgoingRefused as refusal:
        raise AddressRefused(str(refusal)) from refusal
    if not 200 <= answer.status_code < 300:
        raise NotTaken(f"the listener answered {answer.status_code}")
    return {"message_id": message_id, "status_code": answer.status_code}


def _mail(incident: AlertIncident, phase: Phase, about: str, *, whose: str, to: list[str] | None) -> None:
    unit = UNITS[AlertKind(incident.kind)]
    told = {"reached": f"{incident.peak} {unit}", "alerts_from": f"{incident.threshold} {unit}"}
    told |= {"now": f"{incident.value} {unit}"} if phase == Phase.RECOVERED else {}
    told |= {"about": about} if about else {}
    told |= {"since": _shown(incident.opened_at)}
    told |= {"over_since": _shown(incident.calm_since)} if phase == Phase.RECOVERED and incident.calm_since else {}
    _record(
        incident,
        phase,
        kind=ALERT,
        whose=whose,
        payload={
            "template": "",
            "title": title_of(incident, phase),
            "to": to,
            "context": told,
            "url": f"{settings.PUBLIC_BASE_URL}/admin/notifications/alertincident/{incident.pk}/change/",
        },
    )


def _call(incident: AlertIncident, phase: Phase, about: str, whose: str, target: AlertTarget) -> None:
    at = incident.resolved_at if phase == Phase.RECOVERED and incident.resolved_at else incident.opened_at
    payload = {
        "target": str(target.pk),
        "type": f"alert.{phase}",
        "timestamp": _utc(at),
        "data": {
            "incident_id": str(incident.pk),
            "project_id": str(incident.project_id),
            "is_test_mode": incident.mode == TEST,
            "kind": incident.kind,
            "title": title_of(incident, phase),
            "about": about or None,
            "value": incident.value,
            "peak": incident.peak,
            "threshold": incident.threshold,
            "unit": UNITS[AlertKind(incident.kind)],
            "opened_at": _utc(incident.opened_at),
            "recovered_at": _utc(at) if phase == Phase.RECOVERED else None,
        },
    }
    _record(incident, phase, kind=ALERT_WEBHOOK, whose=whose, payload=payload)


def _record(incident: AlertIncident, phase: Phase, *, kind: str, whose: str, payload: dict[str, Any]) -> None:
    # A lane of its own: the end of an incident is never told before its beginning.
    record_effect(
        project_id=incident.project_id,
        mode=incident.mode,
        kind=kind,
        effect_key=f"{kind}:incident:{incident.pk}:{phase}:{whose}",
        payload=payload,
        lane=f"incident:{incident.pk}:{whose}",
        cause="alert_rules",
    )


def title_of(incident: AlertIncident, phase: Phase) -> str:
    """Name an incident in a line."""
    name = str(AlertKind(incident.kind).label)
    return name if phase == Phase.OPENED else f"Over: {name[:1].lower()}{name[1:]}"


def _utc(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _shown(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
