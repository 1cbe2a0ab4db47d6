"""Credit packs: so many credits for one price, bought once. What a pack gives and what it costs are kept together."""

import uuid

from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Prefetch, Q

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project

# A thousand of them are still what the ledger takes at once.
PACK_CREDITS_MAX = 1_000_000_000


class CreditPackQuerySet(models.QuerySet["CreditPack"]):
    def for_project(self, project: Project | uuid.UUID) -> "CreditPackQuerySet":
        """Keep one project's packs."""
        return self.filter(project=project)

    def on_sale(self, mode: str) -> "CreditPackQuerySet":
        """Keep what buyers may buy in a mode, with its price, the smallest pack first."""
        sold = CreditPackPrice.objects.filter(mode=mode, active=True)
        rows = self.filter(active=True, internal=False, prices__in=sold)
        return rows.prefetch_related(Prefetch("prices", queryset=sold, to_attr="current_prices")).order_by(
            "credits", "code"
        )


class CreditPack(models.Model):
    """What somebody buys once: so many credits. An internal pack is not for sale.

    A purchase keeps what it bought: changing a pack changes later purchases only.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="credit_packs")
    code = models.SlugField(max_length=64)
    name = models.CharField(max_length=255)
    credits = models.PositiveIntegerField(validators=[MaxValueValidator(PACK_CREDITS_MAX)])
    # Of Stripe's promotion codes those that name no products would take off a pack whatever they take off a subscription.
    allow_promotion_codes = models.BooleanField(default=False, db_default=False)
    active = models.BooleanField(default=True)
    internal = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CreditPackQuerySet.as_manager()

    class Meta:
        ordering = ["project", "credits", "code"]
        constraints = [
            models.UniqueConstraint(fields=["project", "code"], name="credit_pack_code_once_per_project"),
            models.CheckConstraint(condition=Q(credits__gt=0), name="credit_pack_gives_credits"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


class CreditPackPriceQuerySet(models.QuerySet["CreditPackPrice"]):
    def for_project(self, project: Project | uuid.UUID) -> "CreditPackPriceQuerySet":
        """Keep one project's prices."""
        return self.filter(project=project)


class CreditPackPrice(models.Model):
    """What a pack costs in one mode. Without a Stripe price of its own, checkout asks for this amount directly.

    Units: `amount_cents` is minor units of `currency`.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="credit_pack_prices")
    pack = models.ForeignKey(CreditPack, on_delete=models.CASCADE, related_name="prices")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    amount_cents = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3, default="usd")
    stripe_price_id = models.CharField(max_length=255, blank=True, default="")
    lookup_key = models.CharField(max_length=200, blank=True, default="")
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CreditPackPriceQuerySet.as_manager()

    class Meta:
        ordering = ["pack", "mode"]
        constraints = [
            models.UniqueConstraint(fields=["pack", "mode"], name="credit_pack_price_once_per_mode"),
            models.UniqueConstraint(
                fields=["project", "mode", "stripe_price_id"],
                condition=~Q(stripe_price_id=""),
                name="credit_pack_price_stripe_id_once",
            ),
            models.UniqueConstraint(
                fields=["project", "mode", "lookup_key"],
                condition=~Q(lookup_key=""),
                name="credit_pack_price_lookup_key_once",
            ),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="credit_pack_price_mode"),
            models.CheckConstraint(condition=Q(amount_cents__gt=0), name="credit_pack_price_costs_something"),
        ]

    def __str__(self) -> str:
        return f"{self.pack_id} ({self.mode})"
