"""Licence products and what they cost in each mode, on one page."""

from django.contrib import admin

from licenses.models import LicenseProduct, LicenseProductPrice
from projects.admin_prices import (
    AMOUNT_LABELS,
    PRICE_FIELDS,
    PRICE_HELP,
    ModePriceForm,
    ModePriceInline,
    SoldOnceAdmin,
    SoldOnceForm,
)


class LicenseProductForm(SoldOnceForm):
    """A product."""

    what = "product"

    class Meta:
        model = LicenseProduct
        fields = [
            "project", "code", "name", "team_slug", "repository", "instructions", "activation_limit",
            "allow_promotion_codes", "active",
        ]  # fmt: skip
        help_texts = {
            "team_slug": "May stay empty: then the team of the project's GitHub connection.",
            "repository": "owner/name, or a name in the connected organisation. Shown once access is granted.",
            "instructions": "Shown below the clone command, as plain text.",
            "activation_limit": "On how many devices a licence key works at a time. Empty: no keys.",
        }


class LicenseProductPriceForm(ModePriceForm):
    """What a product costs in one mode."""

    what = "product's price"

    class Meta:
        model = LicenseProductPrice
        fields = PRICE_FIELDS
        labels = AMOUNT_LABELS
        help_texts = PRICE_HELP


class LicenseProductPriceInline(ModePriceInline):
    model = LicenseProductPrice
    form = LicenseProductPriceForm


@admin.register(LicenseProduct)
class LicenseProductAdmin(SoldOnceAdmin):
    form = LicenseProductForm
    list_display = ["name", "code", "costs", "project", "activation_limit", "active"]
    list_filter = ["active", "created_at"]
    inlines = [LicenseProductPriceInline]
