"""The tables of what leaves the service, one noun a module."""

from notifications.models.alerts import AlertIncident, AlertKind, AlertRule, AlertTarget
from notifications.models.brand import Brand, MailOptOut
from notifications.models.outbox import OutboxRow, OutboxRowQuerySet
from notifications.models.webhooks import WebhookDelivery, WebhookEndpoint

__all__ = [
    "AlertIncident",
    "AlertKind",
    "AlertRule",
    "AlertTarget",
    "Brand",
    "MailOptOut",
    "OutboxRow",
    "OutboxRowQuerySet",
    "WebhookDelivery",
    "WebhookEndpoint",
]
