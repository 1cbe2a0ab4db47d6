"""The app's webhook endpoints: made, changed, rotated, disabled.

Invariants: a secret leaves by the answer that makes it and by no other; while a rotation overlaps, both secrets sign; an endpoint
is disabled with a reason, and whoever must know is told in the same transaction, once; what a named `actor` does is written down.
"""

import base64
import datetime as dt
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from common.errors import Conflict, FieldError, NotFound
from common.outgoing import WEBHOOKS, check_before_saving
from notifications.event_types import CHOICES, EVERYTHING
from notifications.models import WebhookEndpoint
from notifications.services.changes import changed_values, host_of, log_change
from notifications.services.outbox import record_effect
from projects.models import Project

DisabledReason = WebhookEndpoint.DisabledReason
ENDPOINTS_MAX = 16
SECRET_PREFIX, SECRET_BYTES = "whsec_", 32
OVERLAP_HOURS, OVERLAP_HOURS_MAX = 24, 168
WHY_HTTPS = "Use https: events hold personal data."
NO_FRAGMENT = "Leave out # and what follows: it is never sent."
WHY = {
    DisabledReason.GONE: "It answered 410 Gone, which says that nobody listens there any more.",
    DisabledReason.FAILING: "Every delivery has failed for five days.",
}
# Told of an endpoint that the service disabled, in the transaction that does it.
DisabledNotice = Callable[[WebhookEndpoint], None]

_disabled_notices: list[DisabledNotice] = []


class EndpointNotFound(NotFound):
    """404: no such endpoint in this project and mode."""

    code = "webhook_endpoint_not_found"
    detail = "Webhook endpoint not found."


class TooManyEndpoints(Conflict):
    """409: a project has a bounded number of endpoints in a mode."""

    code = "too_many_webhook_endpoints"
    detail = f"A project may have {ENDPOINTS_MAX} webhook endpoints in each mode. Delete one that is not needed."


@dataclass(frozen=True)
class MadeEndpoint:
    """An endpoint with its new secret, which is shown once."""

    endpoint: WebhookEndpoint
    secret: str

    def __repr__(self) -> str:
        return f"<MadeEndpoint {self.endpoint.pk}>"


def register_disabled_notice(notice: DisabledNotice) -> None:
    """Say who is told of endpoints that were disabled; once per process, in `AppConfig.ready`."""
    if notice not in _disabled_notices:
        _disabled_notices.append(notice)


def get_endpoint(*, project: Project, mode: str, endpoint_id: uuid.UUID) -> WebhookEndpoint:
    """Return one endpoint. Raises: EndpointNotFound (404)."""
    found: WebhookEndpoint | None = (
        WebhookEndpoint.objects.for_project(project).in_mode(mode).filter(pk=endpoint_id).first()
    )
    if found is None:
        raise EndpointNotFound
    return found


def create_endpoint(
    *, project: Project, mode: str, fields: Mapping[str, Any], actor: User | None = None
) -> MadeEndpoint:
    """Begin to tell an address of a project's events in a mode: of those that happen from now on.

    Raises: FieldError (422), TooManyEndpoints (409).
    """
    row = WebhookEndpoint(project=project, mode=mode)
    _assign(row, {"event_types": [EVERYTHING], **fields})
    secret = _new_secret()
    row.set_secret("secret", secret)
    with transaction.atomic():
        # Counted by one at a time.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if WebhookEndpoint.objects.for_project(project).in_mode(mode).count() >= ENDPOINTS_MAX:
            raise TooManyEndpoints
        row.save(force_insert=True)
        _log("create", row, actor, event_types=row.event_types)
    row.refresh_from_db()
    return MadeEndpoint(row, secret)


def change_endpoint(
    *, endpoint: WebhookEndpoint, fields: Mapping[str, Any], actor: User | None = None
) -> WebhookEndpoint:
    """Change what was given, and keep the rest. `is_active` switches an endpoint off and on. Raises: FieldError (422)."""
    wanted = WebhookEndpoint(project_id=endpoint.project_id, url=endpoint.url, event_types=endpoint.event_types)
    _assign(wanted, fields)
    with transaction.atomic():
        row = _locked(endpoint)
        before, called = _values(row), row.url
        # What was not given is kept as it is now, not as the caller read it.
        for name in ("url", "event_types", "description"):
            if fields.get(name) is not None:
                setattr(row, name, getattr(wanted, name))
        active = fields.get("is_active")
        if active is False and row.disabled_at is None:
            _disable(row, DisabledReason.SWITCHED_OFF)
        elif active is True:
            row.disabled_at, row.disabled_reason = None, ""
            row.failures_in_row, row.failing_since, row.held_until = 0, None, None
        elif row.url != called:
            # What failed was another address.
            row.failures_in_row, row.failing_since, row.held_until = 0, None, None
        row.save()
        changed, new_url = changed_values(before, _values(row)), called != row.url
        if changed or new_url:
            _log("change", row, actor, changed=changed, new_url=new_url)
    row.refresh_from_db()
    return row


