"""Token budgets: what was granted per period, what of it is used, and what a lost Redis is rebuilt from (docs/tokens.md)."""

import datetime as dt
import uuid

from django.db import models
from django.db.models import Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from entitlements.models.plans import Plan
from projects.models import EndUser, Project


class TokenPeriodQuerySet(models.QuerySet["TokenPeriod"]):
    def for_project(self, project: Project | uuid.UUID) -> "TokenPeriodQuerySet":
        """Keep one project's periods."""
        return self.filter(project=project)

    def of_user(self, *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> "TokenPeriodQuerySet":
        """Keep one user's periods in one mode."""
        return self.filter(project_id=project_id, mode=mode, end_user_id=end_user_id)


class TokenPeriod(models.Model):
    """A budget that was granted once: for one purchase or renewal, or for a calendar month of somebody without one.

    Nobody but `entitlements/services/token_periods.py` writes it. What is used of it is the sum of its uses.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="token_periods")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="token_periods")
    # `<subscription>:<begin of the granted period>`, `free:<month>` or `hand:<month>`: what makes a grant happen once.
    key = models.CharField(max_length=300)
    # Stripe's id; "" = the budget comes from no subscription.
    subscription_id = models.CharField(max_length=255, blank=True, default="")
    # The plan that the limit is of: another plan brings its own limit, and an edited one only a greater one. Null = not known.
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Null = no limit. It may be below what is used already, after a change to a smaller plan.
    limit_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TokenPeriodQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "end_user", "key"], name="token_period_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="token_period_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.key} ({self.mode})"


class TokenUse(models.Model):
    """How many tokens of a period were used while one Redis kept count; `era` names that Redis' life.

    It only grows: a figure that is written late or twice changes nothing.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    period = models.ForeignKey(TokenPeriod, on_delete=models.CASCADE, related_name="uses", db_index=False)
    era = models.CharField(max_length=36)
    used_tokens = models.BigIntegerField(default=0)
    journalled_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["period", "project", "mode", "era"], name="token_use_once"),
            models.CheckConstraint(condition=Q(used_tokens__gte=0), name="token_use_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.used_tokens} of {self.period_id}"


class MarkKind(models.TextChoices):
    """What must outlive Redis besides the count."""

    KEY = "key", "Idempotency key"
    RESERVATION = "reservation", "Reservation"


class TokenMark(models.Model):
    """An idempotency key with its answer, or a reservation, until it expires: rebuilt into Redis when that lost them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="+", db_index=False)
    kind = models.CharField(max_length=12, choices=MarkKind.choices)
    # A reservation's id, or the hash of a caller and the key that it sent.
    name = models.CharField(max_length=64)
    # A key's fingerprint and answer; "" for a reservation.
    value = models.TextField(blank=True, default="")
    tokens = models.BigIntegerField(default=0)
    # A reservation that was committed or released; it is never open again.
    closed = models.BooleanField(default=False)
    # Made while Redis was away, so that only this row knows of it.
    in_outage = models.BooleanField(default=False)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["end_user", "project", "mode", "kind", "name"], name="token_mark_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="token_mark_mode"),
        ]
        indexes = [models.Index(fields=["expires_at"], name="token_mark_expiry")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def is_open_at(self, moment: dt.datetime) -> bool:
        """Say whether a reservation still holds tokens."""
        return not self.closed and moment < self.expires_at
