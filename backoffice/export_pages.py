"""Exports in the admin: asking for a file, watching it being made, and fetching it. Each is its maker's alone."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.models import User
from backoffice.models import Export
from backoffice.services.exports.listings import (
    FILTERS_CHARS_MAX,
    LISTINGS,
    Wanted,
    listings_for,
    projects_for,
    sees_everything,
)
from backoffice.services.exports.making import may_fetch, pieces_of, request_export
from backoffice.staff_pages import ROWS_MAX, actor_of
from common.admin_lists import BoundedListMixin, SafeLookupsMixin
from common.errors import ApiError, FieldError
from common.modes import MODE_CHOICES
from payments.admin.display import counted
from projects.models import Project

STATUS_COLORS = {
    "Waiting": "warning",
    "Being made": "info",
    "Ready": "success",
    "Failed": "danger",
    "Expired": "default",
}
CONTENT_TYPES = {
    Export.Format.CSV: "text/csv; charset=utf-8",
    Export.Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class ExportForm(forms.ModelForm):
    """What to export. The choices are what its maker may take away."""

    what = forms.ChoiceField(label="List", widget=UnfoldAdminSelectWidget)
    project = forms.ModelChoiceField(
        queryset=Project.objects.none(), required=False, widget=UnfoldAdminSelectWidget, empty_label="All projects"
    )
    mode = forms.ChoiceField(
        choices=[("", "Test and live"), *MODE_CHOICES], required=False, widget=UnfoldAdminSelectWidget
    )
    since = forms.DateField(
        label="From", required=False, widget=UnfoldAdminDateWidget, help_text="UTC. Left blank: from the beginning."
    )
    until = forms.DateField(label="To", required=False, widget=UnfoldAdminDateWidget, help_text="This day included.")
    filters = forms.CharField(
        label="As filtered in the list",
        required=False,
        max_length=FILTERS_CHARS_MAX,
        widget=UnfoldAdminTextInputWidget(attrs={"readonly": True}),
        help_text="Filters and search of the list that led here. Of its rows, those of the project, mode and days above.",
    )
    format = forms.ChoiceField(choices=Export.Format.choices, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Export
        fields = ["what", "project", "mode", "since", "until", "filters", "format"]

    # Set by the page for its viewer.
    viewer: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["what"].choices = list(listings_for(self.viewer).items())  # type: ignore[attr-defined]
        project: Any = self.fields["project"]
        project.queryset = projects_for(self.viewer, LISTINGS["payments"]).order_by("name")[:ROWS_MAX]
        project.queryset = Project.objects.filter(pk__in=[row.pk for row in project.queryset]).order_by("name")
        project.label_from_instance = lambda row: f"{row.name} ({row.slug})"
        if not sees_everything(self.viewer, LISTINGS["payments"]):
            project.required, project.empty_label = True, None
        if not (self.data.get("filters") or self.initial.get("filters")):
            self.fields["filters"].widget = forms.HiddenInput()

    def wanted(self) -> Wanted:
        """Return which rows were asked for."""
        found = self.cleaned_data
        project = found["project"]
        return Wanted(
            found["what"],
            project.pk if project else None,
            found["mode"],
            found["since"],
            found["until"],
            found["filters"],
        )

    def clean(self) -> dict[str, Any] | None:
        """Ask for the file here, so that a refusal stands beside its field; only a form that is right comes so far."""
        cleaned = super().clean()
        if self.errors:
            return cleaned
        try:
            self.instance = request_export(
                actor=self.viewer, wanted=self.wanted(), file_format=self.cleaned_data["format"]
            )
        except FieldError as error:
            name = str(error.errors[0]["loc"][-1])
            self.add_error(name if name in self.fields else None, str(error.errors[0]["msg"]))
        except ApiError as error:
            self.add_error(None, error.detail)
        return cleaned


@admin.register(Export)
class ExportAdmin(BoundedListMixin, SafeLookupsMixin, ModelAdmin):
    """One's own exports, newest first."""

    list_display = ["name", "colored_status", "rows_written", "created_at", "shown_project", "mode", "fetch"]
    list_filter = ["status"]
    list_select_related = ["project"]
    ordering = ["-created_at"]
    show_full_result_count = False
    list_per_page = 50
    shown = [
        "name",
        "colored_status",
        "progress",
        "fetch",
        "shown_project",
        "mode",
        "since",
        "until",
        "filters",
        "created_at",
        "expires_at",
    ]
    change_form_template = "backoffice/export.html"
    add_form_template = "admin/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Export]:
        """Limit rows to the viewer's own."""
        rows: QuerySet[Export] = super().get_queryset(request)
        return rows.filter(made_by=request.user.pk)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show it to whoever may open the admin."""
        return bool(request.user.is_active and getattr(request.user, "is_staff", False))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow one's own."""
        return self.has_module_permission(request) and (obj is None or obj.made_by_id == request.user.pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Allow whoever may open the admin: the form offers what they may take away."""
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: a file goes by itself after a day."""
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask what to export, and show what becomes of it."""
        return self.shown if obj is not None else ExportForm.Meta.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show an export that was asked for."""
        return self.shown if obj is not None else []

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Offer what the viewer may take away."""
        if obj is not None:
            return super().get_form(request, obj, change, **kwargs)
        return type("ExportFormOfViewer", (ExportForm,), {"viewer": actor_of(request)})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Nothing is left to save: checking the form asked for the file."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Leave it to the action log, which has it already."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Show the file, or how far it is."""
        if obj.status == Export.Status.DONE:
            messages.success(request, "The file is ready.")
        else:
            messages.info(request, "The file is being made.")
        return HttpResponseRedirect(reverse("admin:backoffice_export_change", args=[obj.pk]))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        """Offer one button: there is nothing to go on editing."""
        one_button = {"show_save_and_add_another": False, "show_save_and_continue": False, "title": "Export a list"}
        return super().add_view(request, form_url, {**(extra_context or {}), **one_button})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, str]:
        """Take the list, project and mode from the page that leads here."""
        return {name: request.GET[name] for name in ("what", "project", "mode", "filters") if name in request.GET}

    def get_urls(self) -> Any:
        """Add the address of the file."""
        own = [path("<uuid:export_id>/file/", self.admin_site.admin_view(self.file), name="backoffice_export_file")]
        return [*own, *super().get_urls()]

    def file(self, request: HttpRequest, export_id: Any) -> Any:
        """Send a file piece by piece. Raises: Http404 where the viewer may not see it, or not any more."""
        export = self.get_queryset(request).filter(pk=export_id, status=Export.Status.DONE).first()
        if export is None or not self.has_module_permission(request) or not may_fetch(actor_of(request), export):
            raise Http404
        name = f"{export.what}-{export.created_at:%Y-%m-%d-%H%M}.{export.format}"
        answer = StreamingHttpResponse(pieces_of(export), content_type=CONTENT_TYPES[Export.Format(export.format)])
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        answer["Content-Length"] = str(export.size_bytes)
        answer["Cache-Control"] = "no-store"
        answer["X-Content-Type-Options"] = "nosniff"
        return answer

    @display(description="Export")
    def name(self, row: Export) -> str:
        """Name the list and the format."""
        return f"{LISTINGS[row.what].title if row.what in LISTINGS else row.what} as {row.get_format_display()}"

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def colored_status(self, row: Export) -> str:
        """Show how far it is."""
        return str(row.get_status_display())

    @display(description="Progress")
    def progress(self, row: Export) -> str:
        """Say how many rows are written, or why there is no file."""
        return row.error or f"{counted(row.rows_written, 'row')}, {row.size_bytes / 1024:,.0f} KiB"

    @display(description="Project")
    def shown_project(self, row: Export) -> str:
        """Name the project."""
        return str(row.project) if row.project else "All"

    @display(description="File")
    def fetch(self, row: Export) -> SafeString | str:
        """Link to the file while it is there."""
        if row.status != Export.Status.DONE:
            return "-"
        return format_html(
            '<a class="font-medium text-primary-600 dark:text-primary-500" href="{}">Download</a>',
            reverse("admin:backoffice_export_file", args=[row.pk]),
        )
