"""Admin pages of projects. Keys are made through the API, where they are shown once; a page never shows a secret."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from common.errors import FieldError
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin
from projects.models import ApiKey, EndUser, IdempotencyRecord, IdentityProvider, Membership, Project, Role
from projects.origins import is_allowed, normalize_origin
from projects.services.identity_providers import check_identity_provider, put_identity_provider
from projects.services.members import LastOwner, MemberNotFound, check_may_lose_role
from projects.services.projects import URL_FIELDS, clean_slug
from projects.shared_webhook import check_may_take_part

PROVIDER_FIELDS = ["kind", "issuer", "audience", "jwks_url", "user_id_claim", "email_claim", "test_only", "is_active"]


class ProjectForm(forms.ModelForm):
    """Checks what the API checks."""

    class Meta:
        model = Project
        fields = [
            "name",
            "slug",
            "description",
            "is_active",
            "allowed_origins",
            "default_success_url",
            "default_cancel_url",
            "default_return_url",
            "shared_webhook",
        ]

    def clean_slug(self) -> str:
        """Check the slug."""
        try:
            return clean_slug(self.cleaned_data["slug"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean_allowed_origins(self) -> list[str]:
        """Check each origin."""
        origins = self.cleaned_data["allowed_origins"] or []
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            raise forms.ValidationError('Give a list, for instance ["https://app.example"].')
        try:
            return [normalize_origin(origin) for origin in origins]
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any] | None:
        """Keep addresses to the allowed origins."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        origins: list[str] = cleaned.get("allowed_origins") or []
        for name in URL_FIELDS if "allowed_origins" in cleaned else ():
            url = cleaned.get(name)
            if url and not is_allowed(allowed_origins=origins, url=url, test_mode=True):
                self.add_error(name, "This address is not on one of the project's allowed origins.")
        return cleaned

    def clean_shared_webhook(self) -> bool:
        """Check that the shared address stays unambiguous."""
        wanted: bool = self.cleaned_data["shared_webhook"]
        if wanted:
            try:
                with transaction.atomic():
                    check_may_take_part(self.instance)
            except FieldError as error:
                raise forms.ValidationError(error.detail) from error
        return wanted


class IdentityProviderForm(forms.ModelForm):
    """The shared secret is written here and never shown; left blank, the stored one is kept."""

    hs256_secret = forms.CharField(
        label="Shared secret (HS256)",
        required=False,
        strip=False,
        max_length=4096,
        widget=UnfoldAdminPasswordWidget(render_value=False, attrs={"autocomplete": "new-password"}),
        help_text="At least 32 bytes. Leave blank to keep the stored one.",
    )

    class Meta:
        model = IdentityProvider
        fields = ["project", *PROVIDER_FIELDS]

    def provider_fields(self) -> dict[str, Any]:
        """Return the fields as the API has them."""
        return {
            **{name: self.cleaned_data.get(name) for name in PROVIDER_FIELDS},
            "hs256_secret": self.cleaned_data.get("hs256_secret") or None,
        }

    def clean(self) -> dict[str, Any] | None:
        """Check what the API checks."""
        cleaned = super().clean()
        if not self.errors:
            try:
                check_identity_provider(
                    provider=IdentityProvider.objects.filter(pk=self.instance.pk).first(), fields=self.provider_fields()
                )
            except FieldError as error:
                problem = error.errors[0]
                self.add_error(str(problem["loc"][-1]), str(problem["msg"]))
        return cleaned


@admin.register(Project)
class ProjectAdmin(ProjectScopedAdmin):
    """Projects."""

    form = ProjectForm
    project_lookup = "pk"
    developer_role_to_change = Role.DEVELOPER
    list_display = ["name", "slug", "is_active", "shared_webhook", "created_at", "checks"]
    list_filter = ["is_active", "shared_webhook"]
    search_fields = ["name", "slug"]
    # What is chosen from page by page needs an order, and this one costs nothing: ids grow with time.
    ordering = ["-pk"]
    readonly_fields = ["id", "created_at", "updated_at", "deleted_at", "checks"]

    @display(description="Checks")
    def checks(self, row: Project) -> SafeString | str:
        """Lead to the go-live checks, the key doctor and the webhooks."""
        if row.deleted_at is not None or row._state.adding:
            return "-"
        return format_html('<a href="{}">Go-live, keys, webhooks</a>', reverse("backoffice:project", args=[row.pk]))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what the form changes and keep the rest as it is now. Raises: PermissionDenied once it was deleted meanwhile."""
        if change:
            now = Project.objects.select_for_update(no_key=True).get(pk=obj.pk)
            if now.deleted_at is not None and obj.deleted_at is None:
                raise PermissionDenied
            for field in Project._meta.concrete_fields:
                if field.name not in form.changed_data:
                    setattr(obj, field.attname, getattr(now, field.attname))
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: a project's row is what its payments hang on. The API deletes it for everybody and keeps the books."""
        return False