def delete_endpoint(*, endpoint: WebhookEndpoint, actor: User | None = None) -> None:
    """Forget an endpoint with its secrets and the log of its deliveries."""
    with transaction.atomic():
        WebhookEndpoint.objects.for_project(endpoint.project_id).filter(pk=endpoint.pk).delete()
        _log("delete", endpoint, actor)


def rotate_secret(
    *, endpoint: WebhookEndpoint, overlap_hours: int = OVERLAP_HOURS, actor: User | None = None
) -> MadeEndpoint:
    """Replace the secret. Until the overlap ends, deliveries are signed with the old one as well.

    Units: hours, at most OVERLAP_HOURS_MAX; 0 ends the old secret at once.
    """
    secret = _new_secret()
    with transaction.atomic():
        row = _locked(endpoint)
        row.set_secret("previous_secret", row.get_secret() if overlap_hours else "")
        row.set_secret("secret", secret)
        row.previous_secret_until = Now() + dt.timedelta(hours=overlap_hours) if overlap_hours else None
        row.save()
        _log("rotate_secret", row, actor, overlap_hours=overlap_hours)
    row.refresh_from_db()
    return MadeEndpoint(row, secret)


def signing_secrets(endpoint: WebhookEndpoint) -> list[str]:
    """Return the secrets that sign a delivery now, the newest first. Raises common.encryption.DecryptionError."""
    found = [endpoint.get_secret()]
    until = endpoint.previous_secret_until
    if endpoint.previous_secret and until is not None and until > dt.datetime.now(dt.UTC):
        found.append(endpoint.get_secret("previous_secret"))
    return found


def forget_old_secrets() -> int:
    """Empty previous secrets whose overlap is over. Returns how many."""
    over = WebhookEndpoint.objects.filter(previous_secret_until__lt=Now())
    return int(over.update(previous_secret="", previous_secret_until=None))


def disable_in_trouble(endpoint: WebhookEndpoint, reason: DisabledReason) -> None:
    """Disable an endpoint of which the service has had enough, and tell its owners and staff. Call under the row's lock."""
    _disable(endpoint, reason)
    endpoint.save(update_fields=["disabled_at", "disabled_reason"])
    endpoint.refresh_from_db(fields=["disabled_at"])
    record_effect(
        project_id=endpoint.project_id,
        mode=endpoint.mode,
        kind="alert",
        effect_key=f"alert:webhook_endpoint_disabled:{endpoint.pk}:{endpoint.disabled_at:%Y%m%d%H%M%S%f}",
        payload={
            "template": "webhook_endpoint_disabled",
            "title": "A webhook endpoint was disabled",
            "text": f"{WHY[reason]} What is undelivered waits for three days: mend the endpoint and switch it on again.",
            "context": {"endpoint": origin_of(endpoint), "endpoint_id": str(endpoint.pk), "reason": reason.value},
        },
        cause=str(endpoint.pk),
    )
    for notice in _disabled_notices:
        notice(endpoint)


def origin_of(endpoint: WebhookEndpoint) -> str:
    """Name an endpoint without its path, which may hold a token."""
    return host_of(endpoint.url)


def _disable(row: WebhookEndpoint, reason: DisabledReason) -> None:
    row.disabled_at, row.disabled_reason = Now(), reason


def _locked(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    rows = WebhookEndpoint.objects.for_project(endpoint.project_id).filter(pk=endpoint.pk)
    row: WebhookEndpoint | None = rows.select_for_update(no_key=True).first()
    if row is None:
        raise EndpointNotFound
    return row


def _values(row: WebhookEndpoint) -> dict[str, Any]:
    return {"endpoint": origin_of(row), "event_types": row.event_types, "is_active": row.disabled_at is None}


def _log(what: str, row: WebhookEndpoint, actor: User | None, **details: Any) -> None:
    log_change(
        action=f"webhook_endpoint.{what}",
        subject=row.pk,
        actor=actor,
        project_id=row.project_id,
        mode=row.mode,
        endpoint=origin_of(row),
        **details,
    )


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _assign(row: WebhookEndpoint, fields: Mapping[str, Any]) -> None:
    if fields.get("url") is not None:
        check_before_saving(
            fields["url"],
            field="url",
            whose=str(row.project_id),
            why_https=WHY_HTTPS,
            leave_out={"fragment": NO_FRAGMENT},
            purpose=WEBHOOKS,
        )
        row.url = fields["url"]
    if fields.get("event_types") is not None:
        row.event_types = _checked_types(fields["event_types"])
    if fields.get("description") is not None:
        row.description = fields["description"]


def _checked_types(wanted: list[str]) -> list[str]:
    unknown = [name for name in wanted if name not in CHOICES]
    if not wanted or unknown:
        raise FieldError("body", "event_types", msg=f"Give some of: {', '.join(CHOICES)}.", type="enum")
    return sorted(set(wanted))
