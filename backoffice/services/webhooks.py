"""What staff do about the app's webhook endpoints, and what they are shown of trouble there."""

from collections.abc import Iterable

from django.db import transaction

from accounts.models import User
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import open_review_item
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services.endpoints import WHY, DisabledReason, change_endpoint, origin_of
from notifications.services.replays import EndpointDisabled, replay_delivery


def review_disabled_endpoint(endpoint: WebhookEndpoint) -> None:
    """Open an item for an endpoint that the service disabled: one each time that it does."""
    open_review_item(
        project_id=endpoint.project_id,
        mode=endpoint.mode,
        kind=ReviewItem.Kind.WEBHOOK_ENDPOINT,
        cause_key=f"webhook_endpoint:{endpoint.pk}:{endpoint.disabled_at:%Y%m%d%H%M%S%f}",
        title=f"Webhooks to {origin_of(endpoint)} were disabled",
        subject=str(endpoint.pk),
        details={
            "endpoint": origin_of(endpoint),
            "reason": WHY[DisabledReason(endpoint.disabled_reason)],
            "failing_since": endpoint.failing_since.isoformat() if endpoint.failing_since else None,
        },
    )


def replay_deliveries(*, rows: Iterable[WebhookDelivery], actor: User, reason: str) -> tuple[int, int]:
    """Make deliveries due now and log it for each; returns how many, and how many stay since their endpoint is disabled."""
    count = refused = 0
    for row in rows:
        with transaction.atomic():
            try:
                replayed = replay_delivery(endpoint=row.endpoint, delivery_id=row.pk)
            except EndpointDisabled:
                refused += 1
                continue
            if replayed:
                count += 1
                _log("webhook_delivery.replay", row, actor, reason, {"event_type": row.event_type, "error": row.error})
    return count, refused


def switch_endpoints(*, rows: Iterable[WebhookEndpoint], active: bool, actor: User, reason: str) -> int:
    """Switch endpoints on or off and log it for each that was not so already; returns how many."""
    count = 0
    for row in rows:
        if (row.disabled_at is None) == active:
            continue
        with transaction.atomic():
            change_endpoint(endpoint=row, fields={"is_active": active})
            what = "on" if active else "off"
            _log(f"webhook_endpoint.{what}", row, actor, reason, {"endpoint": origin_of(row)})
        count += 1
    return count


def _log(
    action: str, row: WebhookDelivery | WebhookEndpoint, actor: User, reason: str, details: dict[str, str]
) -> None:
    log_action(
        action=action,
        subject=str(row.pk),
        actor=actor,
        reason=reason,
        project_id=row.project_id,
        mode=row.mode,
        details=details,
    )