class MembershipForm(forms.ModelForm):
    """A member's role. A project is never without an owner."""

    class Meta:
        model = Membership
        fields = ["project", "user", "role"]

    def clean_role(self) -> str:
        """Refuse to take the last owner's role."""
        role = str(self.cleaned_data["role"])
        if not self.instance._state.adding and role != Role.OWNER:
            try:
                check_may_lose_role(Membership.objects.select_related("project").get(pk=self.instance.pk))
            except LastOwner as refusal:
                raise forms.ValidationError(refusal.detail) from refusal
        return role


@admin.register(Membership)
class MembershipAdmin(ProjectScopedAdmin):
    """Who may act in a project. A project is never left without an owner."""

    form = MembershipForm
    list_display = ["project", "user", "role", "created_at"]
    list_filter = ["role"]
    search_fields = ["user__email", "project__name"]
    list_select_related = ["project", "user"]
    autocomplete_fields = ["project", "user"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave a membership with its project and its user."""
        return [*super().get_readonly_fields(request, obj), *(["project", "user"] if obj is not None else [])]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse for the last owner."""
        allowed = super().has_delete_permission(request, obj)
        if not allowed or obj is None or obj.role != Role.OWNER:
            return allowed
        return bool(Membership.objects.for_project(obj.project_id).filter(role=Role.OWNER).exclude(pk=obj.pk).exists())

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Remove a member. The last owner is looked for again with the project held: two may be removed at once."""
        try:
            check_may_lose_role(obj)
        except LastOwner as refusal:
            raise PermissionDenied(refusal.detail) from refusal
        except MemberNotFound:
            # Somebody else was faster.
            return
        super().delete_model(request, obj)

    def get_actions(self, request: HttpRequest) -> Any:
        """Leave out deleting in bulk, which would take all owners of a project at once."""
        return {name: found for name, found in super().get_actions(request).items() if name != "delete_selected"}


@admin.register(ApiKey)
class ApiKeyAdmin(ProjectScopedAdmin):
    """Keys by their first characters. A key can be switched off here and is made through the API."""

    developer_role_to_change = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    fields = ["project", "name", "key_prefix", "is_test_mode", "is_active", "created_at", "created_by", "last_used_at"]
    readonly_fields = ["project", "key_prefix", "is_test_mode", "created_at", "created_by", "last_used_at"]
    list_display = ["name", "project", "key_prefix", "is_test_mode", "is_active", "last_used_at"]
    list_filter = ["is_active", "is_test_mode"]
    search_fields = ["name", "key_prefix", "project__name"]
    list_select_related = ["project"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: the API shows a new key once."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Let a key be switched off, and not on again: whoever it leaked to has kept it."""
        fields = list(super().get_readonly_fields(request, obj))
        return fields if obj is None or obj.is_active else [*fields, "is_active"]


@admin.register(IdentityProvider)
class IdentityProviderAdmin(ProjectScopedAdmin):
    """Whose tokens a project accepts."""

    form = IdentityProviderForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    list_display = ["project", "kind", "issuer", "test_only", "is_active", "jwks_fetched_at"]
    list_filter = ["kind", "is_active", "test_only"]
    search_fields = ["issuer", "project__name"]
    list_select_related = ["project"]
    readonly_fields = ["jwks_fetched_at", "created_at", "updated_at"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave the secret out for whoever only looks: Django shows them a form's fields by what the row answers to that name."""
        fields = list(super().get_fields(request, obj))
        return fields if self._may_write(request, obj) else [name for name in fields if name != "hs256_secret"]

    def _may_write(self, request: HttpRequest, obj: Any) -> bool:
        return self.has_change_permission(request, obj) if obj is not None else self.has_add_permission(request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep a provider with its project."""
        return [*self.readonly_fields, "project"] if obj is not None else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save as the API does."""
        if not self.has_change_permission(request, obj):
            raise PermissionDenied
        saved = put_identity_provider(project=obj.project, fields=form.provider_fields())
        obj.pk = saved.pk


@admin.register(EndUser)
class EndUserAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    """End users: they appear with their first token, and their payments hang on the row. Banning is a page of its own."""

    fields = [
        "project",
        "external_id",
        "email",
        "is_active",
        "banned_at",
        "anonymised_at",
        "created_at",
        "last_seen_at",
        "support_page",
    ]
    list_display = ["external_id", "email", "project", "is_active", "created_at", "last_seen_at", "support_page"]
    list_filter = ["is_active"]
    search_fields = ["external_id", "email"]
    list_select_related = ["project"]
    readonly_fields = ["support_page"]
    show_full_result_count = False

    @display(description="For support")
    def support_page(self, row: EndUser) -> SafeString:
        """Lead to everything about the user on one screen."""
        return format_html('<a href="{}">Everything on one screen</a>', reverse("backoffice:end-user", args=[row.pk]))


@admin.register(IdempotencyRecord)
class IdempotencyRecordAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    """Requests that came with a key; the answers are not shown."""

    fields = [
        "project",
        "caller",
        "key",
        "method",
        "path",
        "state",
        "lease_until",
        "status_code",
        "holds_secret",
        "created_at",
    ]
    readonly_fields = fields
    list_display = ["created_at", "method", "path", "state", "status_code", "holds_secret"]
    list_filter = ["state", "method", "holds_secret"]
    search_fields = ["key", "caller"]
    show_full_result_count = False
