"""Credit packs and what they cost in each mode, on one page."""

from typing import Any

from django import forms
from django.contrib import admin
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from common.money import money_text
from entitlements.models import CreditPack, CreditPackPrice
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role

# Django leaves constraints out whose fields a form does not have; the project is such a field here.
TAKEN = "Another {what} of this project has it."


class CreditPackForm(forms.ModelForm):
    """A pack."""

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

    def clean(self) -> dict[str, Any] | None:
        """Keep codes apart within a project."""
        cleaned = super().clean()
        project = self.cleaned_data.get("project") or self.instance.project_id
        code = self.cleaned_data.get("code")
        if project and code:
            others = CreditPack.objects.for_project(project).filter(code=code).exclude(pk=self.instance.pk)
            if others.exists():
                self.add_error("code", TAKEN.format(what="pack"))
        return cleaned


class CreditPackPriceForm(forms.ModelForm):
    """What a pack costs in one mode."""

    class Meta:
        model = CreditPackPrice
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

    def clean_amount_cents(self) -> int:
        """Refuse a price of nothing."""
        amount: int = self.cleaned_data["amount_cents"]
        if amount < 1:
            raise forms.ValidationError("Give 1 or more, in the currency's minor unit.")
        return amount

    def check_apart(self, project: Any) -> None:
        """Keep Stripe's ids and lookup keys apart within a project and mode."""
        mode = self.cleaned_data.get("mode")
        for name in ("stripe_price_id", "lookup_key"):
            value = self.cleaned_data.get(name)
            rows = CreditPackPrice.objects.for_project(project).filter(mode=mode, **{name: value})
            if value and rows.exclude(pk=self.instance.pk).exists():
                self.add_error(name, TAKEN.format(what="pack's price"))


class CreditPackPriceFormSet(BaseInlineFormSet):
    """A pack's prices, checked against the project's others."""

    def clean(self) -> None:
        """Check every row that stays."""
        super().clean()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            if self.instance.project_id and isinstance(form, CreditPackPriceForm):
                form.check_apart(self.instance.project_id)


class CreditPackPriceInline(TabularInline):
    """The prices of a pack: whoever may change the pack may change them."""

    model = CreditPackPrice
    form = CreditPackPriceForm
    formset = CreditPackPriceFormSet
    extra = 0
    max_num = 2
    hide_title = True

    def _pack_admin(self) -> Any:
        return self.admin_site._registry[CreditPack]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the pack."""
        return bool(self._pack_admin().has_view_permission(request, obj))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the pack."""
        pack_admin = self._pack_admin()
        return bool(pack_admin.has_change_permission(request, obj) if obj else pack_admin.has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the pack."""
        return self.has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the pack."""
        return self.has_add_permission(request, obj)


@admin.register(CreditPack)
class CreditPackAdmin(ProjectScopedAdmin):
    form = CreditPackForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_display = ["name", "code", "credits", "costs", "project", "active", "internal"]
    list_filter = ["active", "internal", "created_at"]
    list_select_related = ["project"]
    search_fields = ["name", "code", "project__name", "project__slug"]
    inlines = [CreditPackPriceInline]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the prices with the packs."""
        return super().get_queryset(request).prefetch_related("prices")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a pack in its project: its prices and purchases are there."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Give new prices the pack's project."""
        for price in formset.save(commit=False):
            price.project_id = form.instance.project_id
            price.save()
        for price in formset.deleted_objects:
            price.delete()
        formset.save_m2m()

    @display(description="Costs")
    def costs(self, row: CreditPack) -> str:
        """Show the price in each mode."""
        prices = [price for price in row.prices.all() if price.active]
        return ", ".join(f"{money_text(price.amount_cents, price.currency)} ({price.mode})" for price in prices)
