"""Where a project's app listens, and what was delivered to it.

Invariants: the columns of secrets hold ciphertexts only, and a secret leaves by the answer that makes it and by no other; an event
goes to an endpoint once, whatever is carried out again; of an endpoint that is disabled nothing is leased.
"""

from typing import Self
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.encryption import SecretContext, decrypt, encrypt, mask
from common.ids import uuid7
from common.modes import MODE_CHOICES
from notifications.models.outbox import OutboxRow
from projects.models import Project, ProjectOwnedQuerySet


class WebhookEndpointQuerySet(ProjectOwnedQuerySet):
    def in_mode(self, mode: str) -> Self:
        """Keep one mode's endpoints."""
        return self.filter(mode=mode)


class WebhookEndpoint(models.Model):
    """An address of a project's app that is told of its events in one mode."""

    class DisabledReason(models.TextChoices):
        SWITCHED_OFF = "switched_off", "Switched off"
        GONE = "gone", "It answered 410 Gone"
        FAILING = "failing", "It failed for days"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_endpoints")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    url = models.CharField(max_length=2048)
    description = models.CharField(max_length=255, blank=True)
    # "*" is every type, "payment.*" every type of that noun.
    event_types = ArrayField(models.CharField(max_length=64))
    secret = models.TextField(editable=False)
    secret_masked = models.CharField(max_length=64, editable=False)
    # Signs as well until `previous_secret_until`, so that the app may change over in its own time.
    previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_until = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=16, choices=DisabledReason.choices, blank=True)
    # How many attempts in a row failed, and since when; the next attempt of all its deliveries is not before `held_until`.
    failures_in_row = models.PositiveIntegerField(default=0, db_default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    ENCRYPTED_COLUMNS = ("secret", "previous_secret")

    objects = WebhookEndpointQuerySet.as_manager()

    class Meta:
        verbose_name = "Webhook endpoint"
        permissions = [("switch_webhookendpoint", "Can switch webhook endpoints on and off")]
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="webhook_endpoint_mode"),
            models.CheckConstraint(
                condition=Q(disabled_at=None, disabled_reason="")
                | (Q(disabled_at__isnull=False) & ~Q(disabled_reason="")),
                name="webhook_endpoint_disabled_why",
            ),
        ]
        indexes = [models.Index(fields=["project", "mode", "created_at"], name="webhook_endpoint_of")]

    def __str__(self) -> str:
        return f"{self.url_masked} ({self.mode})"

    @property
    def url_masked(self) -> str:
        """Name the address without its path and query, which may hold a token."""
        parts = urlsplit(self.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        return origin if parts.path in ("", "/") and not parts.query else f"{origin}/..."

    def __repr__(self) -> str:
        return f"<WebhookEndpoint {self.project_id} {self.mode} {self.secret_masked}>"

    def encryption_context(self, column: str) -> SecretContext:
        """Say what the ciphertext of a column is bound to: also to the endpoint, since a project has several."""
        return SecretContext("notifications_webhookendpoint", str(self.project_id), self.mode, f"{self.pk}.{column}")

    def set_secret(self, column: str, plaintext: str) -> None:
        """Encrypt and keep a secret, or forget it when it is empty; saving is the caller's."""
        setattr(self, column, encrypt(plaintext, self.encryption_context(column)) if plaintext else "")
        if column == "secret":
            self.secret_masked = mask(plaintext)

    def get_secret(self, column: str = "secret") -> str:
        """Decrypt a secret. Raises common.encryption.DecryptionError."""
        return decrypt(getattr(self, column), self.encryption_context(column))


class WebhookDeliveryQuerySet(ProjectOwnedQuerySet):
    def unfinished(self) -> Self:
        """Keep deliveries that are still to be made: the small set under the partial indexes."""
        return self.filter(status__in=WebhookDelivery.UNFINISHED_STATUSES)


class WebhookDelivery(models.Model):
    """One event on its way to one endpoint, with all its attempts."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PROCESSING = "processing", "Processing"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"

    UNFINISHED_STATUSES = (Status.PENDING, Status.PROCESSING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_deliveries")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event = models.ForeignKey(OutboxRow, on_delete=models.CASCADE, related_name="deliveries")
    event_type = models.CharField(max_length=64)
    # Sent by the test button: tried once, and says nothing about the endpoint.
    is_test = models.BooleanField(default=False, db_default=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING, db_default="pending")
    # Since the delivery was made or last replayed.
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    give_up_at = models.DateTimeField()
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    status_code = models.PositiveIntegerField(null=True, blank=True)
    error = models.CharField(max_length=1000, blank=True, default="", db_default="")
    # The latest attempts: at, duration_ms, status_code, error, answer (its beginning).
    log = models.JSONField(default=list, db_default=models.Value([], output_field=models.JSONField()))
    created_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True, blank=True)

    objects = WebhookDeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = "Webhook delivery"
        verbose_name_plural = "Webhook deliveries"
        permissions = [("replay_webhookdelivery", "Can send webhooks again")]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "event", "endpoint"], name="webhook_delivery_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="webhook_delivery_mode"),
        ]
        indexes = [
            # The walk from endpoint to endpoint, and what is due at each.
            models.Index(
                fields=["endpoint", "next_attempt_at", "id"],
                condition=Q(status__in=["pending", "processing"]),
                name="webhook_delivery_due",
            ),
            models.Index(
                fields=["project", "mode", "endpoint"], condition=Q(status="processing"), name="webhook_delivery_held"
            ),
            models.Index(
                fields=["give_up_at"], condition=Q(status__in=["pending", "processing"]), name="webhook_delivery_late"
            ),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="webhook_delivery_recent"),
            models.Index(fields=["created_at"], name="webhook_delivery_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type}, {self.get_status_display().lower()}"
