"""What end users pay for, as this service knows it. Rows follow Stripe's objects and are written from retrieved state only."""

import uuid
from typing import Any

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Upper

from common.modes import MODE_CHOICES, TEST
from entitlements.models import Plan
from projects.models import EndUser, Project

# Stripe's statuses that give access by default, and those in which a subscription is over for good.
ENTITLED_STATUSES = ("active", "trialing")
ENDED_STATUSES = ("canceled", "incomplete_expired")
# Columns that were added later have a default in the database too, so that a worker of the release before can still write rows.
EMPTY_OBJECT = Value({}, output_field=models.JSONField())
# Which subscription answers "what is this user on?" when there are several: the best status first, then the newest.
STATUS_PRECEDENCE = (
    "active",
    "trialing",
    "past_due",
    "paused",
    "unpaid",
    "incomplete",
    "canceled",
    "incomplete_expired",
)
RUNNING_STATUSES = STATUS_PRECEDENCE[: -len(ENDED_STATUSES)]


def standing(prefix: str = "") -> Case:
    """Order subscriptions by their status, the best first; what was taken away stands behind all that still runs."""
    revoked = {f"{prefix}access_revoked_at__isnull": False, f"{prefix}status__in": RUNNING_STATUSES}
    ranks = (When(**{f"{prefix}status": status}, then=Value(rank)) for rank, status in enumerate(STATUS_PRECEDENCE))
    behind = Value(len(RUNNING_STATUSES) - 1)
    return Case(When(**revoked, then=behind), *ranks, default=Value(len(STATUS_PRECEDENCE)))


class StripeCustomerQuerySet(models.QuerySet["StripeCustomer"]):
    def for_project(self, project: Project | uuid.UUID) -> "StripeCustomerQuerySet":
        """Keep one project's customers."""
        return self.filter(project=project)


class StripeCustomer(models.Model):
    """An end user's customer in the project's Stripe account: one per mode, also under races."""

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="stripe_customers")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(
        EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="stripe_customers"
    )
    stripe_customer_id = models.CharField(max_length=255)
    email = models.CharField(max_length=512, blank=True)
    name = models.CharField(max_length=512, blank=True)
    # What checkout and the portal collected: address, phone, tax_ids, and the default card's brand, last4 and expiry.
    billing = models.JSONField(default=dict, db_default=EMPTY_OBJECT, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = StripeCustomerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_customer_id"], name="stripe_customer_once"),
            models.UniqueConstraint(
                fields=["project", "mode", "end_user"],
                condition=Q(end_user__isnull=False, deleted_at__isnull=True),
                name="stripe_customer_once_per_user",
            ),
        ]
        indexes = [
            models.Index(OpClass(Upper("email"), "text_pattern_ops"), name="stripe_customer_email_begins"),
            # The lists of staff, over all projects.
            models.Index(fields=["-created_at", "-id"], name="stripe_customer_newest"),
        ]

    def __str__(self) -> str:
        return self.stripe_customer_id


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def for_project(self, project: Project | uuid.UUID) -> "SubscriptionQuerySet":
        """Keep one project's subscriptions."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "SubscriptionQuerySet":
        """Keep one mode's subscriptions."""
        return self.filter(mode=mode)

    def current_for(self, end_user: EndUser, mode: str) -> "Subscription | None":
        """Answer "what is this user on?": the best status wins, then the newest. One query, no call to Stripe."""
        rows = self.filter(project=end_user.project_id, end_user=end_user, mode=mode).select_related(
            "plan", "end_user", "project__billing_policy"
        )
        return rows.order_by(standing(), "-created_at", "-id").first()


