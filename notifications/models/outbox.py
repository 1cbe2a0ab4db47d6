"""The outbox: everything that leaves the service because something happened, each once by its effect key.

Invariant: a row is written in the transaction of the state that caused it, and (project, mode, effect_key) is unique, so that no
event, replay or reconciliation makes the same effect twice. Rows are leased like the inbox's: a dead worker's come back.
"""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import EndUser, Project


class OutboxRowQuerySet(models.QuerySet["OutboxRow"]):
    def for_project(self, project: Project | uuid.UUID) -> "OutboxRowQuerySet":
        """Keep one project's effects."""
        return self.filter(project=project)

    def unfinished(self) -> "OutboxRowQuerySet":
        """Keep effects that are still to be carried out: the small set under the partial indexes."""
        return self.filter(status__in=OutboxRow.UNFINISHED_STATUSES)


class OutboxRow(models.Model):
    """One effect that is to happen once. `kind` names the executor that an app registered at start."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        PROCESSING = "processing", "Processing"
        DONE = "done", "Done"
        DEAD = "dead", "Dead letter"
        # Decided against: too late to be of use, or found again after a restore.
        SKIPPED = "skipped", "Skipped"

    UNFINISHED_STATUSES = (Status.PENDING, Status.PROCESSING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="outbox_rows")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    kind = models.CharField(max_length=64)
    effect_key = models.CharField(max_length=255)
    end_user = models.ForeignKey(EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="outbox_rows")
    payload = models.JSONField(default=dict)
    # The Stripe event, request or person that caused it, for support.
    cause = models.CharField(max_length=255, blank=True)
    # What runs in order and one at a time, such as one endpoint or one user; "" = no order.
    lane = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    # "config_error" waits for a mended Stripe key without using up attempts.
    wait_reason = models.CharField(max_length=32, blank=True, default="", db_default="")
    # What the peer answered: an id, a status, a message id.
    result = models.JSONField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True, blank=True)

    objects = OutboxRowQuerySet.as_manager()

    class Meta:
        verbose_name = "Outbox row"
        permissions = [
            ("replay_outboxrow", "Can carry dead letters out again"),
            ("resend_mail", "Can send mails again"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "effect_key"], name="outbox_effect_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="outbox_mode"),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=Q(status__in=["pending", "processing"]), name="outbox_due"
            ),
            models.Index(
                fields=["project", "mode", "kind", "next_attempt_at"],
                condition=Q(status__in=["pending", "processing"]),
                name="outbox_due_of_account",
            ),
            # The walk from lane to lane, and each lane's oldest row.
            models.Index(
                fields=["project", "mode", "kind", "lane", "created_at", "id"],
                condition=Q(status__in=["pending", "processing"]),
                name="outbox_lane",
            ),
            models.Index(fields=["project", "mode", "-created_at"], name="outbox_recent"),
            models.Index(fields=["end_user", "-created_at"], name="outbox_of_user"),
            models.Index(fields=["kind", "-created_at"], condition=Q(status="dead"), name="outbox_dead"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.effect_key}"
