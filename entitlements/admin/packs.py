"""Credit packs and what they cost in each mode, on one page."""

from django import forms
from django.contrib import admin

from entitlements.models import CreditPack, CreditPackPrice
from projects.admin_prices import (
    AMOUNT_LABELS,
    PRICE_FIELDS,
    PRICE_HELP,
    ModePriceForm,
    ModePriceInline,
    SoldOnceAdmin,
    SoldOnceForm,
)


class CreditPackForm(SoldOnceForm):
    """A pack."""

    what = "pack"

    class Meta:
        model = CreditPack
        fields = ["project", "code", "name", "credits", "allow_promotion_codes", "active", "internal"]
        help_texts = {
            "credits": "What one pack gives. Purchases that were opened before keep what they were opened for.",
            "allow_promotion_codes": (
                "A code of Stripe's that names no products takes as much off every pack in the cart as off a subscription; "
                "one of 100 % makes them free."
            ),
            "internal": "Not for sale, and not listed.",
        }

    def clean_credits(self) -> int:
        """Refuse a pack of nothing; the model refuses one that could not be given."""
        credits: int = self.cleaned_data["credits"]
        if credits < 1:
            raise forms.ValidationError("Give 1 or more.")
        return credits


class CreditPackPriceForm(ModePriceForm):
    """What a pack costs in one mode."""

    what = "pack's price"

    class Meta:
        model = CreditPackPrice
        fields = PRICE_FIELDS
        labels = AMOUNT_LABELS
        help_texts = PRICE_HELP


class CreditPackPriceInline(ModePriceInline):
    model = CreditPackPrice
    form = CreditPackPriceForm


@admin.register(CreditPack)
class CreditPackAdmin(SoldOnceAdmin):
    form = CreditPackForm
    list_display = ["name", "code", "credits", "costs", "project", "active", "internal"]
    list_filter = ["active", "internal", "created_at"]
    inlines = [CreditPackPriceInline]
