"""How a project's mails are signed and look, set by those who may configure it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from notifications.admin.logged import LoggedChangesMixin
from notifications.models import Brand, MailOptOut
from notifications.services.brand import FIELDS, problem_of, senders_of
from notifications.services.settings import values_of_brand
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin
from projects.models import Role

HELP_TEXTS = {
    "from_name": "Whom a mail comes from. Its subject, heading and last lines keep the project's name. Empty: the project's name.",
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

    # Whoever writes this form works for the operator, and may choose any address of the operator's domain.
    by_staff = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Say what the operator allows now."""
        super().__init__(*args, **kwargs)
        if "from_address" in self.fields:
            project = self.instance.project if self.instance.project_id else None
            senders = senders_of(project, staff_chose=self.instance.staff_from_address)
            more = "" if project else ", or an address of a domain that the operator has given to the project"
            self.fields["from_address"].help_text = f"{senders}{more}. Empty: the operator's."

    def clean(self) -> dict[str, Any]:
        """Refuse what a mail could not carry."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        cleaned["color"] = cleaned.get("color", "").lower()
        project = cleaned.get("project") or (self.instance.project if self.instance.project_id else None)
        chosen = cleaned.get("from_address", "") if self.by_staff else self.instance.staff_from_address
        for name in FIELDS:
            problem = (
                problem_of(name, cleaned[name], senders_of(project, staff_chose=chosen)) if cleaned.get(name) else ""
            )
            if problem:
                self.add_error(name, problem)
        return cleaned

    def save(self, commit: bool = True) -> Any:
        """Keep what staff chose, so that it is told from what a developer writes."""
        if self.by_staff:
            self.instance.staff_from_address = self.cleaned_data["from_address"]
        return super().save(commit)


@admin.register(Brand)
class BrandAdmin(LoggedChangesMixin):
    form = BrandForm
    log_name = "mail_brand"
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    list_display = ["project", "from_name", "from_address", "reply_to", "color", "updated_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug", "from_address"]

    def logged_values(self, row: Brand) -> dict[str, Any]:
        """Return what a brand says."""
        return values_of_brand(row)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Tell the form who writes it."""
        form = super().get_form(request, obj, change=change, **kwargs)
        form.by_staff = self._is_staff_for(request, "change" if change else "add")
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave a brand with its project."""
        return ["project"] if obj is not None else []


@admin.register(MailOptOut)
class MailOptOutAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    list_display = ["project", "mode", "created_at", "address_digest"]
    list_filter = ["mode", "created_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]
