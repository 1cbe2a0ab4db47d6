"""Why a user is on a plan: every change of a subscription's row, with what caused it."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from payments.models.billing import Subscription
from projects.models import Project


class SubscriptionChangeQuerySet(models.QuerySet["SubscriptionChange"]):
    def for_project(self, project: Project | uuid.UUID) -> "SubscriptionChangeQuerySet":
        """Keep one project's history."""
        return self.filter(project=project)


class SubscriptionChange(models.Model):
    """One change: the fields that differ, before and after, and the event or call that made us look.

    Changes that must be noted once whatever brings them (a renewal, a trial's notice) have a `change_key`.
    """

    class Source(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        SYNC = "sync", "Read on a request"
        RECONCILE = "reconcile", "Reconciliation"
        REBUILD = "rebuild", "Rebuild"
        STAFF = "staff", "Staff"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="subscription_changes")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="changes")
    # The first that fits: created, renewed, status, plan, quantity, access, cancellation, trial, pause, period, other.
    kind = models.CharField(max_length=32)
    change_key = models.CharField(max_length=255, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    source = models.CharField(max_length=16, choices=Source.choices)
    event_id = models.CharField(max_length=255, blank=True)
    event_type = models.CharField(max_length=128, blank=True)
    # When Stripe says that it happened, where an event says so; `recorded_at` is when we wrote it.
    happened_at = models.DateTimeField(null=True, blank=True)
    recorded_at = models.DateTimeField(db_default=Now())

    objects = SubscriptionChangeQuerySet.as_manager()

    class Meta:
        verbose_name = "Subscription change"
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "subscription", "change_key"],
                condition=~Q(change_key=""),
                name="subscription_change_once",
            )
        ]
        indexes = [models.Index(fields=["subscription", "-recorded_at", "-id"], name="subscription_change_list")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subscription_id}"
