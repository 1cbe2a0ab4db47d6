"""How a project's mails are signed and look, set by those who may configure it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from notifications.models import Brand, MailOptOut
from notifications.services.brand import FIELDS, allowed_from_domains, problem_of
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin
from projects.models import Role

HELP_TEXTS = {
    "from_name": "Empty: the project's name.",
    "reply_to": "Where answers to mails go. Empty: to the sender.",
    "color": "Of buttons, as #rrggbb. Empty: blue.",
    "logo_url": "Shown 40 pixels high instead of the project's name. It is read by whoever opens a mail, so it must be public.",
    "footer_text": "At the end of each mail: what the law wants to stand there, such as your company's name and address.",
}


class BrandForm(forms.ModelForm):
    """A brand; what could not stand in a mail is refused with the reason."""

    class Meta:
        model = Brand
        fields = ["project", *FIELDS]
        help_texts = HELP_TEXTS
        widgets = {"footer_text": UnfoldAdminTextareaWidget(attrs={"rows": 4})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say which domains the operator allows now."""
        super().__init__(*args, **kwargs)
        if "from_address" in self.fields:
            domains = ", ".join(sorted(allowed_from_domains()))
            self.fields["from_address"].help_text = f"Of one of these domains: {domains}. Empty: the operator's."

    def clean(self) -> dict[str, Any]:
        """Refuse what a mail could not carry."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        cleaned["color"] = cleaned.get("color", "").lower()
        for name in FIELDS:
            problem = problem_of(name, cleaned[name]) if cleaned.get(name) else ""
            if problem:
                self.add_error(name, problem)
        return cleaned


@admin.register(Brand)
class BrandAdmin(ProjectScopedAdmin):
    form = BrandForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    list_display = ["project", "from_name", "from_address", "reply_to", "color", "updated_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug", "from_address"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave a brand with its project."""
        return ["project"] if obj is not None else []


@admin.register(MailOptOut)
class MailOptOutAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    list_display = ["project", "mode", "created_at", "address_digest"]
    list_filter = ["mode", "created_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]
