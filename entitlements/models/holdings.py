"""What an end user is entitled to, per mode: the one row that limits, credits, budgets and connections follow."""

import datetime as dt
import uuid

from django.db import models
from django.db.models import Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from entitlements.models.plans import Plan
from projects.models import EndUser, Project


class EntitlementQuerySet(models.QuerySet["Entitlement"]):
    def for_project(self, project: Project | uuid.UUID) -> "EntitlementQuerySet":
        """Keep one project's rows."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "EntitlementQuerySet":
        """Keep one mode's rows."""
        return self.filter(mode=mode)


class Entitlement(models.Model):
    """The plan that an end user holds, as the access policy decided when its subscription was last written.

    Nobody but `entitlements/services/holdings.py` writes it. An end user without a row never held a plan.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="entitlements")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="entitlements")
    # Null with a subscription: its price is on no plan. It never means the free plan then (docs/adr/0023-entitlements.md).
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.SET_NULL, related_name="entitlements")
    # Stripe's id of the subscription that the plan comes from; "" = given by hand.
    subscription_id = models.CharField(max_length=255, blank=True, default="")
    status = models.CharField(max_length=32, blank=True, default="")
    quantity = models.PositiveIntegerField(default=1)
    # The plan holds while `active`, and not beyond `active_until` when that is set (the end of a grace).
    active = models.BooleanField(default=False)
    active_until = models.DateTimeField(null=True, blank=True)
    plan_expires = models.DateTimeField(null=True, blank=True)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    # The begin of the latest period that is paid, or in trial: budgets and periodic credits are given once for each.
    # Of a plan that was given by hand: when that was; its periodic credits come by the month from then on.
    granted_period_start = models.DateTimeField(null=True, blank=True)
    # Raised whenever something is taken away, so that entitlement tokens made before are worth nothing.
    epoch = models.PositiveIntegerField(default=0)
    epoch_raised_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EntitlementQuerySet.as_manager()

    class Meta:
        permissions = [("give_plan", "Can put end users on a plan by hand")]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "end_user"], name="entitlement_once_per_user"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="entitlement_mode"),
        ]
        indexes = [
            models.Index(
                fields=["project", "mode", "epoch_raised_at"],
                condition=Q(epoch_raised_at__isnull=False),
                name="entitlement_epochs",
            ),
            models.Index(
                fields=["project", "mode"], condition=Q(active=True, subscription_id=""), name="entitlement_given"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.end_user_id} ({self.mode})"

    @property
    def is_given(self) -> bool:
        """Whether somebody gave the plan by hand; no subscription changes it then."""
        return self.active and not self.subscription_id

    def holds_at(self, moment: dt.datetime) -> bool:
        """Say whether the plan holds at a moment."""
        return self.active and (self.active_until is None or moment < self.active_until)
