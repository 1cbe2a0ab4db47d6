"""A project's choices about its hosted pages, set by those who may configure it."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from hosted.models import HostedPages
from hosted.services.addresses import page_url
from projects.admin_scope import ProjectScopedAdmin
from projects.models import Role
from projects.origins import origin_of

FIELDS = ("sign_in_url", "return_url", "time_zone")
HELP_TEXTS = {
    "sign_in_url": "A page of the app where people sign in. It is opened with hosted_page, hosted_interval and hosted_plan, so "
    "that the app can have a link minted and bring them back. Empty: visitors are told to open the pages from the app.",
    "return_url": "Where Back to your app leads, unless a link names another way. Empty: the project's default return address.",
    "time_zone": "Times are shown in it, for instance Europe/Berlin.",
}
NOT_AN_ADDRESS = "Give a whole address that begins with https:// (or http://localhost while you build)."
UNKNOWN_ZONE = "There is no such time zone. Write it as Europe/Berlin, or UTC."


class HostedPagesForm(forms.ModelForm):
    """The choices; what could not be shown is refused with the reason."""

    class Meta:
        model = HostedPages
        fields = ["project", *FIELDS]
        help_texts = HELP_TEXTS

    def clean_sign_in_url(self) -> str:
        """Refuse what is no address of a page."""
        return self._address("sign_in_url")

    def clean_return_url(self) -> str:
        """Refuse what is no address of a page."""
        return self._address("return_url")

    def clean_time_zone(self) -> str:
        """Refuse a zone that is not known here."""
        zone = str(self.cleaned_data["time_zone"])
        if zone not in available_timezones():
            raise forms.ValidationError(UNKNOWN_ZONE)
        return zone

    def _address(self, name: str) -> str:
        url = str(self.cleaned_data[name])
        if url and origin_of(url) is None:
            raise forms.ValidationError(NOT_AN_ADDRESS)
        return url


@admin.register(HostedPages)
class HostedPagesAdmin(ProjectScopedAdmin):
    form = HostedPagesForm
    developer_role_to_change = Role.DEVELOPER
    developer_role_to_add = Role.DEVELOPER
    developer_role_to_delete = Role.DEVELOPER
    list_display = ["project", "pricing_page", "sign_in_url", "time_zone", "updated_at"]
    list_select_related = ["project"]
    search_fields = ["project__name", "project__slug"]

    @admin.display(description="Pricing page")
    def pricing_page(self, row: HostedPages) -> str:
        """Show where the live page is."""
        return page_url(slug=row.project.slug, mode="live", page="pricing")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Leave the choices with their project."""
        return ["project"] if obj is not None else []
