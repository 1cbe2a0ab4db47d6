"""Admin pages of developers, staff and OAuth2. Only staff see them; secrets and token hashes are on none of them."""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.idp.oidc.models import Client, Token
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.models import ROLE_ADMIN, STAFF_ROLES, FamilyToken, TokenFamily, User, normalize_email
from common.admin_lists import BoundedListMixin, SafeLookupsMixin

# allauth's own pages show secrets' hashes and let e-mail addresses be edited that nothing here reads.
for model in (Client, Token, EmailAddress, Group):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


# The menu and the documents say roles; Django's word for them is groups.
ROLES_HELP = "What the person may do in the back office: the sum of the roles."


class RoleFilter(admin.RelatedFieldListFilter):
    """The roles that people have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "role"


class NewUserForm(UserCreationForm):
    """Adds a developer or member of staff."""

    class Meta(BaseUserCreationForm.Meta):
        model = User
        fields = ("email",)

    def clean_email(self) -> str:
        """Store addresses in lower case."""
        return normalize_email(self.cleaned_data["email"])


class LookAtOnly(SafeLookupsMixin, BoundedListMixin):
    """Rows that only the service writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False


@admin.register(User)
class UserAdmin(BoundedListMixin, DjangoUserAdmin, ModelAdmin):
    """Developers and staff. Who may do what is for superusers to say."""

    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    ordering = ["-date_joined"]
    list_display = ["email", "full_name", "is_active", "is_staff", "date_joined"]
    list_filter = ["is_active", "is_staff", "is_superuser", "groups"]
    search_fields = ["email", "full_name"]
    readonly_fields = ["date_joined", "last_login", "tokens_valid_from", "roles"]
    fieldsets = [
        (None, {"fields": ["email", "full_name", "is_active"]}),
        ("May", {"fields": ["is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Times", {"fields": ["date_joined", "last_login", "tokens_valid_from"]}),
    ]
    add_fieldsets = [(None, {"classes": ["wide"], "fields": ["email", "usable_password", "password1", "password2"]})]

    @admin.display(description="Roles")
    def roles(self, row: User) -> str:
        """Name the person's roles, for who may not give any."""
        return ", ".join(row.groups.order_by("name").values_list("name", flat=True)) or "-"

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Call the filter by group what the menu calls it."""
        return [(name, RoleFilter) if name == "groups" else name for name in self.list_filter]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show the roles by their name where they cannot be chosen."""
        found = super().get_fieldsets(request, obj)
        if "groups" not in self.get_readonly_fields(request, obj) and self.has_change_permission(request, obj):
            return found
        return [
            (title, {**more, "fields": ["roles" if name == "groups" else name for name in more["fields"]]})
            for title, more in found
        ]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse lookups on the password, also of those in the same group, and on whatever else the page does not offer."""
        allowed = bool(super().lookup_allowed(lookup, value, request))
        return allowed and any(lookup == name or lookup.startswith(f"{name}__") for name in self.list_filter)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep anybody but a superuser from giving rights; the role Admin opens the admin to others, and gives them roles."""
        if request.user.is_superuser:
            return self.readonly_fields
        roles = [] if self._gives_roles(request, obj) else ["is_staff", "groups"]
        return [*self.readonly_fields, *roles, "is_superuser", "user_permissions"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Leave superusers' accounts to superusers: changing their password would be taking them over."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: what somebody did and the projects that they own hang on the row. Who leaves is switched off."""
        return False

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the role Admin the roles that it may give: its own and those below, not what else a superuser has made."""
        if db_field.name == "groups" and not getattr(request.user, "is_superuser", False):
            kwargs["queryset"] = Group.objects.filter(name__in=STAFF_ROLES)
        if db_field.name == "groups":
            kwargs |= {"label": "Roles", "help_text": ROLES_HELP, "widget": UnfoldAdminCheckboxSelectMultipleWidget()}
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Leave a person in the groups that the form did not offer: those that a superuser has made besides."""
        if "groups" in form.fields:
            kept = form.instance.groups.exclude(pk__in=form.fields["groups"].queryset.values("pk"))
            form.cleaned_data["groups"] = [*form.cleaned_data["groups"], *kept]
        super().save_related(request, form, formsets, change)

    @staticmethod
    def _gives_roles(request: HttpRequest, obj: Any) -> bool:
        """Say whether the viewer is of the role Admin; nobody changes their own role."""
        return obj != request.user and request.user.groups.filter(name=ROLE_ADMIN).exists()


@admin.register(Group)
class GroupAdmin(BoundedListMixin, DjangoGroupAdmin, ModelAdmin):
    """Staff roles."""


@admin.register(TokenFamily)
class TokenFamilyAdmin(LookAtOnly, ModelAdmin):
    """Sign-ins."""

    fields = ["user", "created_at", "ended_at", "end_reason"]
    list_display = ["user", "created_at", "ended_at", "end_reason"]
    list_filter = ["end_reason"]
    search_fields = ["user__email"]
    list_select_related = ["user"]


@admin.register(FamilyToken)
class FamilyTokenAdmin(LookAtOnly, ModelAdmin):
    """Tokens of sign-ins."""

    fields = ["family", "is_refresh", "used_at", "created_at"]
    list_display = ["family", "is_refresh", "used_at", "created_at"]
    list_display_links = None
    list_filter = ["is_refresh"]
    search_fields = ["family__user__email"]
    list_select_related = ["family"]


@admin.register(Client)
class ClientAdmin(LookAtOnly, ModelAdmin):
    """OAuth2 clients; developers register them through the API, where the secret is shown once."""

    fields = ["id", "name", "type", "owner", "grant_types", "redirect_uris", "scopes", "created_at"]
    list_display = ["name", "id", "type", "owner", "created_at"]
    list_filter = ["type"]
    search_fields = ["id", "name", "owner__email"]
    list_select_related = ["owner"]


@admin.register(Token)
class TokenAdmin(LookAtOnly, ModelAdmin):
    """Stored tokens; deleting one revokes it."""

    fields = ["type", "client", "user", "created_at", "expires_at"]
    list_display = ["type", "client", "user", "created_at", "expires_at"]
    list_filter = ["type"]
    search_fields = ["user__email", "client__name"]
    list_select_related = ["client", "user"]


@admin.register(EmailAddress)
class EmailAddressAdmin(LookAtOnly, ModelAdmin):
    """allauth's table of addresses; this service keeps addresses on the user."""

    fields = ["user", "email", "verified", "primary"]
    list_display = fields
    search_fields = ["email"]
