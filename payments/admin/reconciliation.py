"""What reconciliation did and what it found: read only, since the next run would find the same again."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from payments.admin.display import counted, pretty_json
from payments.admin.read_only import ReadOnlyAdmin
from payments.models import Drift, ReconcileRun

STATUS_COLORS = {"running": "info", "done": "success", "failed": "danger"}


@admin.register(ReconcileRun)
class ReconcileRunAdmin(ReadOnlyAdmin):
    list_display = [
        "started_at", "kind", "colored_status", "seen", "differences", "healed", "dry_run", "finished_at", "mode", "project",
    ]  # fmt: skip
    list_filter = ["kind", "status", "mode", "dry_run", "started_at"]
    list_select_related = ["project"]
    search_fields = ["=id"]
    date_hierarchy = "started_at"
    exclude = ["cursors"]
    readonly_fields = ["found", "came_to"]

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def colored_status(self, row: ReconcileRun) -> str:
        """Show how far the run is."""
        return row.status

    @display(description="Found")
    def found(self, row: ReconcileRun) -> SafeString | str:
        """Link to the differences that this run has found."""
        if not row.differences:
            return "-"
        address = f"{reverse('admin:payments_drift_changelist')}?{urlencode({'q': str(row.pk)})}"
        differences = counted(row.differences, "difference")
        return format_html('<a href="{}">{}, {} healed</a>', address, differences, row.healed)

    @display(description="Where each list has come to")
    def came_to(self, row: ReconcileRun) -> SafeString | str:
        """Show the cursors without what only counts rows."""
        shown = {name: value for name, value in row.cursors.items() if not name.endswith(":seen")}
        return pretty_json(shown or None)


@admin.register(Drift)
class DriftAdmin(ReadOnlyAdmin):
    list_display = [
        "object_id",
        "object_type",
        "field_name",
        "ours_shown",
        "stripes_shown",
        "healed",
        "found_at",
        "mode",
        "project",
    ]
    list_filter = ["object_type", "healed", "mode", "found_at"]
    list_select_related = ["project"]
    search_fields = ["object_id", "=run__id"]
    date_hierarchy = "found_at"
    exclude = ["ours", "stripes"]
    readonly_fields = ["ours_shown", "stripes_shown"]

    @display(description="Field", ordering="field")
    def field_name(self, row: Drift) -> str:
        """Name the field, or say that one side has nothing at all."""
        return row.field or "the whole object"

    @display(description="Ours")
    def ours_shown(self, row: Drift) -> Any:
        """Show what we had."""
        return pretty_json(row.ours)

    @display(description="Stripe's")
    def stripes_shown(self, row: Drift) -> Any:
        """Show what Stripe has."""
        return pretty_json(row.stripes)
