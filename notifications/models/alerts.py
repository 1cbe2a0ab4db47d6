"""Alerts: when something counts as trouble, who is told, and each stretch of trouble as one incident.

Invariant: of one kind a project and mode has at most one open incident, so that trouble is told once when it begins and once when
it is over. Rows without a project are the operator's: rules for projects that have none of their own, and who hears of all
projects.
"""

from typing import Self
from urllib.parse import urlsplit

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from common.encryption import SecretContext, decrypt, encrypt, mask
from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project, ProjectOwnedQuerySet

INSTANCE = "instance"


class AlertKind(models.TextChoices):
    """What is watched."""

    INBOUND_FAILURES = "inbound_failures", "Stripe events that fail"
    OUTBOUND_FAILURES = "outbound_failures", "Webhooks to the app that fail"
    OLDEST_EVENT = "oldest_event", "Stripe events that wait"
    FAILED_PAYMENTS = "failed_payments", "Payments that fail"
    ODD_CREDIT_USE = "odd_credit_use", "Odd use of credits"
    REVIEW_BACKLOG = "review_backlog", "Review items that wait"
    REPORTS_SPIKE = "reports_spike", "Many reports by users"


class AlertRule(models.Model):
    """A threshold that differs from the default one, for a project or (without one) for all that have no rule of the kind."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="alert_rules")
    kind = models.CharField(max_length=32, choices=AlertKind.choices)
    is_enabled = models.BooleanField(default=True)
    threshold = models.PositiveIntegerField()
    recovers_at = models.PositiveIntegerField()
    window_minutes = models.PositiveIntegerField()
    calm_minutes = models.PositiveIntegerField(default=10)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Alert rule"
        constraints = [
            models.UniqueConstraint(fields=["project", "kind"], nulls_distinct=False, name="alert_rule_once"),
            models.CheckConstraint(condition=Q(recovers_at__lt=F("threshold")), name="alert_rule_recovers_below"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.threshold}"


class AlertTarget(models.Model):
    """Where alerts go: a project's (else its owners are told by mail), or the operator's, which hears of every project."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.CASCADE, related_name="alert_targets")
    mail_to = models.JSONField(default=list, blank=True)
    webhook_url = models.CharField(max_length=2048, blank=True)
    webhook_secret = models.TextField(blank=True, editable=False)
    webhook_secret_masked = models.CharField(max_length=64, blank=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    ENCRYPTED_COLUMNS = ("webhook_secret",)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Alert recipient"
        constraints = [
            models.UniqueConstraint(fields=["project"], nulls_distinct=False, name="alert_target_once"),
        ]

    def __str__(self) -> str:
        return f"Alerts of {self.project}" if self.project_id else "Alerts of every project"

    @property
    def webhook_url_masked(self) -> str:
        """Name the listener without its path and query, which may hold a token; "" when there is none."""
        parts = urlsplit(self.webhook_url)
        return f"{parts.scheme}://{parts.netloc}/..." if self.webhook_url else ""

    def __repr__(self) -> str:
        return f"<AlertTarget {self.project_id or INSTANCE} {self.webhook_secret_masked}>"

    def encryption_context(self, column: str) -> SecretContext:
        """Say what the ciphertext of a column is bound to."""
        return SecretContext("notifications_alerttarget", str(self.project_id or INSTANCE), "", column)

    def set_webhook_secret(self, plaintext: str) -> None:
        """Encrypt and keep the secret, or forget it when it is empty; saving is the caller's."""
        self.webhook_secret = encrypt(plaintext, self.encryption_context("webhook_secret")) if plaintext else ""
        self.webhook_secret_masked = mask(plaintext) if plaintext else ""

    def get_webhook_secret(self) -> str:
        """Decrypt the secret. Raises common.encryption.DecryptionError."""
        return decrypt(self.webhook_secret, self.encryption_context("webhook_secret"))


class AlertIncidentQuerySet(ProjectOwnedQuerySet):
    def open(self) -> Self:
        """Keep what is not over yet."""
        return self.filter(resolved_at=None)


class AlertIncident(models.Model):
    """One stretch of trouble, from the first reading at the threshold until readings were calm for long enough."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="alert_incidents")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    kind = models.CharField(max_length=32, choices=AlertKind.choices)
    threshold = models.PositiveIntegerField()
    peak = models.BigIntegerField()
    value = models.BigIntegerField()
    # Since when readings are at or below where the rule recovers; null = they are not.
    calm_since = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = AlertIncidentQuerySet.as_manager()

    class Meta:
        verbose_name = "Incident"
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "kind"], condition=Q(resolved_at=None), name="alert_incident_open_once"
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="alert_incident_mode"),
        ]
        indexes = [models.Index(fields=["project", "-opened_at"], name="alert_incident_recent")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} since {self.opened_at:%Y-%m-%d %H:%M}"
