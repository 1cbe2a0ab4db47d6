"""The tables of what leaves the service, one noun a module."""

from notifications.models.outbox import OutboxRow, OutboxRowQuerySet

__all__ = ["OutboxRow", "OutboxRowQuerySet"]
