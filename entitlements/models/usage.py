"""Metered usage: what is counted, how much a plan includes, what was reported, and what the rest costs.

Invariants: an event counts once, in exactly one period, and a total is always the sum of its events; a period is closed once, and
a closed one for which somebody pays takes no more events. Quantities and rates are exact decimals; amounts are whole minor units,
rounded once per charge.
"""

import uuid
from decimal import Decimal

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from common.money import money_text
from entitlements.models.plans import Plan
from projects.models import EndUser, Project

# Twelve digits before the point and six behind it for one event; totals have room for a billion of those.
QUANTITY_DIGITS, QUANTITY_PLACES = 18, 6
TOTAL_DIGITS = 27
RATE_DIGITS, RATE_PLACES = 20, 10
# A quantity times a rate, exactly.
AMOUNT_DIGITS, AMOUNT_PLACES = TOTAL_DIGITS + RATE_DIGITS, QUANTITY_PLACES + RATE_PLACES


class MeterQuerySet(models.QuerySet["Meter"]):
    def for_project(self, project: Project | uuid.UUID) -> "MeterQuerySet":
        """Keep one project's meters."""
        return self.filter(project=project)


class Meter(models.Model):
    """Something that is counted, and what a unit of it costs beyond what a plan includes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="meters")
    code = models.SlugField(max_length=64)
    name = models.CharField(max_length=255)
    # What one is, for people: "search", "GB-month".
    unit = models.CharField(max_length=32, blank=True)
    # Minor units of `currency` for one unit; a thousand tokens at $0.06 are 0.006 cents a token.
    unit_amount = models.DecimalField(max_digits=RATE_DIGITS, decimal_places=RATE_PLACES, default=Decimal(0))
    currency = models.CharField(max_length=3, default="usd")
    # The event name of a billing meter at Stripe, whose price then counts; "" = this rate, as a line of an invoice.
    stripe_event_name = models.CharField(max_length=100, blank=True, default="")
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MeterQuerySet.as_manager()

    class Meta:
        ordering = ["project", "code"]
        constraints = [
            models.UniqueConstraint(fields=["project", "code"], name="meter_code_once_per_project"),
            models.CheckConstraint(condition=Q(unit_amount__gte=0), name="meter_rate_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


class PlanQuotaQuerySet(models.QuerySet["PlanQuota"]):
    def for_project(self, project: Project | uuid.UUID) -> "PlanQuotaQuerySet":
        """Keep one project's quotas."""
        return self.filter(project=project)


