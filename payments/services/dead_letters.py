"""Events as a developer looks at them: what became of each, its body without secrets, and sending it through again."""

import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from accounts.models import User
from common.errors import NotFound
from common.logs import redact, without_named_secrets
from moderation.services.action_log import log_action
from payments.models import WebhookEvent
from payments.services.inbox import replay_events
from payments.services.snapshot import without_client_secrets
from projects.models import Project

REPLAY_MAX = 1000
IDS_MAX = 100
IDS_LOGGED_MAX = 100
REPLAYABLE = (WebhookEvent.Status.DEAD, WebhookEvent.Status.IGNORED)


class EventNotFound(NotFound):
    """404: the project has no such event in this mode."""

    code = "event_not_found"
    detail = "No such event."


def get_event(*, project: Project, mode: str, event_id: str) -> WebhookEvent:
    """Find an event by its id here or by Stripe's. Raises: EventNotFound (404)."""
    rows = WebhookEvent.objects.for_project(project).filter(mode=mode)
    try:
        event = rows.filter(pk=uuid.UUID(event_id)).first()
    except ValueError:
        event = rows.filter(event_id=event_id).first() if "\x00" not in event_id else None
    if event is None:
        raise EventNotFound()
    return event


def redacted_body(event: WebhookEvent) -> Any:
    """Return what Stripe sent, without what looks like a secret and pages that act for a buyer; None when it was emptied."""
    if event.payload is None:
        return None
    shown = without_buyers_links(without_client_secrets(event.payload))
    return _redacted(without_named_secrets(None, shown))


def without_buyers_links(value: Any) -> Any:
    """Return a copy whose `url`s say no more than the host: whoever opens a checkout's or portal's page acts for the buyer."""
    if isinstance(value, dict):
        return {key: _hidden(inner) if key == "url" else without_buyers_links(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_buyers_links(inner) for inner in value]
    return value


def _hidden(address: Any) -> Any:
    if not isinstance(address, str) or not address.startswith(("https://", "http://")):
        return without_buyers_links(address)
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/[hidden]"


def replay_one(*, event: WebhookEvent, actor: User | None) -> bool:
    """Make a dead or ignored event due again; False when it is neither, or somebody else has just done so."""
    rows = WebhookEvent.objects.for_project(event.project_id).filter(pk=event.pk)
    return replay_chosen(rows=rows, project_id=event.project_id, mode=event.mode, actor=actor) == 1


def replay_ids(*, project: Project, mode: str, ids: Sequence[uuid.UUID], actor: User | None) -> int:
    """Make the dead and ignored ones of these events due again; returns how many. Raises: EventNotFound (404) for any other."""
    rows = WebhookEvent.objects.for_project(project).filter(mode=mode, pk__in=ids)
    if rows.count() != len(set(ids)):
        raise EventNotFound()
    return replay_chosen(rows=rows, project_id=project.pk, mode=mode, actor=actor)


def replay_all_dead(*, project: Project, mode: str, event_type: str | None, actor: User | None) -> int:
    """Make dead letters due again, the oldest REPLAY_MAX of them; returns how many."""
    dead = WebhookEvent.objects.for_project(project).filter(mode=mode, status=WebhookEvent.Status.DEAD)
    if event_type:
        dead = dead.filter(type=event_type)
    oldest = list(dead.order_by("received_at").values_list("pk", flat=True)[:REPLAY_MAX])
    rows = WebhookEvent.objects.for_project(project).filter(pk__in=oldest, status=WebhookEvent.Status.DEAD)
    return replay_chosen(rows=rows, project_id=project.pk, mode=mode, actor=actor)


def replay_chosen(*, rows: Any, project_id: uuid.UUID, mode: str, actor: User | None, reason: str = "") -> int:
    """Make the dead and ignored events among these rows due again and log who did it; each once, however often."""
    with transaction.atomic():
        chosen = rows.filter(status__in=REPLAYABLE).select_for_update(no_key=True).order_by("pk")
        names = list(chosen.values_list("event_id", flat=True)[: REPLAY_MAX + 1])
        count = replay_events(rows)
        if count:
            log_action(
                action="webhook_event.replay",
                subject=names[0] if count == 1 else f"{count} events",
                actor=actor,
                reason=reason,
                project_id=project_id,
                mode=mode,
                details={"count": count, "event_ids": names[:IDS_LOGGED_MAX]},
            )
    return count


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {redact(name): _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value
