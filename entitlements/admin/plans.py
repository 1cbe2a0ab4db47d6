"""Plans and their prices in the admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from entitlements.models import Plan, PlanPrice
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role

# Django leaves constraints out whose fields a form does not have; the project is such a field here.
TAKEN = "Another {what} of this project has it."


class PlanForm(forms.ModelForm):
    """A plan; its aliases are a list of words."""

    class Meta:
        model = Plan
        fields = ["project", "code", "name", "aliases", "rank", "internal", "free"]

    def clean_aliases(self) -> list[str]:
        """Accept a list of texts only."""
        aliases = self.cleaned_data.get("aliases") or []
        if not isinstance(aliases, list) or not all(isinstance(alias, str) and alias for alias in aliases):
            raise forms.ValidationError('Give a list of words: ["agency"].')
        return aliases

    def clean(self) -> dict[str, Any] | None:
        """Keep codes apart within a project."""
        cleaned = super().clean()
        project = self.cleaned_data.get("project") or self.instance.project_id
        code = self.cleaned_data.get("code")
        if (
            project
            and code
            and Plan.objects.for_project(project).filter(code=code).exclude(pk=self.instance.pk).exists()
        ):
            self.add_error("code", TAKEN.format(what="plan"))
        return cleaned


class PlanPriceForm(forms.ModelForm):
    """A price; Stripe's id or the lookup key finds it."""

    class Meta:
        model = PlanPrice
        fields = ["mode", "interval", "stripe_price_id", "lookup_key", "amount_cents", "currency", "active"]

    def clean_currency(self) -> str:
        """Write the currency as Stripe does."""
        return str(self.cleaned_data["currency"]).lower()

    def clean_amount_cents(self) -> int:
        """Refuse a negative price."""
        amount: int = self.cleaned_data["amount_cents"]
        if amount < 0:
            raise forms.ValidationError("Give 0 or more, in the currency's minor unit.")
        return amount

    def check_apart(self, project: Any) -> None:
        """Keep Stripe's ids and lookup keys apart within a project and mode."""
        mode = self.cleaned_data.get("mode")
        for name in ("stripe_price_id", "lookup_key"):
            value = self.cleaned_data.get(name)
            rows = PlanPrice.objects.for_project(project).filter(mode=mode, **{name: value})
            if value and rows.exclude(pk=self.instance.pk).exists():
                self.add_error(name, TAKEN.format(what="price"))


class PlanPriceAloneForm(PlanPriceForm):
    """The same on a page of its own."""

    def clean(self) -> dict[str, Any] | None:
        """Check against the project's other prices."""
        cleaned = super().clean()
        self.check_apart(self.instance.project_id)
        return cleaned


class PlanPriceFormSet(BaseInlineFormSet):
    """A plan's prices, checked against the project's others and against each other."""

    def clean(self) -> None:
        """Check every row that stays."""
        super().clean()
        seen: set[tuple[str, str, str]] = set()
        for form in self.forms:
            if not hasattr(form, "cleaned_data") or form.cleaned_data.get("DELETE"):
                continue
            if self.instance.project_id and isinstance(form, PlanPriceForm):
                form.check_apart(self.instance.project_id)
            for name in ("stripe_price_id", "lookup_key"):
                key = (name, str(form.cleaned_data.get("mode")), str(form.cleaned_data.get(name) or ""))
                if key[2] and key in seen:
                    form.add_error(name, TAKEN.format(what="price"))
                seen.add(key)


class PlanPriceInline(TabularInline):
    """The prices that sell a plan: whoever may change the plan may change them."""

    model = PlanPrice
    form = PlanPriceForm
    formset = PlanPriceFormSet
    extra = 0
    hide_title = True

    def _plan_admin(self) -> Any:
        return self.admin_site._registry[Plan]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the plan."""
        return bool(self._plan_admin().has_view_permission(request, obj))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the plan."""
        plan_admin = self._plan_admin()
        return bool(plan_admin.has_change_permission(request, obj) if obj else plan_admin.has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the plan."""
        return self.has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As on the plan."""
        return self.has_add_permission(request, obj)


@admin.register(Plan)
class PlanAdmin(ProjectScopedAdmin):
    form = PlanForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_display = ["name", "code", "project", "rank", "free", "internal", "created_at"]
    list_filter = ["free", "internal", "created_at"]
    list_select_related = ["project"]
    search_fields = ["name", "code", "project__name", "project__slug"]
    inlines = [PlanPriceInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a plan in its project: its prices and subscriptions are there."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Give new prices the plan's project."""
        for price in formset.save(commit=False):
            price.project_id = form.instance.project_id
            price.warning = ""
            price.save()
        for price in formset.deleted_objects:
            price.delete()
        formset.save_m2m()


@admin.register(PlanPrice)
class PlanPriceAdmin(ProjectScopedAdmin):
    form = PlanPriceAloneForm
    developer_role_to_change = Role.DEVELOPER
    list_display = [
        "plan",
        "project",
        "mode",
        "interval",
        "amount",
        "stripe_price_id",
        "lookup_key",
        "active",
        "warning",
    ]
    list_filter = ["mode", "interval", "active"]
    list_select_related = ["plan", "project"]
    search_fields = ["stripe_price_id", "lookup_key", "plan__code", "plan__name", "project__name"]
    fields = ["plan", "project", *PlanPriceForm.Meta.fields, "warning"]
    readonly_fields = ["plan", "project", "warning"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Prices are added on their plan's page, which knows the project."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save what was looked at and found right: the warning goes, until Stripe says otherwise again."""
        obj.warning = ""
        super().save_model(request, obj, form, change)

    @display(description="Amount", ordering="amount_cents")
    def amount(self, row: PlanPrice) -> str:
        """Show the amount in minor units of its currency."""
        return f"{row.amount_cents:,} {row.currency.upper()} (minor units)"
