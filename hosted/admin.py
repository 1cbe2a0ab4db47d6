"""A project's choices about its hosted pages, set by those who may configure it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from hosted.models import HostedPages
from hosted.services.addresses import page_url
from hosted.services.settings import FIELDS, problem_of, values_of
from notifications.admin.logged import LoggedChangesMixin
from projects.models import Role

HELP_TEXTS = {
    "sign_in_url": "A page of the app where people sign in. It is opened with hosted_page, hosted_interval and hosted_plan, so "
    "that the app can have a link minted and bring them back. Empty: visitors are told to open the pages from the app.",
    "return_url": "Where Back to your app leads, unless a link names another way; on one of the project's allowed origins. "
    "Empty: the project's default return address.",
    "time_zone": "Times are shown in it, for instance Europe/Berlin.",
}


class HostedPagesForm(forms.ModelForm):
    """The choices; what could not be shown is refused with the reason."""

    class Meta:
        model = HostedPages
        fields = ["project", *FIELDS]
        help_texts = HELP_TEXTS

    def clean(self) -> dict[str, Any]:
        """Refuse what could not be shown."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        project = cleaned.get("project") or (self.instance.project if self.instance.project_id else None)
        origins = project.allowed_origins if project else []
        for name in FIELDS:
            if name in cleaned and (problem := problem_of(name, str(cleaned[name]), allowed_origins=origins)):
                self.add_error(name, problem)
        return cleaned


@admin.register(HostedPages)
class HostedPagesAdmin(LoggedChangesMixin):
    form = HostedPagesForm
    log_name = "hosted_pages"
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    list_display = ["project", "pricing_page", "sign_in_url", "time_zone", "updated_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]

    def logged_values(self, row: HostedPages) -> dict[str, Any]:
        """Return what was chosen."""
        return values_of(row)

    @admin.display(description="Pricing page")
    def pricing_page(self, row: HostedPages) -> str:
        """Show where the live page is."""
        return page_url(slug=row.project.slug, mode="live", page="pricing")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave the choices with their project."""
        return ["project"] if obj is not None else []
