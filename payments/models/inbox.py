"""The inbox of Stripe events, and the leases that let one worker at a time write an object's state.

Invariant: every event id that Stripe got a 200 for has exactly one row here, and its key is never deleted.
"""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project


class WebhookEventQuerySet(models.QuerySet["WebhookEvent"]):
    def for_project(self, project: Project | uuid.UUID) -> "WebhookEventQuerySet":
        """Keep one project's events."""
        return self.filter(project=project)

    def unfinished(self) -> "WebhookEventQuerySet":
        """Keep events that still need work: the small set under the partial index."""
        return self.filter(status__in=WebhookEvent.UNFINISHED_STATUSES)


class WebhookEvent(models.Model):
    """One event as Stripe sent it. `handled_at` is set only when its effects are committed."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PROCESSING = "processing", "Processing"
        PROCESSED = "processed", "Processed"
        IGNORED = "ignored", "Ignored"
        DEAD = "dead", "Dead letter"

    UNFINISHED_STATUSES = (Status.PENDING, Status.PROCESSING)
    # Why an event is ignored whose type this release does not follow. A later one that does looks for this text.
    NOT_FOLLOWED = "Nothing here follows events of this type."

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_events")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    event_id = models.CharField(max_length=255)
    type = models.CharField(max_length=128)
    api_version = models.CharField(max_length=64, blank=True)
    stripe_account_id = models.CharField(max_length=255, blank=True)
    stripe_created_at = models.DateTimeField(null=True, blank=True)
    object_id = models.CharField(max_length=255, blank=True)
    # What the sync lease is taken on: the customer where there is one, else the object.
    root = models.CharField(max_length=255, blank=True)
    payload = models.JSONField(null=True, blank=True)
    # When retention emptied the body; the key stays for good.
    emptied_at = models.DateTimeField(null=True, blank=True)
    # "webhook" as delivered, "reconcile" when it was found in Stripe's Events list.
    source = models.CharField(max_length=16, db_default="webhook", default="webhook")
    # Events that were found after a restore write state and cause no mail, webhook or other effect a second time.
    without_effects = models.BooleanField(db_default=False, default=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(db_default=Now())
    handled_at = models.DateTimeField(null=True, blank=True)
    # The last attempt that failed, whatever became of the event afterwards.
    failed_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    # "config_error" waits for a mended key without using up attempts.
    wait_reason = models.CharField(max_length=32, blank=True)

    objects = WebhookEventQuerySet.as_manager()

    class Meta:
        verbose_name = "Webhook event"
        permissions = [("replay_webhookevent", "Can have Stripe's events processed again")]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "event_id"], name="webhook_event_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="webhook_event_mode"),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=Q(status__in=["pending", "processing"]), name="webhook_event_due"
            ),
            models.Index(
                fields=["project", "mode", "next_attempt_at"],
                condition=Q(status__in=["pending", "processing"]),
                name="webhook_event_due_of_account",
            ),
            models.Index(
                fields=["project", "mode", "root"],
                condition=Q(status__in=["pending", "processing"]),
                name="webhook_event_due_of_root",
            ),
            models.Index(fields=["project", "mode", "-received_at"], name="webhook_event_recent"),
            models.Index(fields=["project", "mode", "object_id"], name="webhook_event_object"),
            models.Index(
                fields=["project", "mode", "-received_at"], condition=Q(status="dead"), name="webhook_event_dead"
            ),
            models.Index(
                fields=["project", "mode", "-failed_at"],
                condition=Q(failed_at__isnull=False),
                name="webhook_event_failed",
            ),
            # What retention looks for. Entered when an event is done, so that taking one costs nothing more.
            models.Index(
                fields=["received_at"],
                condition=Q(emptied_at__isnull=True, status__in=["processed", "ignored", "dead"]),
                name="webhook_event_body_kept",
            ),
            # What the next release may follow, by type: an index of all ignored events would hold every neighbour's as well.
            models.Index(
                fields=["type", "received_at"],
                condition=Q(status="ignored", error="Nothing here follows events of this type."),
                name="webhook_event_not_followed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class SyncLease(models.Model):
    """The right to write one root's state. A writer whose token was taken over must not commit."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE)
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    root = models.CharField(max_length=255)
    token = models.UUIDField()
    until = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "mode", "root"], name="sync_lease_once")]

    def __str__(self) -> str:
        return f"{self.mode} {self.root}"
