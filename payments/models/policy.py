"""How a project sells: who counts as active, what a refund takes away, what checkout asks for, and who has had a trial."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from payments.models.intents import CheckoutSession
from projects.models import EndUser, Project


def default_entitled_statuses() -> list[str]:
    """Return Stripe's statuses that give access unless a project says otherwise; past_due has its grace besides."""
    return ["active", "trialing"]


class BillingPolicyQuerySet(models.QuerySet["BillingPolicy"]):
    def for_project(self, project: Project | uuid.UUID) -> "BillingPolicyQuerySet":
        """Keep one project's policy."""
        return self.filter(project=project)


class BillingPolicy(models.Model):
    """A project's choices, for both modes. A project without a row has the defaults."""

    class DisputeAction(models.TextChoices):
        LOST = "lost", "When the dispute is lost"
        OPENED = "opened", "As soon as a dispute is opened"
        NEVER = "never", "Never"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="billing_policy")
    entitled_statuses = models.JSONField(default=default_entitled_statuses)
    grace_hours = models.PositiveIntegerField(default=72)
    full_refund_revokes = models.BooleanField(default=True)
    dispute_revokes = models.CharField(max_length=8, choices=DisputeAction.choices, default=DisputeAction.LOST)
    billing_address_collection = models.BooleanField(default=True)
    tax_id_collection = models.BooleanField(default=False)
    automatic_tax = models.BooleanField(default=False)
    allow_promotion_codes = models.BooleanField(default=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = BillingPolicyQuerySet.as_manager()

    class Meta:
        verbose_name = "Billing policy"
        verbose_name_plural = "Billing policies"

    def __str__(self) -> str:
        return f"Billing policy of {self.project}"


class TrialQuerySet(models.QuerySet["Trial"]):
    def for_project(self, project: Project | uuid.UUID) -> "TrialQuerySet":
        """Keep one project's trials."""
        return self.filter(project=project)


class Trial(models.Model):
    """An end user's one trial: reserved by a checkout session, used when a subscription trials, else free again."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="trials")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="trials")
    checkout_session = models.ForeignKey(
        CheckoutSession, null=True, blank=True, on_delete=models.SET_NULL, related_name="trials"
    )
    stripe_subscription_id = models.CharField(max_length=255, blank=True)
    reserved_at = models.DateTimeField(db_default=Now())
    used_at = models.DateTimeField(null=True, blank=True)

    objects = TrialQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "end_user"], name="trial_once_per_user"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="trial_mode"),
        ]

    def __str__(self) -> str:
        return f"Trial of {self.end_user_id}"
