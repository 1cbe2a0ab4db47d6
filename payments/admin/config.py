"""Stripe keys in the admin: typed in, never shown again. Saving goes through the same service as the API."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from accounts.models import User
from common.errors import ApiError
from common.modes import MODES
from moderation.services.action_log import log_action
from payments.admin.actions import REASON_CHARS_MAX, ProjectActionsAdmin
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import StripeConfig, StripeCredentials
from payments.services.stripe_config import (
    KEY_FIELDS,
    MAX_KEY_LENGTH,
    KeysRefused,
    changes_of,
    deactivate_stripe_config,
    put_stripe_config,
)
from payments.services.webhook_endpoints import check_endpoint
from payments.services.webhook_health import Health, read_health
from payments.stripe_api import StripeNotConfigured
from projects.models import Project, Role

# Each is a few calls to Stripe that somebody waits for.
CHECKED_MAX = 10
KEY_NAMES = [f"{mode}_{field}" for mode in MODES for field in KEY_FIELDS]
LABELS = {"secret_key": "secret key", "publishable_key": "publishable key", "webhook_secret": "webhook secret"}


def _key_field(mode: str, field: str) -> forms.CharField:
    widget = UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "off"})
    label = f"{mode.capitalize()} {LABELS[field]}"
    return forms.CharField(label=label, required=False, max_length=MAX_KEY_LENGTH, strip=True, widget=widget)


class KeysForm(forms.Form):
    """Keys to save. A field that is left blank keeps what is stored; nothing that is stored is ever put into it."""

    project = forms.ModelChoiceField(queryset=Project.objects.none(), widget=UnfoldAdminSelectWidget)
    test_secret_key = _key_field("test", "secret_key")
    test_publishable_key = _key_field("test", "publishable_key")
    test_webhook_secret = _key_field("test", "webhook_secret")
    live_secret_key = _key_field("live", "secret_key")
    live_publishable_key = _key_field("live", "publishable_key")
    live_webhook_secret = _key_field("live", "webhook_secret")
    confirm_account_change = forms.BooleanField(
        label="Accept a key of another Stripe account", required=False, widget=UnfoldBooleanSwitchWidget
    )
    reason = forms.CharField(
        label="Why",
        max_length=REASON_CHARS_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Kept in the action log.",
    )

    def __init__(self, *args: Any, projects: Any, config: StripeConfig | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if config is None:
            self.fields["project"].queryset = projects.exclude(stripe_config__isnull=False)  # type: ignore[attr-defined]
            return
        del self.fields["project"]
        for row in config.credentials.all():
            for field in KEY_FIELDS:
                stored = getattr(row, f"{field}_masked")
                self.fields[f"{row.mode}_{field}"].help_text = f"Stored: {stored}" if stored else "Not set."

    def save(self, project: Project, actor: User) -> list[str]:
        """Save the keys and return the names of those that changed. Adds Stripe's refusals to the form."""
        changes = changes_of({name: self.cleaned_data.get(name) or None for name in KEY_NAMES})
        try:
            put_stripe_config(
                project=project,
                changes=changes,
                confirm_account_change=self.cleaned_data["confirm_account_change"],
                actor=actor,
                reason=self.cleaned_data["reason"],
            )
        except KeysRefused as refused:
            for problem in refused.errors:
                self.add_error(str(problem["loc"][-1]), str(problem["msg"]))
        except ApiError as error:
            self.add_error(None, error.detail)
        return [name for name, value in changes.items() if value]


