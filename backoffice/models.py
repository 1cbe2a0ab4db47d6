"""Files that staff and developers asked for: rows of a list as CSV or XLSX, made in the background and kept for a day.

Invariant: a file is its maker's alone, and is made of what the maker may see when it is made, not only when it was asked for.
"""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project


class ExportQuerySet(models.QuerySet["Export"]):
    def for_project(self, project: Project | uuid.UUID) -> "ExportQuerySet":
        """Keep one project's exports; those over all projects are staff's."""
        return self.filter(project=project)


class Export(models.Model):
    """One file. Its bytes are in `ExportPart`, in the order in which they were written, so that any web server can send it."""

    class Format(models.TextChoices):
        CSV = "csv", "CSV"
        XLSX = "xlsx", "Excel (XLSX)"

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting"
        RUNNING = "running", "Being made"
        DONE = "done", "Ready"
        FAILED = "failed", "Failed"
        EXPIRED = "expired", "Expired"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="exports")
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="exports")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES, blank=True)
    what = models.CharField("list", max_length=32)
    since = models.DateField(null=True, blank=True)
    until = models.DateField(null=True, blank=True)
    # Which rows of the list, as its address in the admin says it.
    filters = models.CharField(max_length=1000, blank=True, default="", db_default="")
    format = models.CharField(max_length=4, choices=Format.choices, default=Format.CSV)
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING, db_default=Status.PENDING)
    rows_written = models.PositiveBigIntegerField(default=0, db_default=0)
    size_bytes = models.PositiveBigIntegerField(default=0, db_default=0)
    error = models.CharField(max_length=500, blank=True, default="", db_default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    done_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = ExportQuerySet.as_manager()

    class Meta:
        verbose_name = "Export"
        indexes = [
            models.Index(fields=["made_by", "-created_at"], name="export_of_maker"),
            models.Index(fields=["created_at"], condition=Q(status__in=["pending", "running"]), name="export_due"),
        ]

    def __str__(self) -> str:
        return f"{self.what} ({self.get_format_display()})"


class ExportPart(models.Model):
    """A piece of a file."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="parts")
    number = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["export", "number"], name="export_part_once")]

    def __str__(self) -> str:
        return f"{self.export_id} {self.number}"
