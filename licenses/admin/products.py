"""Licence products and what they cost in each mode, on one page."""

from typing import Any

from django import forms
from django.contrib import admin
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from common.money import money_text
from licenses.models import LicenseProduct, LicenseProductPrice
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role

# Django leaves constraints out whose fields a form does not have; the project is such a field here.
TAKEN = "Another {what} of this project has it."


class LicenseProductForm(forms.ModelForm):
    """A product."""

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

    def clean(self) -> dict[str, Any] | None:
        """Keep codes apart within a project."""
        cleaned = super().clean()
        project = self.cleaned_data.get("project") or self.instance.project_id
        code = self.cleaned_data.get("code")
        if project and code:
            others = LicenseProduct.objects.for_project(project).filter(code=code).exclude(pk=self.instance.pk)
            if others.exists():
                self.add_error("code", TAKEN.format(what="product"))
        return cleaned


class LicenseProductPriceForm(forms.ModelForm):
    """What a product costs in one mode."""

    class Meta:
        model = LicenseProductPrice
        fields = ["mode", "amount_cents", "currency", "stripe_price_id", "lookup_key", "active"]
        help_texts = {
            "stripe_price_id": "May stay empty, as the lookup key: then checkout asks for this amount by itself.",
        }

    def clean_currency(self) -> str:
        """Write the currency as Stripe does."""
        currency = str(self.cleaned_data["currency"]).lower()
        if len(currency) != 3 or not (currency.isascii() and currency.isalpha()):
            raise forms.ValidationError("Give a currency of three letters: usd.")
        return currency

    def check_apart(self, project: Any) -> None:
        """Keep Stripe's ids and lookup keys apart within a project and mode."""
        mode = self.cleaned_data.get("mode")
        for name in ("stripe_price_id", "lookup_key"):
            value = self.cleaned_data.get(name)
            rows = LicenseProductPrice.objects.for_project(project).filter(mode=mode, **{name: value})
            if value and rows.exclude(pk=self.instance.pk).exists():
                self.add_error(name, TAKEN.format(what="product's price"))


class LicenseProductPriceFormSet(BaseInlineFormSet):
    """A product's prices, checked against the project's others."""

    def clean(self) -> None:
        """Check every row that stays."""
        super().clean()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            if self.instance.project_id and isinstance(form, LicenseProductPriceForm):
                form.check_apart(self.instance.project_id)


class LicenseProductPriceInline(TabularInline):
    """The prices of a product: whoever may change the product may change them."""

    model = LicenseProductPrice
    form = LicenseProductPriceForm
    formset = LicenseProductPriceFormSet
    extra = 0
    max_num = 2
    hide_title = True

    def _product_admin(self) -> Any:
        return self.admin_site._registry[LicenseProduct]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the product."""
        return bool(self._product_admin().has_view_permission(request, obj))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the product."""
        products = self._product_admin()
        return bool(products.has_change_permission(request, obj) if obj else products.has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the product."""
        return self.has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the product."""
        return self.has_add_permission(request, obj)


@admin.register(LicenseProduct)
class LicenseProductAdmin(ProjectScopedAdmin):
    form = LicenseProductForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_display = ["name", "code", "costs", "project", "activation_limit", "active"]
    list_filter = ["active", "created_at"]
    list_select_related = ["project"]
    search_fields = ["name", "code", "project__name", "project__slug"]
    inlines = [LicenseProductPriceInline]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the prices with the products."""
        return super().get_queryset(request).prefetch_related("prices")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a product in its project: its prices and licences are there."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Give new prices the product's project."""
        for price in formset.save(commit=False):
            price.project_id = form.instance.project_id
            price.save()
        for price in formset.deleted_objects:
            price.delete()
        formset.save_m2m()

    @display(description="Costs")
    def costs(self, row: LicenseProduct) -> str:
        """Show the price in each mode."""
        prices = [price for price in row.prices.all() if price.active]
        return ", ".join(f"{money_text(price.amount_cents, price.currency)} ({price.mode})" for price in prices)
