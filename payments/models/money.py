"""What happens around a payment: its invoice, what went back, and what the bank took back. Rows follow Stripe's objects."""

import uuid

from django.db import models
from django.db.models import Q

from common.modes import MODE_CHOICES
from payments.models.billing import Subscription, Transaction
from projects.models import EndUser, Project


class InvoiceQuerySet(models.QuerySet["Invoice"]):
    def for_project(self, project: Project | uuid.UUID) -> "InvoiceQuerySet":
        """Keep one project's invoices."""
        return self.filter(project=project)


class Invoice(models.Model):
    """A Stripe invoice. Statuses are Stripe's: draft, open, paid, void, uncollectible.

    Units: amounts are minor units of `currency`.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invoices")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="invoices")
    subscription = models.ForeignKey(
        Subscription, null=True, blank=True, on_delete=models.SET_NULL, related_name="invoices"
    )
    stripe_invoice_id = models.CharField(max_length=255)
    stripe_customer_id = models.CharField(max_length=255, blank=True)
    number = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=16)
    billing_reason = models.CharField(max_length=40, blank=True)
    currency = models.CharField(max_length=3)
    amount_due_cents = models.BigIntegerField(default=0)
    amount_paid_cents = models.BigIntegerField(default=0)
    amount_remaining_cents = models.BigIntegerField(default=0)
    attempt_count = models.PositiveIntegerField(default=0)
    next_payment_attempt = models.DateTimeField(null=True, blank=True)
    hosted_invoice_url = models.TextField(blank=True)
    invoice_pdf = models.TextField(blank=True)
    # Why the last finalization failed: https://docs.stripe.com/api/invoices/object#invoice_object-last_finalization_error
    finalization_error = models.TextField(blank=True)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    finalized_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    synced_at = models.DateTimeField(null=True, blank=True)

    objects = InvoiceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_invoice_id"], name="invoice_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="invoice_mode"),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-created_at", "-id"], name="invoice_list"),
            models.Index(fields=["project", "end_user", "mode", "-created_at"], name="invoice_of_user"),
            models.Index(fields=["subscription", "-created_at"], name="invoice_of_subscription"),
            models.Index(fields=["-created_at", "-id"], name="invoice_newest"),
        ]

    def __str__(self) -> str:
        return self.number or self.stripe_invoice_id


class RefundQuerySet(models.QuerySet["Refund"]):
    def for_project(self, project: Project | uuid.UUID) -> "RefundQuerySet":
        """Keep one project's refunds."""
        return self.filter(project=project)


class Refund(models.Model):
    """Money that went back, or is on its way. Statuses are Stripe's: pending, requires_action, succeeded, failed, canceled."""

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="refunds")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    transaction = models.ForeignKey(
        Transaction, null=True, blank=True, on_delete=models.SET_NULL, related_name="refunds"
    )
    stripe_refund_id = models.CharField(max_length=255)
    stripe_charge_id = models.CharField(max_length=255, blank=True)
    payment_intent_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=24)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    reason = models.CharField(max_length=64, blank=True)
    failure_reason = models.CharField(max_length=64, blank=True)
    # Whether it takes away what was bought: as staff chose (metadata `access` = keep or revoke), else by the project's policy.
    revokes_access = models.BooleanField(default=False)
    # That choice itself, "" when nobody made one: credits that were bought go back in proportion unless they are to be kept.
    access_choice = models.CharField(max_length=8, blank=True, default="", db_default="")
    created_at = models.DateTimeField()
    synced_at = models.DateTimeField(null=True, blank=True)

    objects = RefundQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_refund_id"], name="refund_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="refund_mode"),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-created_at", "-id"], name="refund_list"),
            models.Index(fields=["project", "mode", "payment_intent_id"], name="refund_of_payment"),
            models.Index(fields=["project", "mode", "stripe_charge_id"], name="refund_of_charge"),
            models.Index(fields=["-created_at", "-id"], name="refund_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.stripe_refund_id} ({self.status})"


class DisputeQuerySet(models.QuerySet["Dispute"]):
    def for_project(self, project: Project | uuid.UUID) -> "DisputeQuerySet":
        """Keep one project's disputes."""
        return self.filter(project=project)


class Dispute(models.Model):
    """A payment that the cardholder's bank questions. Statuses are Stripe's; `lost` takes access away and `won` gives it back."""

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="disputes")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    transaction = models.ForeignKey(
        Transaction, null=True, blank=True, on_delete=models.SET_NULL, related_name="disputes"
    )
    stripe_dispute_id = models.CharField(max_length=255)
    stripe_charge_id = models.CharField(max_length=255, blank=True)
    payment_intent_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=32)
    reason = models.CharField(max_length=64, blank=True)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    evidence_due_by = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    synced_at = models.DateTimeField(null=True, blank=True)

    objects = DisputeQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_dispute_id"], name="dispute_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="dispute_mode"),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-created_at", "-id"], name="dispute_list"),
            models.Index(fields=["project", "mode", "payment_intent_id"], name="dispute_of_payment"),
            models.Index(fields=["-created_at", "-id"], name="dispute_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.stripe_dispute_id} ({self.status})"
