"""Token budgets in the admin: what was granted and what of it is used. Nobody changes them by hand."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from unfold.decorators import display

from entitlements.models import TokenPeriod
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin


@admin.register(TokenPeriod)
class TokenPeriodAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    show_add_link = False
    show_full_result_count = False
    list_display = ["end_user", "project", "mode", "limit", "used", "starts_at", "ends_at", "subscription_id"]
    list_filter = ["mode", "starts_at"]
    list_select_related = ["project", "end_user"]
    search_fields = ["end_user__external_id", "subscription_id", "project__name", "project__slug"]
    readonly_fields = ["used"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read the use of all rows of a page with them."""
        return super().get_queryset(request).annotate(used_sum=Sum("uses__used_tokens"))

    @display(description="Limit", ordering="limit_tokens")
    def limit(self, row: TokenPeriod) -> str:
        """Show what was granted."""
        return "no limit" if row.limit_tokens is None else f"{row.limit_tokens:,}"

    @display(description="Used, as journalled", ordering="used_sum")
    def used(self, row: TokenPeriod) -> str:
        """Show what is used of it."""
        return f"{getattr(row, 'used_sum', None) or 0:,}"
