"""Where reconciliation has come to, what each run did, and every difference that it found between our rows and Stripe's."""

import uuid

from django.db import models
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project


class ReconcileRunQuerySet(models.QuerySet["ReconcileRun"]):
    def for_project(self, project: Project | uuid.UUID) -> "ReconcileRunQuerySet":
        """Keep one project's runs."""
        return self.filter(project=project)


class ReconcileRun(models.Model):
    """One comparison of a project's account and mode with Stripe. An interrupted one is gone on with from its cursor."""

    class Status(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="reconcile_runs")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    # "events" reads the Events list, "objects" every object, "import" an account for the first time.
    kind = models.CharField(max_length=16)
    dry_run = models.BooleanField(default=False)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.RUNNING)
    since = models.DateTimeField(null=True, blank=True)
    # What the run was started with holds for whoever goes on with it: whether anything is caused at all, and from when on.
    without_effects = models.BooleanField(default=False, db_default=False)
    effects_from = models.DateTimeField(null=True, blank=True)
    # Per list of Stripe's: the id that the next page starts after, or "" when the list is done.
    cursors = models.JSONField(default=dict, blank=True)
    seen = models.PositiveIntegerField(default=0)
    differences = models.PositiveIntegerField(default=0)
    healed = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ReconcileRunQuerySet.as_manager()

    class Meta:
        verbose_name = "Reconciliation"
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "kind"],
                condition=models.Q(status="running", dry_run=False),
                name="reconcile_run_once",
            )
        ]
        indexes = [models.Index(fields=["project", "mode", "-started_at"], name="reconcile_recent")]

    def __str__(self) -> str:
        return f"{self.kind} {self.started_at:%Y-%m-%d %H:%M}"


class EventCursor(models.Model):
    """Up to which event an account's Events list was read completely."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="event_cursors")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    last_event_id = models.CharField(max_length=255, blank=True)
    last_event_created_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "mode"], name="event_cursor_once")]

    def __str__(self) -> str:
        return self.last_event_id


class DriftQuerySet(models.QuerySet["Drift"]):
    def for_project(self, project: Project | uuid.UUID) -> "DriftQuerySet":
        """Keep one project's differences."""
        return self.filter(project=project)


class Drift(models.Model):
    """One difference: which field of which object, what we had and what Stripe has, and whether it was healed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="drifts")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    run = models.ForeignKey(ReconcileRun, on_delete=models.CASCADE, related_name="drifts")
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=255)
    # "" when the whole object is missing on one side.
    field = models.CharField(max_length=64, blank=True)
    ours = models.JSONField(null=True, blank=True)
    stripes = models.JSONField(null=True, blank=True)
    healed = models.BooleanField(default=False)
    found_at = models.DateTimeField(db_default=Now())

    objects = DriftQuerySet.as_manager()

    class Meta:
        verbose_name = "Drift"
        constraints = [models.UniqueConstraint(fields=["run", "object_type", "object_id", "field"], name="drift_once")]
        indexes = [models.Index(fields=["project", "mode", "-found_at"], name="drift_recent")]

    def __str__(self) -> str:
        return f"{self.object_id} {self.field}"
