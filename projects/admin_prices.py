"""Admin pages of what is sold once, with a price for each mode on the same page: credit packs, licence products."""

from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from common.money import money_text
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role

# Django leaves constraints out whose fields a form does not have; the project is such a field here.
TAKEN = "Another {what} of this project has it."
PRICE_FIELDS = ["mode", "amount_cents", "currency", "stripe_price_id", "lookup_key", "active"]
AMOUNT_LABELS = {"amount_cents": "Amount in minor units"}
AMOUNT_HELP = {
    "amount_cents": "As Stripe counts: 1299 is 12.99 USD, 500 is 500 JPY, and 1290 is 1.290 KWD.",
    "currency": "Three letters: usd.",
}
PRICE_HELP = AMOUNT_HELP | {
    "stripe_price_id": "May stay empty, as the lookup key: then checkout asks for this amount by itself.",
}
# The most digits that Stripe takes in any currency: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
AMOUNT_MAX = 999_999_999_999


class SoldOnceForm(forms.ModelForm):
    """Something that is sold; its code is its own within the project."""

    what = ""

    def clean(self) -> dict[str, Any] | None:
        """Keep codes apart within a project."""
        cleaned = super().clean()
        project = self.cleaned_data.get("project") or self.instance.project_id
        code = self.cleaned_data.get("code")
        rows: Any = type(self.instance)._default_manager
        if project and code and rows.for_project(project).filter(code=code).exclude(pk=self.instance.pk).exists():
            self.add_error("code", TAKEN.format(what=self.what))
        return cleaned


class ModePriceForm(forms.ModelForm):
    """What it costs in one mode."""

    what = ""

    def clean_currency(self) -> str:
        """Write the currency as Stripe does."""
        currency = str(self.cleaned_data["currency"]).lower()
        if len(currency) != 3 or not (currency.isascii() and currency.isalpha()):
            raise forms.ValidationError("Give a currency of three letters: usd.")
        return currency

    def clean_amount_cents(self) -> int:
        """Refuse a price of nothing, and one that Stripe takes in no currency."""
        amount: int = self.cleaned_data["amount_cents"]
        if not 1 <= amount <= AMOUNT_MAX:
            raise forms.ValidationError(f"Give 1 or more, at most {AMOUNT_MAX:,}, in the currency's minor unit.")
        return amount

    def check_apart(self, project: Any) -> None:
        """Keep Stripe's ids and lookup keys apart within a project and mode."""
        mode = self.cleaned_data.get("mode")
        prices: Any = type(self.instance)._default_manager
        for name in ("stripe_price_id", "lookup_key"):
            value = self.cleaned_data.get(name)
            rows = prices.for_project(project).filter(mode=mode, **{name: value})
            if value and rows.exclude(pk=self.instance.pk).exists():
                self.add_error(name, TAKEN.format(what=self.what))


class ModePriceFormSet(BaseInlineFormSet):
    """Its prices, checked against the project's others."""

    def clean(self) -> None:
        """Check every row that stays."""
        super().clean()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            if self.instance.project_id and isinstance(form, ModePriceForm):
                form.check_apart(self.instance.project_id)


class ModePriceInline(TabularInline):
    """The prices: whoever may change what is sold may change them."""

    formset = ModePriceFormSet
    extra = 0
    max_num = 2
    hide_title = True

    def _sold(self) -> Any:
        return self.admin_site._registry[self.parent_model]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on what is sold."""
        return bool(self._sold().has_view_permission(request, obj))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on what is sold."""
        sold = self._sold()
        return bool(sold.has_change_permission(request, obj) if obj else sold.has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on what is sold."""
        return self.has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on what is sold."""
        return self.has_add_permission(request, obj)


class SoldOnceAdmin(ProjectScopedAdmin):
    """What is sold, with its prices. Developers make and change their own project's."""

    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_select_related = ["project"]
    search_fields = ["name", "code", "project__name", "project__slug"]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the prices with it."""
        return super().get_queryset(request).prefetch_related("prices")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep it in its project: its prices and purchases are there."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Give new prices its project."""
        for price in formset.save(commit=False):
            price.project_id = form.instance.project_id
            price.save()
        for price in formset.deleted_objects:
            price.delete()
        formset.save_m2m()

    @display(description="Costs")
    def costs(self, row: Any) -> str:
        """Show the price in each mode."""
        prices = [price for price in row.prices.all() if price.active]
        return ", ".join(f"{money_text(price.amount_cents, price.currency)} ({price.mode})" for price in prices)