@admin.register(StripeConfig)
class StripeConfigAdmin(ProjectActionsAdmin):
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    list_display = ["project", "is_active", "test_keys", "live_keys", "created_at", "updated_at"]
    list_filter = ["is_active", "created_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug", "credentials__stripe_account_id"]
    actions = ["check_endpoints", "deactivate_selected"]

    def get_queryset(self, request: HttpRequest) -> Any:
        """Read the credentials with the rows: one query more, however many rows."""
        return super().get_queryset(request).prefetch_related("credentials")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: a configuration is deactivated, its history stays."""
        return False

    @display(description="Test keys")
    def test_keys(self, row: StripeConfig) -> str:
        """Show the mask of the test key."""
        return self._mask(row, "test")

    @display(description="Live keys")
    def live_keys(self, row: StripeConfig) -> str:
        """Show the mask of the live key."""
        return self._mask(row, "live")

    @staticmethod
    def _mask(row: StripeConfig, mode: str) -> str:
        return next((one.secret_key_masked for one in row.credentials.all() if one.mode == mode), "") or "-"

    # Django's own change view keeps a transaction open, and Stripe is never called inside one.
    @method_decorator([csrf_protect, sensitive_post_parameters(*KEY_NAMES)])
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Set the keys of a project for the first time."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._keys_page(request, None)

    @method_decorator([csrf_protect, sensitive_post_parameters(*KEY_NAMES)])
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Replace keys."""
        config = self.get_object(request, object_id)
        if config is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return redirect
        if not self.has_view_permission(request, config):
            raise PermissionDenied
        if request.method == "POST" and not self.has_change_permission(request, config):
            raise PermissionDenied
        return self._keys_page(request, config)

    def _keys_page(self, request: HttpRequest, config: StripeConfig | None) -> HttpResponse:
        may_save = self.has_change_permission(request, config) if config else True
        form = KeysForm(request.POST or None, projects=self._configurable(request), config=config)
        if request.method == "POST" and form.is_valid():
            project = config.project if config else form.cleaned_data["project"]
            saved = form.save(project, self._actor(request))
            if form.is_valid():
                return self._saved(request, project, saved)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Stripe keys of {config.project.name}" if config else "Set Stripe keys",
            "opts": self.opts,
            "form": form,
            "config": config,
            "credentials": list(config.credentials.order_by("mode")) if config else [],
            "health": read_health(project_id=config.project_id) if config else {},
            "may_save": may_save,
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "payments/admin/stripe_keys.html", context)

    def _configurable(self, request: HttpRequest) -> Any:
        if self._is_staff_for(request, "add"):
            return Project.objects.existing()
        return self._projects(request, Role.DEVELOPER)

    def _saved(self, request: HttpRequest, project: Project, saved: list[str]) -> HttpResponse:
        config = StripeConfig.objects.for_project(project).get()
        self.log_change(request, config, f"Saved {', '.join(saved) or 'nothing'}; activated.")
        messages.success(request, "The keys are saved. They are not shown again.")
        return HttpResponseRedirect(reverse("admin:payments_stripeconfig_changelist"))

    @staticmethod
    def _actor(request: HttpRequest) -> User:
        if not isinstance(request.user, User):
            raise PermissionDenied
        return request.user

    def has_deactivate_permission(self, request: HttpRequest) -> bool:
        """Whoever may change the project."""
        return self.may_act(request)

    @admin.action(description="Check the webhook endpoints at Stripe and mend them", permissions=["deactivate"])
    def check_endpoints(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Look at the endpoints of both modes, after a confirmation, since endpoints by hand are mended too."""
        rows = list(self.actionable(request, queryset).select_related("project")[:CHECKED_MAX])

        def check_all(reason: str) -> None:
            for config in rows:
                for mode in MODES:
                    try:
                        check = check_endpoint(project=config.project, mode=mode, mend_by_hand=True)
                    except StripeNotConfigured:
                        continue
                    found = f"{config.project.name}, {mode}: {check.status}{f' – {check.error}' if check.error else ''}"
                    messages.info(request, found)
                    log_action(
                        action="webhook_endpoint.check",
                        subject=check.endpoint_id or str(config.pk),
                        actor=self._actor(request),
                        reason=reason,
                        project_id=config.project_id,
                        mode=mode,
                        details={"status": check.status, "mended": check.mended},
                    )
                    self.log_change(request, config, f"Checked the {mode} webhook endpoint: {check.status}.")

        return self.when_confirmed(
            request,
            title="Check webhook endpoints",
            action="check_endpoints",
            question="The webhook endpoints of these projects are looked at, and made or mended, at Stripe:",
            rows=rows,
            carry_out=check_all,
        )

    @admin.action(description="Deactivate: stop taking payments", permissions=["deactivate"])
    def deactivate_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Switch payments off, after a confirmation."""
        rows = list(self.actionable(request, queryset).select_related("project"))

        def deactivate(reason: str) -> None:
            for config in rows:
                deactivate_stripe_config(project=config.project, actor=self._actor(request), reason=reason)
                self.log_change(request, config, "Deactivated.")
            messages.success(request, "Payments are off. Saving keys switches them on again.")

        return self.when_confirmed(
            request,
            title="Deactivate payments",
            action="deactivate_selected",
            question="These projects stop taking payments, and their webhooks stop verifying:",
            rows=rows,
            carry_out=deactivate,
        )


def _health(row: StripeCredentials) -> Health:
    """Read how the row's events fare, once per page."""
    if not hasattr(row, "health_on_page"):
        row.health_on_page = read_health(project_id=row.project_id).get(row.mode, Health())  # type: ignore[attr-defined]
    found: Health = row.health_on_page  # type: ignore[attr-defined]
    return found


@admin.register(StripeCredentials)
class StripeCredentialsAdmin(ReadOnlyAdmin):
    list_display = [
        "project", "mode", "secret_key_masked", "stripe_account_id", "webhook_status", "webhook_checked_at", "configured_at",
    ]  # fmt: skip
    list_filter = ["mode", "webhook_status", "configured_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug", "stripe_account_id"]
    # What is not named here is not on the page: the columns with ciphertexts, above all.
    fields = [
        "project", "mode", "secret_key_masked", "publishable_key_masked", "webhook_secret_masked",
        "previous_webhook_secret_expires_at", "stripe_account_id", "webhook_endpoint_id", "previous_webhook_endpoint_id",
        "webhook_status", "webhook_error", "webhook_checked_at", "last_event_at", "last_failure_at", "oldest_pending_at",
        "dead_events", "configured_at", "version", "encryption_keys",
    ]  # fmt: skip
    readonly_fields = [
        "secret_key_masked", "publishable_key_masked", "webhook_secret_masked", "last_event_at", "last_failure_at",
        "oldest_pending_at", "dead_events", "encryption_keys",
    ]  # fmt: skip

    @display(description="Last event")
    def last_event_at(self, row: StripeCredentials) -> Any:
        """Show when Stripe last delivered something."""
        return _health(row).last_event_at

    @display(description="Last failed attempt")
    def last_failure_at(self, row: StripeCredentials) -> Any:
        """Show when an event last could not be processed."""
        return _health(row).last_failure_at

    @display(description="Oldest waiting event")
    def oldest_pending_at(self, row: StripeCredentials) -> Any:
        """Show since when the oldest unprocessed event is here."""
        return _health(row).oldest_pending_at

    @display(description="Dead letters")
    def dead_events(self, row: StripeCredentials) -> int:
        """Count what was given up."""
        return _health(row).dead_events

    @display(description="Encrypted with")
    def encryption_keys(self, row: StripeCredentials) -> str:
        """Name the encryption keys that this row needs."""
        return ", ".join(sorted(row.secret_key_ids())) or "-"
