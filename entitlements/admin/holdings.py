"""What end users hold, in the admin: why somebody is on a plan, and until when. It follows from what was bought or given."""

from django.contrib import admin
from unfold.decorators import display

from common import clock
from entitlements.models import Entitlement
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin


@admin.register(Entitlement)
class EntitlementAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    """Entitlements, to look at."""

    show_add_link = False
    show_full_result_count = False
    list_display = [
        "end_user",
        "project",
        "mode",
        "plan",
        "holds",
        "status",
        "active_until",
        "granted_period_start",
        "changed_at",
    ]
    list_filter = ["mode", "status", "active", "changed_at"]
    list_select_related = ["project", "end_user", "plan"]
    search_fields = ["end_user__external_id", "subscription_id", "project__name", "project__slug"]

    @display(description="Holds now", boolean=True)
    def holds(self, row: Entitlement) -> bool:
        """Say whether the plan holds at this moment."""
        return row.holds_at(clock.now())