class Subscription(models.Model):
    """A Stripe subscription of one end user. Status values are Stripe's own strings."""

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="subscriptions")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(
        EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="subscriptions"
    )
    stripe_subscription_id = models.CharField(max_length=255)
    stripe_customer_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=32)
    plan = models.ForeignKey(Plan, null=True, blank=True, on_delete=models.SET_NULL, related_name="subscriptions")
    stripe_price_id = models.CharField(max_length=255, blank=True)
    quantity = models.PositiveIntegerField(default=1)
    current_period_start = models.DateTimeField(null=True, blank=True)
    current_period_end = models.DateTimeField(null=True, blank=True)
    trial_end = models.DateTimeField(null=True, blank=True)
    cancel_at = models.DateTimeField(null=True, blank=True)
    cancel_at_period_end = models.BooleanField(default=False)
    canceled_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    pause_collection = models.JSONField(null=True, blank=True)
    # Grace starts at the first failed attempt and ends when the invoice is paid.
    past_due_since = models.DateTimeField(null=True, blank=True)
    # A refund or a lost dispute took away what was paid for, until something newer is paid. The cause is that object's id.
    access_revoked_at = models.DateTimeField(null=True, blank=True)
    access_revoked_by = models.CharField(max_length=255, blank=True, default="", db_default="")
    cancellation_reason = models.CharField(max_length=64, blank=True, default="", db_default="")
    cancellation_comment = models.TextField(blank=True, default="", db_default="")
    created_at = models.DateTimeField()
    synced_at = models.DateTimeField(null=True, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        permissions = [
            ("cancel_subscription", "Can cancel subscriptions"),
            ("comp_subscription", "Can give subscribers free days"),
            ("read_from_stripe", "Can have Stripe's state read now"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_subscription_id"], name="subscription_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="subscription_mode"),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-created_at", "-id"], name="subscription_list"),
            models.Index(fields=["project", "end_user", "mode"], name="subscription_of_user"),
            models.Index(fields=["project", "mode", "stripe_customer_id"], name="subscription_of_customer"),
            models.Index(fields=["-created_at", "-id"], name="subscription_newest"),
            models.Index(
                fields=["project", "mode", "ended_at"], condition=Q(ended_at__isnull=False), name="subscription_ended"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stripe_subscription_id} ({self.status})"

    @property
    def is_test_mode(self) -> bool:
        """Whether this is play money."""
        return self.mode == TEST


class TransactionQuerySet(models.QuerySet["Transaction"]):
    def for_project(self, project: Project | uuid.UUID) -> "TransactionQuerySet":
        """Keep one project's payments."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "TransactionQuerySet":
        """Keep one mode's payments."""
        return self.filter(mode=mode)


class Transaction(models.Model):
    """One movement of money: one row per PaymentIntent, else per invoice that was paid out of band.

    Units: `amount_cents` and `refunded_amount_cents` are minor units of `currency` (yen for JPY).
    """

    class Status(models.TextChoices):
        SUCCEEDED = "succeeded"
        PENDING = "pending"
        FAILED = "failed"
        CANCELED = "canceled"
        REFUNDED = "refunded"
        PARTIALLY_REFUNDED = "partially_refunded"

    id = models.UUIDField(primary_key=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="transactions")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="transactions")
    subscription = models.ForeignKey(
        Subscription, null=True, blank=True, on_delete=models.SET_NULL, related_name="transactions"
    )
    # The PaymentIntent, or the invoice where there is none.
    payment_intent_id = models.CharField(max_length=255)
    stripe_invoice_id = models.CharField(max_length=255, blank=True)
    stripe_charge_id = models.CharField(max_length=255, blank=True)
    stripe_customer_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=24, choices=Status.choices)
    amount_cents = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    refunded_amount_cents = models.BigIntegerField(default=0)
    description = models.TextField(blank=True)
    receipt_url = models.TextField(blank=True)
    # How it was paid, for support: Stripe's type of the payment method, and what is printed on a card or an account.
    method_type = models.CharField(max_length=32, blank=True, default="", db_default="")
    method_brand = models.CharField(max_length=32, blank=True, default="", db_default="")
    method_last4 = models.CharField(max_length=4, blank=True, default="", db_default="")
    invoice_pdf = models.TextField(blank=True)
    failure_code = models.CharField(max_length=64, blank=True)
    failure_message = models.TextField(blank=True)
    disputed = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    synced_at = models.DateTimeField(null=True, blank=True)

    objects = TransactionQuerySet.as_manager()

    class Meta:
        permissions = [
            ("refund_transaction", "Can refund payments"),
            ("refund_without_limit", "Can refund beyond the moderators' limits"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "payment_intent_id"], name="transaction_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="transaction_mode"),
            models.CheckConstraint(
                condition=Q(refunded_amount_cents__gte=0) & Q(refunded_amount_cents__lte=models.F("amount_cents")),
                name="transaction_refund_within_amount",
            ),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "-created_at", "-id"], name="transaction_list"),
            models.Index(fields=["project", "end_user", "mode", "-created_at"], name="transaction_of_user"),
            models.Index(fields=["project", "mode", "stripe_invoice_id"], name="transaction_of_invoice"),
            models.Index(fields=["project", "mode", "stripe_charge_id"], name="transaction_of_charge"),
            models.Index(fields=["-created_at", "-id"], name="transaction_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.payment_intent_id} ({self.status})"

    @property
    def is_test_mode(self) -> bool:
        """Whether this is play money."""
        return self.mode == TEST

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save with the currency in lower case, as Stripe and the contract write it."""
        self.currency = self.currency.lower()
        super().save(*args, **kwargs)
