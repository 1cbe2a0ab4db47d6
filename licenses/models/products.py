"""Licence products: what is sold once for good, what it costs in each mode, and what it opens."""

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Prefetch, Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project

ACTIVATIONS_MAX = 1000
INSTRUCTIONS_CHARS_MAX = 4000


class LicenseProductQuerySet(models.QuerySet["LicenseProduct"]):
    def for_project(self, project: Project | uuid.UUID) -> "LicenseProductQuerySet":
        """Keep one project's products."""
        return self.filter(project=project)

    def on_sale(self, mode: str) -> "LicenseProductQuerySet":
        """Keep what anybody may buy in a mode, with its price."""
        sold = LicenseProductPrice.objects.filter(mode=mode, active=True)
        rows = self.filter(active=True, prices__in=sold)
        return rows.prefetch_related(Prefetch("prices", queryset=sold, to_attr="current_prices")).order_by("code")


class LicenseProduct(models.Model):
    """What a licence of it opens: a GitHub team, and a licence key when it has an activation limit.

    Invitations follow the product as it is when they are sent; who is in already stays where they are.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="license_products")
    code = models.SlugField(max_length=64)
    name = models.CharField(max_length=255)
    # "" = the team of the project's GitHub connection.
    team_slug = models.CharField(max_length=255, blank=True, default="")
    # What is shown once access is granted: `owner/name`, or a name in the organisation; and text of the developer's.
    repository = models.CharField(max_length=255, blank=True, default="")
    instructions = models.TextField(max_length=INSTRUCTIONS_CHARS_MAX, blank=True, default="")
    # On how many devices a key works at a time; null = the product has no keys.
    activation_limit = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(ACTIVATIONS_MAX)]
    )
    allow_promotion_codes = models.BooleanField(default=True)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = LicenseProductQuerySet.as_manager()

    class Meta:
        verbose_name = "Licence product"
        ordering = ["project", "code"]
        constraints = [
            models.UniqueConstraint(fields=["project", "code"], name="license_product_code_once_per_project"),
            models.CheckConstraint(
                condition=Q(activation_limit__isnull=True) | Q(activation_limit__gt=0),
                name="license_product_activations",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


class LicenseProductPriceQuerySet(models.QuerySet["LicenseProductPrice"]):
    def for_project(self, project: Project | uuid.UUID) -> "LicenseProductPriceQuerySet":
        """Keep one project's prices."""
        return self.filter(project=project)


class LicenseProductPrice(models.Model):
    """What a product costs in one mode. Without a Stripe price of its own, checkout asks for this amount directly.

    Units: `amount_cents` is minor units of `currency`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="license_product_prices")
    product = models.ForeignKey(LicenseProduct, on_delete=models.CASCADE, related_name="prices")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    amount_cents = models.PositiveBigIntegerField(validators=[MinValueValidator(1)])
    currency = models.CharField(max_length=3, default="usd")
    stripe_price_id = models.CharField(max_length=255, blank=True, default="")
    lookup_key = models.CharField(max_length=200, blank=True, default="")
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = LicenseProductPriceQuerySet.as_manager()

    class Meta:
        verbose_name = "Licence price"
        ordering = ["product", "mode"]
        constraints = [
            models.UniqueConstraint(fields=["product", "mode"], name="license_price_once_per_mode"),
            models.UniqueConstraint(
                fields=["project", "mode", "stripe_price_id"],
                condition=~Q(stripe_price_id=""),
                name="license_price_stripe_id_once",
            ),
            models.UniqueConstraint(
                fields=["project", "mode", "lookup_key"],
                condition=~Q(lookup_key=""),
                name="license_price_lookup_key_once",
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="license_price_mode"),
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="license_price_costs_something"),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} ({self.mode})"
