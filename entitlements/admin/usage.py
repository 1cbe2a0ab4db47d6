"""Metered usage in the admin: what is counted and what plans include may be changed; what was used and billed is only looked at."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from common.money import money_text
from entitlements.models import Meter, PlanQuota, UsageCharge, UsageEvent, UsagePeriod
from entitlements.services.quotas import plain
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin
from projects.models import Role

STATUS_COLORS = {"billed": "success", "pending": "warning", "waived": "default"}
TAKEN = "Another {what} of this project has it."
ELSEWHERE = "This {what} belongs to another project."


class MeterForm(forms.ModelForm):
    """A meter and its rate."""

    class Meta:
        model = Meter
        fields = ["project", "code", "name", "unit", "unit_amount", "currency", "stripe_event_name", "active"]
        help_texts = {
            "unit": "What one is: search, GB-month.",
            "unit_amount": "In the currency's minor unit, for one: 0.006 cents a token are 0.06 dollars a thousand.",
            "stripe_event_name": "The event name of a billing meter at Stripe, whose price then counts. Empty: a line of an "
            "invoice at this rate.",
        }

    def clean_currency(self) -> str:
        """Write the currency as Stripe does."""
        currency = str(self.cleaned_data["currency"]).lower()
        if len(currency) != 3 or not (currency.isascii() and currency.isalpha()):
            raise forms.ValidationError("Give a currency of three letters: usd.")
        return currency

    def clean(self) -> dict[str, Any] | None:
        """Keep codes apart within a project."""
        cleaned = super().clean()
        project = self.cleaned_data.get("project") or self.instance.project_id
        code = self.cleaned_data.get("code")
        if project and code:
            others = Meter.objects.for_project(project).filter(code=code).exclude(pk=self.instance.pk)
            if others.exists():
                self.add_error("code", TAKEN.format(what="meter"))
        if (self.cleaned_data.get("unit_amount") or 0) < 0:
            self.add_error("unit_amount", "Give 0 or more.")
        return cleaned


class PlanQuotaForm(forms.ModelForm):
    """What a plan includes of a meter."""

    class Meta:
        model = PlanQuota
        fields = ["project", "plan", "meter", "included", "block_at_percent", "unit_amount"]
        help_texts = {
            "included": "Per period. 0: nothing. Empty: no limit.",
            "block_at_percent": "Use beyond it is refused; 100: at once. Empty: never, all of it is billed.",
            "unit_amount": "Empty: the meter's own rate.",
        }

    def clean(self) -> dict[str, Any] | None:
        """Keep a quota, its plan and its meter in one project, and to one for each."""
        cleaned = super().clean()
        project = self.cleaned_data.get("project") or (self.instance.project_id and self.instance.project)
        if not project:
            # Said beside its field already.
            return cleaned
        for name in ("plan", "meter"):
            found = self.cleaned_data.get(name)
            if found is not None and found.project_id != project.pk:
                self.add_error(name, ELSEWHERE.format(what=name))
        block = self.cleaned_data.get("block_at_percent")
        if block is not None and block < 100:
            self.add_error("block_at_percent", "Give 100 or more.")
        for name in ("included", "unit_amount"):
            if (self.cleaned_data.get(name) or 0) < 0:
                self.add_error(name, "Give 0 or more.")
        plan, meter = self.cleaned_data.get("plan"), self.cleaned_data.get("meter")
        same = PlanQuota.objects.for_project(project).filter(plan=plan, meter=meter).exclude(pk=self.instance.pk)
        if plan and meter and same.exists():
            self.add_error("meter", "This plan has a quota of it already.")
        return cleaned


class KeptInItsProject(ProjectScopedAdmin):
    """Rows that developers change in their projects, and that stay there."""

    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave a row in its project."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields


@admin.register(Meter)
class MeterAdmin(KeptInItsProject):
    form = MeterForm
    list_display = ["name", "code", "project", "rate", "stripe_event_name", "active"]
    list_filter = ["active"]
    list_select_related = ["project"]
    search_fields = ["code", "name", "project__name", "project__slug"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: usage was counted with it. It is switched off instead."""
        return False

    @display(description="Rate", ordering="unit_amount")
    def rate(self, row: Meter) -> str:
        """Show what one costs."""
        return f"{plain(row.unit_amount)} {row.currency.upper()} (minor units) a {row.unit or 'unit'}"


@admin.register(PlanQuota)
class PlanQuotaAdmin(KeptInItsProject):
    form = PlanQuotaForm
    developer_role_to_delete = Role.DEVELOPER
    list_display = ["plan", "meter", "project", "included_shown", "block_at_percent", "unit_amount"]
    list_select_related = ["plan", "meter", "project"]
    search_fields = ["plan__code", "plan__name", "meter__code", "project__name", "project__slug"]

    @display(description="Included", ordering="included")
    def included_shown(self, row: PlanQuota) -> str:
        """Show what the plan includes."""
        return "no limit" if row.included is None else plain(row.included)


class LookedAtOnly(ReadOnlyMixin, ProjectScopedAdmin):
    """Rows that follow what was reported: nobody changes them by hand."""

    show_add_link = False
    show_full_result_count = False


@admin.register(UsagePeriod)
class UsagePeriodAdmin(LookedAtOnly):
    list_display = ["end_user", "project", "mode", "starts_at", "ends_at", "plan", "subscription_id", "closed_at"]
    list_filter = ["mode", "closed_at"]
    list_select_related = ["project", "end_user", "plan"]
    search_fields = ["end_user__external_id", "subscription_id", "project__name", "project__slug"]
    readonly_fields = ["usage"]

    @display(description="Usage")
    def usage(self, row: UsagePeriod) -> str:
        """Show what was used in it."""
        totals = row.totals.select_related("meter").order_by("meter__code")
        return "; ".join(f"{one.meter.code}: {plain(one.used)}" for one in totals) or "-"


@admin.register(UsageEvent)
class UsageEventAdmin(LookedAtOnly):
    list_display = ["event_key", "meter", "quantity", "end_user", "project", "mode", "happened_at", "late"]
    list_filter = ["mode", "late", "received_at"]
    list_select_related = ["project", "end_user", "meter"]
    search_fields = ["event_key", "end_user__external_id", "meter__code", "project__name", "project__slug"]


@admin.register(UsageCharge)
class UsageChargeAdmin(LookedAtOnly):
    list_display = ["meter", "end_user", "project", "mode", "overage_shown", "amount", "method", "state", "created_at"]
    list_filter = ["mode", "status", "method", "created_at"]
    list_select_related = ["project", "end_user", "meter"]
    search_fields = [
        "end_user__external_id", "meter__code", "stripe_object_id", "stripe_invoice_id", "project__name", "project__slug",
    ]  # fmt: skip

    @display(description="Beyond the plan", ordering="overage")
    def overage_shown(self, row: UsageCharge) -> str:
        """Show what is billed."""
        return plain(row.overage)

    @display(description="Amount", ordering="amount_cents")
    def amount(self, row: UsageCharge) -> str:
        """Show it as people read it."""
        return money_text(row.amount_cents, row.currency)

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def state(self, row: UsageCharge) -> tuple[str, str]:
        """Show it in its colour."""
        return row.status, row.get_status_display()
