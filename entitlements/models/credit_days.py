"""How many credits were given and used per day: what a dashboard draws without reading the ledger.

Invariant: a row is the sum over the ledger's transactions that were written on its day (UTC). The background sums the last two days
anew each time, so that nothing is added on the path on which credits are spent.
"""

import uuid

from django.db import models

from common.modes import MODE_CHOICES
from projects.models import Project


class CreditDayQuerySet(models.QuerySet["CreditDay"]):
    def for_project(self, project: Project | uuid.UUID) -> "CreditDayQuerySet":
        """Keep one project's days."""
        return self.filter(project=project)


class CreditDay(models.Model):
    """One day's credits of a project and mode. Units: whole credits; `used` is what was spent and not given back."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="credit_days")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    day = models.DateField()
    given = models.BigIntegerField(default=0)
    used = models.BigIntegerField(default=0)

    objects = CreditDayQuerySet.as_manager()

    class Meta:
        verbose_name = "Day of credits"
        verbose_name_plural = "Days of credits"
        constraints = [models.UniqueConstraint(fields=["project", "mode", "day"], name="credit_day_once")]

    def __str__(self) -> str:
        return f"{self.day}: {self.used} used"
