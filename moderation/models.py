"""What staff must look at, and what they did about it.

Invariant: the log is append-only; a trigger refuses to change or delete its rows.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import EndUser, Project, ProjectOwnedQuerySet


class ReviewItemQuerySet(models.QuerySet["ReviewItem"]):
    def for_project(self, project: Project | uuid.UUID) -> "ReviewItemQuerySet":
        """Keep one project's items."""
        return self.filter(project=project)


class ReviewItem(models.Model):
    """One thing for a person to decide. `cause_key` is unique, so that a cause makes one item however often it is seen."""

    class Kind(models.TextChoices):
        DISPUTE = "dispute", "Dispute"
        FRAUD_WARNING = "fraud_warning", "Early fraud warning"
        UNKNOWN_PRICE = "unknown_price", "Unknown price"
        PRICE_DRIFT = "price_drift", "Price differs from Stripe"
        FAILED_REFUND = "failed_refund", "Failed refund"
        FAILED_PROVISIONING = "failed_provisioning", "Failed provisioning"
        STUCK_LICENSE = "stuck_license", "Stuck licence"
        ODD_CREDIT_USE = "odd_credit_use", "Odd credit use"
        FAILED_PAYMENTS = "failed_payments", "Many failed payments"
        DEAD_LETTER = "dead_letter", "Dead letter"
        INVOICE_TROUBLE = "invoice_trouble", "Invoice could not be finalized or collected"
        DRIFT = "drift", "Differs from Stripe without an event"
        INVARIANT = "invariant", "A rule of the data is broken"
        REPORT = "report", "User report"
        WEBHOOK_ENDPOINT = "webhook_endpoint", "The app's webhook endpoint was disabled"

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        APPROVED = "approved", "Approved"
        DISMISSED = "dismissed", "Dismissed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="review_items")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    cause_key = models.CharField(max_length=255)
    # The Stripe id, event id or row id that it is about.
    subject = models.CharField(max_length=255, blank=True)
    end_user = models.ForeignKey(EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="review_items")
    title = models.CharField(max_length=255)
    details = models.JSONField(default=dict, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="assigned_items"
    )
    note = models.TextField(blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = ReviewItemQuerySet.as_manager()

    class Meta:
        verbose_name = "Review item"
        permissions = [("decide_reviewitem", "Can decide about review items")]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "cause_key"], name="review_item_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="review_item_mode"),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-created_at"], name="review_item_recent"),
            models.Index(fields=["-created_at"], condition=Q(status="pending"), name="review_item_pending"),
            # What a rule asks before it opens an item: is there one about this already?
            models.Index(fields=["project", "mode", "kind", "subject"], name="review_item_subject"),
        ]

    def __str__(self) -> str:
        return self.title


class ReviewNote(models.Model):
    """What somebody of the staff wrote beside an item; the next one reads it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="review_notes")
    item = models.ForeignKey(ReviewItem, on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="review_notes"
    )
    author_label = models.CharField(max_length=255)
    text = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Review note"
        indexes = [models.Index(fields=["item", "created_at"], name="review_note_of_item")]

    def __str__(self) -> str:
        return self.text[:80]


class ActionLogQuerySet(models.QuerySet["ActionLog"]):
    def for_project(self, project: Project | uuid.UUID) -> "ActionLogQuerySet":
        """Keep what was done in one project."""
        return self.filter(project=project)


class ActionLog(models.Model):
    """Who did what, when and why. Survives the project and the person: nothing here is ever updated or deleted."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(
        Project, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="action_log"
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="actions"
    )
    # Kept beside the reference, which may point at nobody later; "system" for what no person did.
    actor_label = models.CharField(max_length=255)
    action = models.CharField(max_length=64)
    subject = models.CharField(max_length=255, blank=True)
    reason = models.TextField(blank=True)
    details = models.JSONField(default=dict, blank=True)
    at = models.DateTimeField(db_default=Now())

    objects = ActionLogQuerySet.as_manager()

    class Meta:
        verbose_name = "Action"
        verbose_name_plural = "Action log"
        indexes = [
            models.Index(fields=["project", "-at"], name="action_log_recent"),
            models.Index(fields=["subject", "-at"], name="action_log_subject"),
            # What one person gave away today.
            models.Index(fields=["actor", "action", "-at"], name="action_log_of_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
