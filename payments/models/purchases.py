"""Credits that were bought: what a checkout sold when it was opened, and what refunds and disputes took back."""

import uuid

from django.db import models
from django.db.models import F, Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from entitlements.models import CreditPack
from payments.models.intents import CheckoutSession
from projects.models import EndUser, Project

# How a session's metadata says that it sells credits.
CREDIT_PURCHASE = "credit_purchase"


class CreditPurchaseQuerySet(models.QuerySet["CreditPurchase"]):
    def for_project(self, project: Project | uuid.UUID) -> "CreditPurchaseQuerySet":
        """Keep one project's purchases."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "CreditPurchaseQuerySet":
        """Keep one mode's purchases."""
        return self.filter(mode=mode)


class CreditPurchase(models.Model):
    """One checkout of a credit pack. Price and credits are those of the pack when it was opened, whatever is edited later.

    Units: `credits` for the whole quantity; `amount_cents` likewise, minor units of `currency`, before discounts and taxes.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="credit_purchases")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="credit_purchases")
    checkout_session = models.OneToOneField(CheckoutSession, on_delete=models.CASCADE, related_name="credit_purchase")
    pack = models.ForeignKey(CreditPack, null=True, on_delete=models.SET_NULL, related_name="purchases")
    pack_code = models.CharField(max_length=64)
    pack_name = models.CharField(max_length=255)
    quantity = models.PositiveIntegerField()
    credits = models.PositiveBigIntegerField()
    amount_cents = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    # Known when it is paid; "" also when nothing had to be paid.
    payment_intent_id = models.CharField(max_length=255, blank=True, default="")
    granted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CreditPurchaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "payment_intent_id"],
                condition=~Q(payment_intent_id=""),
                name="credit_purchase_once_per_payment",
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="credit_purchase_mode"),
            models.CheckConstraint(condition=Q(credits__gt=0, quantity__gt=0), name="credit_purchase_gives_credits"),
        ]
        indexes = [models.Index(fields=["project", "mode", "-created_at", "-id"], name="credit_purchase_list")]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.pack_code}"


class CreditClawbackQuerySet(models.QuerySet["CreditClawback"]):
    def for_project(self, project: Project | uuid.UUID) -> "CreditClawbackQuerySet":
        """Keep one project's rows."""
        return self.filter(project=project)


class CreditClawback(models.Model):
    """Credits that a refund or a dispute took back from a purchase, until it is undone.

    Units: `credits` of which `taken` were still there and `debt` were spent already and are owed.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="credit_clawbacks")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    purchase = models.ForeignKey(CreditPurchase, on_delete=models.CASCADE, related_name="clawbacks")
    # Stripe's id of the refund or dispute, and how often it has taken by now: a lost dispute may be reopened and lost again.
    cause = models.CharField(max_length=255)
    round = models.PositiveSmallIntegerField(default=1)
    credits = models.PositiveBigIntegerField()
    taken = models.PositiveBigIntegerField()
    debt = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    restored_at = models.DateTimeField(null=True, blank=True)

    objects = CreditClawbackQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["purchase", "cause", "round"], name="credit_clawback_once"),
            models.UniqueConstraint(
                fields=["purchase", "cause"],
                condition=Q(restored_at__isnull=True),
                name="credit_clawback_in_force_once",
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="credit_clawback_mode"),
            models.CheckConstraint(condition=Q(credits__gte=F("taken") + F("debt")), name="credit_clawback_adds_up"),
        ]

    def __str__(self) -> str:
        return f"{self.credits} for {self.cause}"
