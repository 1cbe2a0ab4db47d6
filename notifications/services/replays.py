"""Sends deliveries again because somebody asks for it: one, or those of a stretch of time.

Invariant: an event keeps its id, so that an app that has taken it before can tell; what is on its way already is not doubled.
"""

import datetime as dt
import uuid

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from common.errors import Conflict, NotFound
from notifications.event_types import APP_EVENT, EVENT_TYPES, EVERYTHING
from notifications.models import OutboxRow, WebhookDelivery, WebhookEndpoint
from notifications.services.changes import log_change
from notifications.services.deliveries import KEPT_TRYING_FOR, create_deliveries, new_delivery
from notifications.services.endpoints import origin_of
from notifications.services.outbox import NO_LISTENER

Status = WebhookDelivery.Status
FAILED, MISSED, ALL = "failed", "missed", "all"
WHICH = (FAILED, MISSED, ALL)
# In one call; the next one goes on where it ended.
REPLAYS_MAX = 10_000


class DeliveryNotFound(NotFound):
    """404: no such delivery at this endpoint."""

    code = "webhook_delivery_not_found"
    detail = "Webhook delivery not found."


class EndpointDisabled(Conflict):
    """409: nothing is delivered to an endpoint that is disabled."""

    code = "webhook_endpoint_disabled"
    detail = "This endpoint is disabled. Switch it on first (PUT is_active: true)."


def get_delivery(*, endpoint: WebhookEndpoint, delivery_id: uuid.UUID) -> WebhookDelivery:
    """Return one delivery with its event. Raises: DeliveryNotFound (404)."""
    rows = WebhookDelivery.objects.for_project(endpoint.project_id).filter(endpoint=endpoint)
    found: WebhookDelivery | None = rows.select_related("event").filter(pk=delivery_id).first()
    if found is None:
        raise DeliveryNotFound
    return found


def replay_delivery(*, endpoint: WebhookEndpoint, delivery_id: uuid.UUID, actor: User | None = None) -> int:
    """Make one delivery due now, with all its attempts before it. Returns 0 when it is being made already.

    Raises: DeliveryNotFound (404), EndpointDisabled (409).
    """
    found = get_delivery(endpoint=endpoint, delivery_id=delivery_id)
    _refuse_disabled(endpoint)
    with transaction.atomic():
        _end_hold(endpoint)
        count = replay_rows(WebhookDelivery.objects.for_project(endpoint.project_id).filter(pk=found.pk))
        if count:
            _log("webhook_delivery.replay", found.pk, endpoint, actor, event_type=found.event_type)
    return count


def replay_range(
    *,
    endpoint: WebhookEndpoint,
    since: dt.datetime,
    until: dt.datetime | None = None,
    which: str = FAILED,
    actor: User | None = None,
) -> int:
    """Send again what failed, what was missed while nobody listened, or everything of a stretch of time; returns how many.

    At most REPLAYS_MAX, the oldest first. Raises: EndpointDisabled (409).
    """
    _refuse_disabled(endpoint)
    span = Q(created_at__gte=since, created_at__lt=until) if until else Q(created_at__gte=since)
    with transaction.atomic():
        _end_hold(endpoint)
        count = _replay_span(endpoint, span, which)
        asked = {"since": since.isoformat(), "until": until.isoformat() if until else None, "which": which}
        _log("webhook_endpoint.replay", endpoint.pk, endpoint, actor, replayed=count, **asked)
    return count


def _replay_span(endpoint: WebhookEndpoint, span: Q, which: str) -> int:
    count = 0
    if which in (FAILED, ALL):
        rows = WebhookDelivery.objects.for_project(endpoint.project_id).filter(span, endpoint=endpoint, is_test=False)
        wanted = rows.filter(status=Status.FAILED) if which == FAILED else rows.exclude(status=Status.PROCESSING)
        keys = list(wanted.order_by("created_at", "pk").values_list("pk", flat=True)[:REPLAYS_MAX])
        count += replay_rows(rows.filter(pk__in=keys))
    if which in (MISSED, ALL):
        count += _deliver_missed(endpoint, span, REPLAYS_MAX - count)
    return count


def replay_rows(rows: QuerySet[WebhookDelivery]) -> int:
    """Make deliveries due now that are not in hand; returns how many."""
    return rows.exclude(status=Status.PROCESSING, next_attempt_at__gt=Now()).update(
        status=Status.PENDING,
        attempts=0,
        next_attempt_at=Now(),
        give_up_at=Now() + KEPT_TRYING_FOR,
        lease_token=None,
        lease_until=None,
        error="",
        done_at=None,
    )


def _deliver_missed(endpoint: WebhookEndpoint, span: Q, limit: int) -> int:
    """Make deliveries of events that happened while the endpoint did not listen, and that it asks for now."""
    told = OutboxRow.objects.for_project(endpoint.project_id).filter(span, mode=endpoint.mode, kind=APP_EVENT)
    # What a restore or an import found again, and what the test button sent, was never to be told.
    told = told.filter(Q(status=OutboxRow.Status.DONE) | Q(status=OutboxRow.Status.SKIPPED, error=NO_LISTENER))
    if EVERYTHING not in endpoint.event_types:
        told = told.filter(payload__type__in=_types_of(endpoint))
    told = told.exclude(deliveries__endpoint=endpoint).order_by("created_at", "pk")[:limit]
    return create_deliveries(new_delivery(row, endpoint.pk, str(row.payload["type"])) for row in told)


def _types_of(endpoint: WebhookEndpoint) -> list[str]:
    nouns = tuple(name[:-1] for name in endpoint.event_types if name.endswith(".*"))
    return (
        [name for name in EVENT_TYPES if name in endpoint.event_types or name.startswith(nouns)]
        if nouns
        else list(endpoint.event_types)
    )


def _log(action: str, subject: uuid.UUID, endpoint: WebhookEndpoint, actor: User | None, **details: object) -> None:
    log_change(
        action=action,
        subject=subject,
        actor=actor,
        project_id=endpoint.project_id,
        mode=endpoint.mode,
        endpoint=origin_of(endpoint),
        **details,
    )


def _refuse_disabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.disabled_at is not None:
        raise EndpointDisabled


def _end_hold(endpoint: WebhookEndpoint) -> None:
    """Ask an endpoint that was left alone for a while at once: whoever sends again has mended it."""
    WebhookEndpoint.objects.for_project(endpoint.project_id).filter(pk=endpoint.pk).update(held_until=None)
