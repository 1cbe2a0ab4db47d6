"""Rules, recipients and incidents of alerts. Rows without a project are the operator's; developers see their own projects' only."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextareaWidget

from common.errors import FieldError
from notifications.admin.logged import LoggedChangesMixin
from notifications.models import AlertIncident, AlertKind, AlertRule, AlertTarget
from notifications.models.alerts import INSTANCE
from notifications.services.alert_rules import DEFAULT_RULES, UNITS
from notifications.services.settings import (
    FIGURES,
    check_listener,
    checked_addresses,
    problem_of_secret,
    problems_of_figures,
    values_of_rule,
    values_of_target,
)
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin
from projects.models import Role

AS_SHIPPED = "Empty: as it ships for the kind."
COLORS = {"Open": "danger", "Over": "success"}


class OperatorsRowsAdmin(LoggedChangesMixin):
    """Rows of a project, or of the operator when they name none: only staff may leave the project out."""

    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    list_select_related = ["project"]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Ask developers for the project."""
        form = super().get_form(request, obj, change=change, **kwargs)
        if "project" in form.base_fields:
            form.base_fields["project"].required = not self._is_staff_for(request, "add")
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave a row with its project."""
        return [*super().get_readonly_fields(request, obj), *(["project"] if obj is not None else [])]

    @display(description="Of", ordering="project__name")
    def whose(self, row: Any) -> str:
        """Name the project."""
        return row.project.name if row.project_id else "Every project"


class AlertRuleForm(forms.ModelForm):
    """A rule that can open an incident and end it again."""

    class Meta:
        model = AlertRule
        fields = ["project", "kind", "is_enabled", "threshold", "recovers_at", "window_minutes", "calm_minutes"]
        help_texts = {
            "project": "Empty: for every project that has no rule of the kind.",
            "threshold": f"{AS_SHIPPED} An incident opens here. As shipped: "
            + "; ".join(f"{kind.label}, {rule.threshold} {UNITS[kind]}" for kind, rule in DEFAULT_RULES.items())
            + ".",
            "recovers_at": f"{AS_SHIPPED} Below the threshold: the incident ends after the calm minutes at or below this.",
            "window_minutes": f"{AS_SHIPPED} How far back is looked, for what is counted over time.",
            "calm_minutes": AS_SHIPPED,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ask for no figure: a rule may only switch a kind off."""
        super().__init__(*args, **kwargs)
        # Who only looks has a form without fields.
        for name in FIGURES:
            if name in self.fields:
                self.fields[name].required = False

    def clean(self) -> dict[str, Any]:
        """Take what was left empty as it ships. Refuse what could never open, or never end."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        shipped = DEFAULT_RULES.get(cleaned.get("kind", ""))
        for name in FIGURES:
            if shipped and name in cleaned and cleaned[name] is None:
                cleaned[name] = getattr(shipped, name)
        for name, problem in problems_of_figures({name: cleaned.get(name) for name in FIGURES}).items():
            self.add_error(name, problem)
        return cleaned


@admin.register(AlertRule)
class AlertRuleAdmin(OperatorsRowsAdmin):
    form = AlertRuleForm
    log_name = "alert_rule"
    list_display = ["kind", "whose", "is_enabled", "threshold", "recovers_at", "window_minutes", "calm_minutes"]
    list_filter = ["kind", "is_enabled"]
    search_fields = ["project__name", "project__slug"]
    list_before_template = "notifications/admin/alert_rules_intro.html"

    def logged_values(self, row: AlertRule) -> dict[str, Any]:
        """Return what a rule says."""
        return values_of_rule(row)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the rules that hold where none is set."""
        shipped = [(kind, rule, UNITS[kind]) for kind, rule in DEFAULT_RULES.items()]
        return super().changelist_view(request, {**(extra_context or {}), "shipped_rules": shipped})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin a rule of a named kind with the figures that ship for it."""
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        shipped = DEFAULT_RULES.get(given.get("kind", ""))
        return ({name: getattr(shipped, name) for name in FIGURES} if shipped else {}) | given


class AlertTargetForm(forms.ModelForm):
    """Addresses and a listener. The secret is written here and never shown; left blank, the stored one is kept."""

    mail_to = forms.CharField(
        label="Mail to",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="One address a line. Empty: the project's owners; for every project: nobody.",
    )
    signing_secret = forms.CharField(
        label="Signing secret",
        required=False,
        max_length=200,
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "off"}),
        help_text="whsec_ and 24 to 64 random bytes in base64, the same at the listener. Left blank, the stored one is kept.",
    )

    class Meta:
        model = AlertTarget
        fields = ["project", "mail_to", "webhook_url"]
        help_texts = {
            "webhook_url": "Called with alert.opened and alert.recovered, signed as Standard Webhooks has it."
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Show the addresses one a line."""
        super().__init__(*args, **kwargs)
        if self.instance.mail_to:
            self.initial["mail_to"] = "\n".join(self.instance.mail_to)

    def clean_mail_to(self) -> list[str]:
        """Refuse what is no address."""
        try:
            return checked_addresses(self.cleaned_data["mail_to"].split())
        except FieldError as refusal:
            raise ValidationError(str(refusal.errors[0]["msg"])) from refusal

    def clean_webhook_url(self) -> str:
        """Refuse an address that may not be called, or that is not public now."""
        url: str = self.cleaned_data["webhook_url"]
        project = self.cleaned_data.get("project") or self.instance.project
        try:
            check_listener(url, whose=str(project.pk) if project else INSTANCE)
        except FieldError as refusal:
            raise ValidationError(str(refusal.errors[0]["msg"])) from refusal
        return url

    def clean_signing_secret(self) -> str:
        """Refuse what is no secret of the standard's form, without repeating it."""
        secret: str = self.cleaned_data["signing_secret"]
        problem = problem_of_secret(secret) if secret else ""
        if problem:
            raise ValidationError(problem)
        return secret

    def clean(self) -> dict[str, Any]:
        """Refuse a listener that could not tell our calls from others', and a second row for the same."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("webhook_url") and not (cleaned.get("signing_secret") or self.instance.webhook_secret):
            self.add_error("signing_secret", "A listener needs a secret to check our signature with.")
        return cleaned

    def save(self, commit: bool = True) -> Any:
        """Keep the secret encrypted; a listener that is gone has none."""
        secret = self.cleaned_data["signing_secret"]
        if secret or not self.cleaned_data["webhook_url"]:
            self.instance.set_webhook_secret(secret if self.cleaned_data["webhook_url"] else "")
        return super().save(commit)


@admin.register(AlertTarget)
class AlertTargetAdmin(OperatorsRowsAdmin):
    form = AlertTargetForm
    log_name = "alert_recipients"
    list_display = ["whose", "addresses", "listener", "stored_secret", "updated_at"]
    search_fields = ["project__name", "project__slug"]
    readonly_fields = ["listener", "stored_secret"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Say of each row whether all of its address is shown."""
        return self.annotate_whole(request, super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the listener's address as a field to who may write it, and as the list does to who only looks."""
        may_write = obj is None or self.has_change_permission(request, obj)
        hidden = "listener" if may_write else "webhook_url"
        return [name for name in super().get_fields(request, obj) if name != hidden]

    @display(description="Listener")
    def listener(self, row: Any) -> str:
        """Show where it listens; viewers not the path, which may hold a token."""
        return (row.webhook_url if row.is_whole else row.webhook_url_masked) or "-"

    def logged_values(self, row: AlertTarget) -> dict[str, Any]:
        """Return who is told."""
        return values_of_target(row)

    def logged_besides(self, form: Any) -> dict[str, Any]:
        """Say whether there is another listener or secret: an address may hold a token."""
        new_secret = bool(form.cleaned_data.get("signing_secret"))
        return {"new_listener": "webhook_url" in form.changed_data, "new_secret": new_secret}

    @display(description="Mail to")
    def addresses(self, row: AlertTarget) -> str:
        """List the addresses."""
        return ", ".join(row.mail_to) or ("The owners" if row.project_id else "-")

    @display(description="Stored secret")
    def stored_secret(self, row: AlertTarget) -> str:
        """Show the mask."""
        return row.webhook_secret_masked or "-"

    @method_decorator(sensitive_post_parameters("signing_secret"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Keep the secret out of error reports."""
        return super().changeform_view(request, *args, **kwargs)


@admin.register(AlertIncident)
class AlertIncidentAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    list_display = [
        "kind",
        "colored_state",
        "project",
        "mode",
        "shown_peak",
        "value",
        "threshold",
        "opened_at",
        "resolved_at",
    ]
    list_filter = ["kind", "mode", "opened_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]
    ordering = ["-opened_at"]
    date_hierarchy = "opened_at"
    readonly_fields = ["shown_peak"]

    @display(description="State", label=COLORS)
    def colored_state(self, row: AlertIncident) -> str:
        """Show whether it is over."""
        return "Over" if row.resolved_at else "Open"

    @display(description="Reached")
    def shown_peak(self, row: AlertIncident) -> str:
        """Show the worst reading."""
        return f"{row.peak} {UNITS[AlertKind(row.kind)]}"
