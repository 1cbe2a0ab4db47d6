"""Checkouts of licences: what was sold to whom before anybody knew the buyer. The licence itself has the purchase's id."""

import uuid

from django.db import models
from django.db.models import Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from licenses.models import LicenseProduct
from projects.models import EndUser, Project

# How a session's metadata says that it sells a licence.
LIFETIME_LICENSE = "lifetime_license"


class LicensePurchaseQuerySet(models.QuerySet["LicensePurchase"]):
    def for_project(self, project: Project | uuid.UUID) -> "LicensePurchaseQuerySet":
        """Keep one project's purchases."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "LicensePurchaseQuerySet":
        """Keep one mode's purchases."""
        return self.filter(mode=mode)


class LicensePurchase(models.Model):
    """One checkout of a licence. Committed before Stripe is called; price and product are those of that moment.

    Units: `amount_cents` is minor units of `currency`, before discounts and taxes.
    """

    class Status(models.TextChoices):
        CREATING = "creating", "Being opened"
        OPEN = "open", "Open"
        COMPLETE = "complete", "Complete"
        EXPIRED = "expired", "Expired"
        FAILED = "failed", "Failed"

    # One that a click may be answered with.
    UNFINISHED = (Status.CREATING, Status.OPEN)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="license_purchases")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    product = models.ForeignKey(LicenseProduct, on_delete=models.PROTECT, related_name="purchases")
    # The app's user, when one was signed in.
    end_user = models.ForeignKey(
        EndUser, null=True, blank=True, on_delete=models.SET_NULL, related_name="license_purchases"
    )
    # Who buys what; "" when nobody knows who.
    purchase_key = models.CharField(max_length=64, blank=True, default="", db_default="", editable=False)
    amount_cents = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3)
    stripe_session_id = models.CharField(max_length=255, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.CREATING)
    payment_status = models.CharField(max_length=32, blank=True)
    # Known when it is paid; "" also when nothing had to be paid.
    payment_intent_id = models.CharField(max_length=255, blank=True, default="")
    issued_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = LicensePurchaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "mode", "stripe_session_id"],
                condition=~Q(stripe_session_id=""),
                name="license_purchase_once_per_session",
            ),
            models.UniqueConstraint(
                fields=["project", "mode", "payment_intent_id"],
                condition=~Q(payment_intent_id=""),
                name="license_purchase_once_per_payment",
            ),
            models.UniqueConstraint(
                fields=["project", "mode", "purchase_key"],
                condition=~Q(purchase_key="") & Q(status__in=["creating", "open"]),
                name="license_purchase_open_once",
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="license_purchase_mode"),
        ]
        indexes = [models.Index(fields=["project", "mode", "-created_at", "-id"], name="license_purchase_list")]

    def __str__(self) -> str:
        return self.stripe_session_id or str(self.pk)
