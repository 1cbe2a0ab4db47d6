"""Sums that are read in constant time: what was earned per day and currency, and how many subscriptions there are.

Invariant: a row of the day table plus the deltas that are not folded yet equals the sum over the base rows. Deltas are appended by
triggers on the base tables, so that no way of writing them can forget one.
"""

import uuid

from django.db import models

from common.modes import MODE_CHOICES
from projects.models import Project


class RevenueDayQuerySet(models.QuerySet["RevenueDay"]):
    def for_project(self, project: Project | uuid.UUID) -> "RevenueDayQuerySet":
        """Keep one project's days."""
        return self.filter(project=project)


class RevenueDay(models.Model):
    """One day's payments and refunds of a project, mode and currency (UTC). Refunds count on the day that they were made.

    Units: minor units of `currency`.
    """

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="revenue_days")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    currency = models.CharField(max_length=3)
    day = models.DateField()
    payments = models.BigIntegerField(default=0)
    succeeded = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    gross_cents = models.BigIntegerField(default=0)
    refunds = models.BigIntegerField(default=0)
    refunded_cents = models.BigIntegerField(default=0)

    objects = RevenueDayQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "mode", "currency", "day"], name="revenue_day_once")]

    def __str__(self) -> str:
        return f"{self.day} {self.currency}"


class RevenueDelta(models.Model):
    """What one write added to or took from a day. Folded into `RevenueDay` in the background and then deleted."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, db_constraint=False, related_name="revenue_deltas", db_index=False
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    currency = models.CharField(max_length=3)
    day = models.DateField()
    payments = models.BigIntegerField(default=0)
    succeeded = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    gross_cents = models.BigIntegerField(default=0)
    refunds = models.BigIntegerField(default=0)
    refunded_cents = models.BigIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["project", "mode"], name="revenue_delta_account")]

    def __str__(self) -> str:
        return f"{self.day} {self.currency}"


class SubscriptionGauge(models.Model):
    """How many subscriptions of a project and mode have a status and a price now. A gauge: folded from deltas like the days."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="subscription_gauges")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    status = models.CharField(max_length=32)
    stripe_price_id = models.CharField(max_length=255, default="", db_default="", blank=True)
    subscriptions = models.BigIntegerField(default=0)
    # What the price is paid for, summed over the subscriptions.
    quantity = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "status", "stripe_price_id"], name="subscription_gauge_of_price_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.status}: {self.subscriptions}"


class SubscriptionGaugeDelta(models.Model):
    """What one write added to or took from a gauge."""

    id = models.BigAutoField(primary_key=True)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, db_constraint=False, related_name="gauge_deltas", db_index=False
    )
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    status = models.CharField(max_length=32)
    stripe_price_id = models.CharField(max_length=255, default="", db_default="", blank=True)
    subscriptions = models.BigIntegerField(default=0)
    quantity = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        indexes = [models.Index(fields=["project", "mode"], name="gauge_delta_account")]

    def __str__(self) -> str:
        return f"{self.status}: {self.subscriptions:+d}"