class PlanQuota(models.Model):
    """How much of a meter a plan includes per period. A meter without a quota is neither limited nor billed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="plan_quotas")
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="quotas")
    meter = models.ForeignKey(Meter, on_delete=models.CASCADE, related_name="quotas")
    # 0 = nothing, null = no limit.
    included = models.DecimalField(
        max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES, null=True, blank=True, default=Decimal(0)
    )
    # Use beyond this share of what is included is refused: 100 = a hard stop, null = never, all of it is billed.
    block_at_percent = models.PositiveIntegerField(null=True, blank=True, default=110)
    # Another rate than the meter's, for this plan; null = the meter's.
    unit_amount = models.DecimalField(max_digits=RATE_DIGITS, decimal_places=RATE_PLACES, null=True, blank=True)

    objects = PlanQuotaQuerySet.as_manager()

    class Meta:
        ordering = ["plan", "meter"]
        constraints = [
            models.UniqueConstraint(fields=["project", "plan", "meter"], name="plan_quota_once_per_meter"),
            models.CheckConstraint(
                condition=Q(included__isnull=True) | Q(included__gte=0), name="plan_quota_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(unit_amount__isnull=True) | Q(unit_amount__gte=0), name="plan_quota_rate_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(block_at_percent__isnull=True) | Q(block_at_percent__gte=100), name="plan_quota_block"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan} – {self.meter}"


class UsagePeriodQuerySet(models.QuerySet["UsagePeriod"]):
    def for_project(self, project: Project | uuid.UUID) -> "UsagePeriodQuerySet":
        """Keep one project's periods."""
        return self.filter(project=project)

    def of_user(self, *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> "UsagePeriodQuerySet":
        """Keep one end user's periods in a mode."""
        return self.filter(project_id=project_id, mode=mode, end_user_id=end_user_id)


class UsagePeriod(models.Model):
    """A stretch of time in which an end user's usage is added up; those of one user in a mode do not overlap.

    It exists from its first event on. Usage beyond the plan's quotas is billed when it is over and a subscription stands behind it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="usage_periods")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="usage_periods")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    # The plan that held last in it, whose quotas count; Stripe's id of the subscription that it came from, "" = nobody pays.
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.SET_NULL, related_name="usage_periods")
    subscription_id = models.CharField(max_length=255, blank=True, default="")
    # The begin of the whole stretch that it is a part of: what the plan includes is given once for that. Null = its own begin.
    paid_from = models.DateTimeField(null=True, blank=True)
    # Nobody pays for it yet: nothing is billed beyond it.
    trial = models.BooleanField(default=False, db_default=False)
    # No event is counted in it any more, and its charges are final.
    closed_at = models.DateTimeField(null=True, blank=True)
    # Where its charges go, decided before Stripe is asked the first time and kept, so that a repeat asks for the same:
    # "" = undecided, "renewal" = the subscription's next invoice, "own" = an invoice of their own, else a draft's id.
    bill_to = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    objects = UsagePeriodQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "end_user", "starts_at"], name="usage_period_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="usage_period_mode"),
            models.CheckConstraint(condition=Q(ends_at__gte=models.F("starts_at")), name="usage_period_in_order"),
        ]
        indexes = [
            models.Index(fields=["ends_at"], condition=Q(closed_at__isnull=True), name="usage_period_open"),
            models.Index(fields=["project", "mode", "-starts_at"], name="usage_period_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d} – {self.ends_at:%Y-%m-%d}"

    @property
    def is_billable(self) -> bool:
        """Whether somebody pays for what goes beyond the plan: a subscription that is not in its trial."""
        return bool(self.subscription_id) and not self.trial


class UsageTotalQuerySet(models.QuerySet["UsageTotal"]):
    def for_project(self, project: Project | uuid.UUID) -> "UsageTotalQuerySet":
        """Keep one project's totals."""
        return self.filter(project=project)


class UsageTotal(models.Model):
    """How much of a meter an end user has used in a period: the sum of its events, also of those that are not kept any more."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="usage_totals")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    period = models.ForeignKey(UsagePeriod, on_delete=models.CASCADE, related_name="totals")
    meter = models.ForeignKey(Meter, on_delete=models.RESTRICT, related_name="totals")
    used = models.DecimalField(max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES)
    events = models.PositiveBigIntegerField()
    # How much of it was used before the period began and reported after that one was closed.
    late = models.DecimalField(max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES, default=Decimal(0))
    # How it stood when the plan changed last within the period: used until then, how much of that went beyond the plan that held,
    # and what that costs (minor units, exact). It is judged by no later plan.
    settled_used = models.DecimalField(
        max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES, default=Decimal(0), db_default=Decimal(0)
    )
    settled_overage = models.DecimalField(
        max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES, default=Decimal(0), db_default=Decimal(0)
    )
    settled_amount = models.DecimalField(
        max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES, default=Decimal(0), db_default=Decimal(0)
    )
    # What of it is the sum of events that are not kept any more.
    folded_used = models.DecimalField(
        max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES, default=Decimal(0), db_default=Decimal(0)
    )
    folded_events = models.PositiveBigIntegerField(default=0, db_default=0)
    folded_late = models.DecimalField(
        max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES, default=Decimal(0), db_default=Decimal(0)
    )

    objects = UsageTotalQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "period", "meter"], name="usage_total_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="usage_total_mode"),
            models.CheckConstraint(condition=Q(used__gt=0), name="usage_total_positive"),
        ]


class UsageEventQuerySet(models.QuerySet["UsageEvent"]):
    def for_project(self, project: Project | uuid.UUID) -> "UsageEventQuerySet":
        """Keep one project's events."""
        return self.filter(project=project)


class UsageEvent(models.Model):
    """One report of usage. Its key counts once per project and mode; what an end user reports has keys of its own.

    So nobody who can only report for themselves takes a key that the app's server is going to use.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="usage_events")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="usage_events")
    # "" = the app's server, else the id of the end user who reported it with their own token.
    reporter = models.CharField(max_length=36, blank=True, default="")
    event_key = models.CharField(max_length=255)
    meter = models.ForeignKey(Meter, on_delete=models.RESTRICT, related_name="events")
    period = models.ForeignKey(UsagePeriod, on_delete=models.CASCADE, related_name="events")
    quantity = models.DecimalField(max_digits=QUANTITY_DIGITS, decimal_places=QUANTITY_PLACES)
    happened_at = models.DateTimeField()
    # It happened before its period, whose predecessor was closed when it was reported.
    late = models.BooleanField(default=False)
    metadata = models.JSONField(default=dict, blank=True)
    received_at = models.DateTimeField(db_default=Now())

    objects = UsageEventQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "reporter", "event_key"], name="usage_event_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="usage_event_mode"),
            models.CheckConstraint(condition=Q(quantity__gt=0), name="usage_event_positive"),
        ]
        indexes = [models.Index(fields=["project", "mode", "-received_at"], name="usage_event_recent")]

    def __str__(self) -> str:
        return self.event_key


class UsageChargeQuerySet(models.QuerySet["UsageCharge"]):
    def for_project(self, project: Project | uuid.UUID) -> "UsageChargeQuerySet":
        """Keep one project's charges."""
        return self.filter(project=project)


class UsageCharge(models.Model):
    """What a period's usage of a meter beyond its quota costs: one line of a bill, made when the period is closed."""

    class Method(models.TextChoices):
        INVOICE_ITEM = "invoice_item", "Line of an invoice"
        METER_EVENT = "meter_event", "Event of a billing meter"

    class Status(models.TextChoices):
        PENDING = "pending", "To be billed"
        BILLED = "billed", "Billed"
        WAIVED = "waived", "Not billed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="usage_charges")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="usage_charges")
    period = models.ForeignKey(UsagePeriod, on_delete=models.CASCADE, related_name="charges")
    meter = models.ForeignKey(Meter, on_delete=models.RESTRICT, related_name="charges")
    used = models.DecimalField(max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES)
    included = models.DecimalField(max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES)
    overage = models.DecimalField(max_digits=TOTAL_DIGITS, decimal_places=QUANTITY_PLACES)
    unit_amount = models.DecimalField(max_digits=RATE_DIGITS, decimal_places=RATE_PLACES)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    method = models.CharField(max_length=16, choices=Method.choices)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    # Why it is not billed, or that it includes usage of an earlier period.
    note = models.CharField(max_length=255, blank=True, default="")
    # An event of a meter was sent and its answer has not come; Stripe cannot be asked for it.
    sent_at = models.DateTimeField(null=True, blank=True)
    stripe_object_id = models.CharField(max_length=255, blank=True, default="")
    stripe_invoice_id = models.CharField(max_length=255, blank=True, default="")
    billed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = UsageChargeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "period", "meter"], name="usage_charge_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="usage_charge_mode"),
            models.CheckConstraint(condition=Q(amount_cents__gte=0), name="usage_charge_not_negative"),
        ]
        indexes = [models.Index(fields=["project", "mode", "-created_at"], name="usage_charge_recent")]

    def __str__(self) -> str:
        return f"{money_text(self.amount_cents, self.currency)} ({self.status})"
