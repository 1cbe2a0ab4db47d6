"""Calls to Stripe that a user waits for, committed before Stripe is called, so that none is repeated with a new key."""

import uuid

from django.db import models
from django.db.models import Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import EndUser, Project


class CheckoutSessionQuerySet(models.QuerySet["CheckoutSession"]):
    def for_project(self, project: Project | uuid.UUID) -> "CheckoutSessionQuerySet":
        """Keep one project's sessions."""
        return self.filter(project=project)


class StripeIntentQuerySet(models.QuerySet["StripeIntent"]):
    def for_project(self, project: Project | uuid.UUID) -> "StripeIntentQuerySet":
        """Keep one project's calls."""
        return self.filter(project=project)


class CheckoutSession(models.Model):
    """A checkout that an end user was sent to. At most one is open per user and purchase: a double click opens one."""

    class Status(models.TextChoices):
        CREATING = "creating"
        OPEN = "open"
        COMPLETE = "complete"
        EXPIRED = "expired"
        FAILED = "failed"
        UNKNOWN = "unknown"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="checkout_sessions")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="checkout_sessions")
    # At most one row with the same key is open. A subscription checkout has one key per user, so that the second of two
    # different ones replaces the first; anything else has a digest of what is bought and where the user returns to.
    purchase_key = models.CharField(max_length=64)
    stripe_idempotency_key = models.CharField(max_length=255, unique=True)
    request = models.JSONField(default=dict)
    stripe_session_id = models.CharField(max_length=255, blank=True)
    url = models.TextField(blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.CREATING)
    payment_status = models.CharField(max_length=32, blank=True)
    stripe_subscription_id = models.CharField(max_length=255, blank=True)
    payment_intent_id = models.CharField(max_length=255, blank=True)
    error = models.TextField(blank=True)
    # Who is calling Stripe for this row right now, by the database's clock.
    lease_until = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = CheckoutSessionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "end_user", "purchase_key"],
                condition=Q(status__in=["creating", "open"]),
                name="checkout_open_once",
            ),
            models.UniqueConstraint(
                fields=["project", "mode", "stripe_session_id"],
                condition=~Q(stripe_session_id=""),
                name="checkout_stripe_id_once",
            ),
        ]
        indexes = [models.Index(fields=["project", "mode", "-created_at"], name="checkout_recent")]

    def __str__(self) -> str:
        return self.stripe_session_id or str(self.id)


class StripeIntent(models.Model):
    """One write to Stripe on somebody's behalf (cancel, update, resume, customer create) and what became of it."""

    class Status(models.TextChoices):
        OPEN = "open"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        UNKNOWN = "unknown"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="stripe_intents")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, null=True, blank=True, on_delete=models.SET_NULL)
    operation = models.CharField(max_length=64)
    target = models.CharField(max_length=255)
    params = models.JSONField(default=dict)
    stripe_idempotency_key = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN)
    result_id = models.CharField(max_length=255, blank=True)
    error = models.TextField(blank=True)
    # Who is calling Stripe for this row right now, by the database's clock.
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = StripeIntentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "operation", "target"],
                condition=Q(status="open"),
                name="stripe_intent_open_once",
            )
        ]
        indexes = [
            models.Index(
                fields=["created_at"], condition=Q(status__in=["open", "unknown"]), name="stripe_intent_unresolved"
            )
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.target}"
