"""Plans and their prices in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from accounts.models import User
from common.errors import FieldError
from common.money import money_text
from entitlements.models import Plan, PlanPrice
from entitlements.services.plan_fields import LIMIT_NAMES, LIMITS, problem_of_field, problem_of_price
from entitlements.services.plans import check_among_others, lock_plans, log_plan_change, remove_plan, remove_price
from projects.admin_prices import AMOUNT_HELP, AMOUNT_LABELS
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Project, Role

# Django leaves constraints out whose fields a form does not have; the project is such a field here.
TAKEN = "Another {what} of this project has it."


def _actor(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


class PlanForm(forms.ModelForm):
    """A plan; its aliases are a list of words, its features an object of names."""

    class Meta:
        model = Plan
        fields = [
            "project", "code", "name", "aliases", "rank", "internal", "free", "archived", "trial_days", "features", *LIMIT_NAMES,
        ]  # fmt: skip
        help_texts = {
            "features": 'What the app may switch on: {"runs": "priority", "export": true, "seats": 3}.',
            "archived": "Not sold any more. Whoever is on it stays on it.",
            "internal": "Given by hand, never sold or shown.",
            "free": "What somebody without a paid plan is on.",
        } | {
            name: f"{limit.about} 0 gives nothing{'; empty is no limit' if limit.may_be_null else ''}."
            for name, limit in LIMITS.items()
        }

    def clean_aliases(self) -> list[str]:
        """Accept a list of texts only."""
        return self._checked("aliases", [])

    def clean_features(self) -> dict[str, Any]:
        """Accept an object of booleans, numbers and short texts only."""
        return self._checked("features", {})

    def clean(self) -> dict[str, Any] | None:
        """Keep names apart within a project, and limits where the API keeps them."""
        cleaned = super().clean()
        for name in (*LIMITS, "rank", "trial_days"):
            problem = problem_of_field(name, self.cleaned_data[name]) if name in self.cleaned_data else None
            if problem:
                self.add_error(name, problem)
        project = self.cleaned_data.get("project") or (self.instance.project_id and self.instance.project)
        if project and not self.errors:
            self._check_among_others(project)
        return cleaned

    def _check_among_others(self, project: Project) -> None:
        names = ("code", "aliases", "free", "archived")
        wanted = Plan(pk=self.instance.pk, project=project, **{name: self.cleaned_data[name] for name in names})
        try:
            # The page is saved in this transaction: nobody takes a name between the look and the save.
            lock_plans(project)
            check_among_others(wanted, is_new=self.instance._state.adding)
        except FieldError as error:
            self.add_error(str(error.errors[0]["loc"][-1]), error.detail)

    def _checked(self, name: str, empty: Any) -> Any:
        value = self.cleaned_data.get(name) or empty
        if problem := problem_of_field(name, value):
            raise forms.ValidationError(problem)
        return value


class PlanPriceForm(forms.ModelForm):
    """A price; Stripe's id or the lookup key finds it."""

    class Meta:
        model = PlanPrice
        fields = ["mode", "interval", "stripe_price_id", "lookup_key", "amount_cents", "currency", "active"]
        labels = AMOUNT_LABELS
        help_texts = AMOUNT_HELP

    def clean_currency(self) -> str:
        """Write the currency as Stripe does."""
        return str(self._right("currency", str(self.cleaned_data["currency"]).lower()))

    def clean_amount_cents(self) -> int:
        """Refuse what no price can be."""
        return int(self._right("amount_cents", self.cleaned_data["amount_cents"]))

    def clean_stripe_price_id(self) -> str:
        """Refuse what cannot be the id of a price, a key above all."""
        return self._named("price_id", "stripe_price_id")

    def clean_lookup_key(self) -> str:
        """Refuse what cannot be a lookup key."""
        return self._named("lookup_key", "lookup_key")

    def _named(self, name: str, field: str) -> str:
        value = str(self.cleaned_data[field] or "")
        return str(self._right(name, value)) if value else ""

    @staticmethod
    def _right(name: str, value: Any) -> Any:
        if problem := problem_of_price(name, value):
            raise forms.ValidationError(problem)
        return value

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
    fieldsets = [
        (
            None,
            {"fields": ["project", "code", "name", "aliases", "rank", "internal", "free", "archived", "trial_days"]},
        ),
        ("What it gives", {"fields": ["features", *LIMIT_NAMES]}),
    ]
    list_display = ["name", "code", "project", "rank", "free", "internal", "archived", "created_at"]
    list_filter = ["free", "internal", "archived", "created_at"]
    list_select_related = ["project"]
    search_fields = ["name", "code", "project__name", "project__slug"]
    inlines = [PlanPriceInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a plan in its project: its prices and subscriptions are there."""
        fields = super().get_readonly_fields(request, obj)
        return [*fields, "project"] if obj else fields

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save, and write down who changed what."""
        super().save_model(request, obj, form, change)
        before = form.initial if change else {}
        pairs = {name: [before.get(name), form.cleaned_data[name]] for name in form.changed_data if name != "project"}
        changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if changed:
            log_plan_change("plan.changed" if change else "plan.created", obj, _actor(request), changed)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Archive a plan that somebody has or had, delete another one."""
        if not remove_plan(project=obj.project, plan_id=obj.pk, actor=_actor(request)):
            self.message_user(request, f"{obj} was archived instead: somebody has or had it.", messages.WARNING)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Plan]) -> None:
        """Do the same with each."""
        for plan in queryset.select_related("project"):
            self.delete_model(request, plan)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Give new prices the plan's project."""
        for price in formset.save(commit=False):
            price.project_id = form.instance.project_id
            price.warning = ""
            price.save()
        for price in formset.deleted_objects:
            remove_price(project=form.instance.project, plan_id=price.plan_id, price_id=price.pk, actor=_actor(request))
        formset.save_m2m()


@admin.register(PlanPrice)
class PlanPriceAdmin(ProjectScopedAdmin):
    form = PlanPriceAloneForm
    developer_role_to_change = Role.DEVELOPER
    list_display = ["plan", "interval", "amount", "active", "warning", "stripe_price_id", "mode", "project"]
    list_filter = ["mode", "interval", "active"]
    list_select_related = ["plan", "project"]
    search_fields = ["stripe_price_id", "lookup_key", "plan__code", "plan__name", "project__name"]
    fields = ["plan", "project", "amount", *PlanPriceForm.Meta.fields, "warning"]
    readonly_fields = ["plan", "project", "amount", "warning"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Prices are added on their plan's page, which knows the project."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save what was looked at and found right: the warning goes, until Stripe says otherwise again."""
        obj.warning = ""
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Take a price off sale that somebody may pay, delete another one."""
        gone = remove_price(project=obj.project, plan_id=obj.plan_id, price_id=obj.pk, actor=_actor(request))
        if not gone:
            self.message_user(request, f"{obj} was taken off sale instead: somebody may pay it.", messages.WARNING)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PlanPrice]) -> None:
        """Do the same with each."""
        for price in queryset.select_related("project"):
            self.delete_model(request, price)

    @display(description="Amount", ordering="amount_cents")
    def amount(self, row: PlanPrice) -> str:
        """Show the amount in its currency."""
        return money_text(row.amount_cents, row.currency)
