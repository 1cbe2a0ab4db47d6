"""Plans and the Stripe prices that sell them. Credits, tokens and usage build on these."""

import uuid

from django.db import models
from django.db.models import Q, Value

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project

EMPTY_OBJECT = Value({}, output_field=models.JSONField())


class PlanQuerySet(models.QuerySet["Plan"]):
    def for_project(self, project: Project | uuid.UUID) -> "PlanQuerySet":
        """Keep one project's plans."""
        return self.filter(project=project)

    def named(self, code: str) -> "PlanQuerySet":
        """Find a plan by its code or one of its aliases (`agency` = `unlimited`)."""
        return self.filter(Q(code=code) | Q(aliases__contains=[code]))

    def free_of(self, project: Project | uuid.UUID) -> "Plan | None":
        """Return what somebody without a paid plan is on; None when the project has no free plan."""
        return self.filter(project=project, free=True, archived=False).order_by("rank", "code").first()

    def on_offer(self) -> "PlanQuerySet":
        """Leave out what nobody new can be on: internal and archived plans."""
        return self.filter(internal=False, archived=False)


class BudgetDuration(models.TextChoices):
    """How often a compute budget begins anew, in LiteLLM's words; each is aligned to UTC days, weeks or months."""

    DAY = "1d", "Daily"
    WEEK = "7d", "Weekly"
    MONTH = "30d", "Monthly"


class Plan(models.Model):
    """What an end user can be on. `rank` orders upgrades; an internal plan cannot be bought; the free plan costs nothing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="plans")
    code = models.SlugField(max_length=64)
    name = models.CharField(max_length=255)
    aliases = models.JSONField(default=list, blank=True)
    rank = models.IntegerField(default=0)
    internal = models.BooleanField(default=False)
    free = models.BooleanField(default=False)
    # Not sold any more. Whoever is on it stays on it, and its prices still say so.
    archived = models.BooleanField(default=False, db_default=False)
    # Days of trial that a first checkout of this plan gives; 0 = none.
    trial_days = models.PositiveSmallIntegerField(default=0, db_default=0)
    # What the app may switch on, by name: {"runs": "priority", "export": true}. This service only hands it on.
    features = models.JSONField(default=dict, db_default=EMPTY_OBJECT, blank=True)
    # Limits. 0 = nothing at all; null = no limit, which only makes sense where it is written down on purpose.
    credits_per_day = models.PositiveIntegerField(default=0, db_default=0)
    credits_per_period = models.PositiveIntegerField(default=0, db_default=0)
    token_budget = models.PositiveBigIntegerField(default=0, db_default=0, null=True, blank=True)
    file_size_mb = models.PositiveIntegerField(null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    # In US cents, for model calls behind a LiteLLM proxy; renewed every `compute_budget_duration`.
    compute_budget_cents = models.PositiveBigIntegerField(default=0, db_default=0, null=True, blank=True)
    compute_budget_duration = models.CharField(
        max_length=8, choices=BudgetDuration.choices, default=BudgetDuration.MONTH, db_default="30d"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PlanQuerySet.as_manager()

    class Meta:
        ordering = ["project", "rank", "code"]
        constraints = [models.UniqueConstraint(fields=["project", "code"], name="plan_code_once_per_project")]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


class PlanPriceQuerySet(models.QuerySet["PlanPrice"]):
    def for_project(self, project: Project | uuid.UUID) -> "PlanPriceQuerySet":
        """Keep one project's prices."""
        return self.filter(project=project)

    def on_sale(self) -> "PlanPriceQuerySet":
        """Keep what can be bought: active, and known to Stripe. A price that is only declared waits for `setup_stripe`."""
        return self.filter(active=True).exclude(stripe_price_id="", lookup_key="")


class PlanPrice(models.Model):
    """One Stripe price that sells a plan in one mode, found by its id or its lookup_key."""

    class Interval(models.TextChoices):
        MONTH = "month", "Monthly"
        YEAR = "year", "Yearly"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="plan_prices")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="prices")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    interval = models.CharField(max_length=8, choices=Interval.choices, default=Interval.MONTH)
    stripe_price_id = models.CharField(max_length=255, blank=True)
    lookup_key = models.CharField(max_length=200, blank=True)
    amount_cents = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, default="usd")
    active = models.BooleanField(default=True)
    # What is wrong with it at Stripe: inactive, another amount or currency, gone. "" = as expected.
    warning = models.CharField(max_length=255, blank=True, default="", db_default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PlanPriceQuerySet.as_manager()

    class Meta:
        ordering = ["plan", "mode", "interval"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "stripe_price_id"],
                condition=~Q(stripe_price_id=""),
                name="plan_price_stripe_id_once",
            ),
            models.UniqueConstraint(
                fields=["project", "mode", "lookup_key"],
                condition=~Q(lookup_key=""),
                name="plan_price_lookup_key_once",
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="plan_price_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.stripe_price_id or self.lookup_key or 'no price'} ({self.mode}, {self.interval})"
