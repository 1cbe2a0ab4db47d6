"""Connections to LiteLLM and the users there: read here, set through the API. No key is on any page."""

from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import User
from entitlements.models import Connection, ProvisionedUser
from moderation.services.action_log import log_action
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin

READ = "entitlements.view_provisioneduser"
STATUS_COLORS = {"Pending": "warning", "As it should be": "success", "Failed": "danger", "Left behind": "default"}
LIMIT_NAMES = (("max_budget_cents", "budget"), ("budget_duration", "each"), ("rpm_limit", "rpm"), ("tpm_limit", "tpm"))


class ReadAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    """Rows that nobody changes by hand."""

    show_full_result_count = False
    list_select_related = ["project"]


USERS_COUNTED = 10_000


@admin.register(Connection)
class ConnectionAdmin(ReadAdmin):
    list_display = ["project", "mode", "base_url", "is_active", "colored_problem", "answered_at"]
    list_filter = ["mode", "is_active", "problem"]
    search_fields = ["project__name", "project__slug", "base_url"]
    fields = [
        "project", "mode", "kind", "base_url", "master_key_masked", "user_id_prefix", "spend_reset", "spend_settled_until",
        "share_email",
        "is_active", "shown_problem", "problem_since", "answered_at", "users", "created_at", "updated_at",
    ]  # fmt: skip
    readonly_fields = ["master_key_masked", "shown_problem", "users", "created_at", "updated_at"]

    @display(description="Works", label={"Yes": "success", "No": "danger"})
    def colored_problem(self, row: Connection) -> tuple[str, str]:
        """Show what keeps it from working."""
        return ("No", str(row.get_problem_display())) if row.problem else ("Yes", "Works")

    # A labelled pair is drawn as a label in a list only; a row's page would show the pair itself.
    @display(description="Works")
    def shown_problem(self, row: Connection) -> str:
        """Show what keeps it from working, as plain text."""
        return f"No: {row.get_problem_display()}" if row.problem else "Yes"

    @display(description="Users there")
    def users(self, row: Connection) -> str:
        """Count whom it has, on the row's own page alone, and no further than somebody wants to know."""
        known = ProvisionedUser.objects.for_project(row.project_id).in_mode(row.mode)[: USERS_COUNTED + 1].count()
        return str(known) if known <= USERS_COUNTED else f"more than {USERS_COUNTED:,}"


@admin.register(ProvisionedUser)
class ProvisionedUserAdmin(ReadAdmin):
    list_display = [
        "litellm_user_id",
        "colored_status",
        "shown_desired",
        "shown_spend",
        "last_read_at",
        "drift_count",
        "mode",
    ]
    list_filter = ["status", "mode"]
    list_select_related = ["project", "end_user"]
    search_fields = ["litellm_user_id", "end_user__external_id", "project__name"]
    fields = [
        "project", "mode", "end_user", "litellm_user_id", "colored_status", "error", "shown_desired", "shown_observed",
        "desired_revision", "applied_revision", "team_keys", "email_refused", "drift_count", "last_read_at", "failed_at",
        "created_at",
    ]  # fmt: skip
    readonly_fields = ["colored_status", "shown_desired", "shown_observed", "created_at"]
    actions = ["read_again"]

    @display(description="Status", ordering="status", label=STATUS_COLORS)
    def colored_status(self, row: ProvisionedUser) -> str:
        """Show whether LiteLLM has what it should."""
        return str(row.get_status_display())

    @display(description="Should have")
    def shown_desired(self, row: ProvisionedUser) -> str:
        """Show the plan and its limits."""
        limits = ", ".join(f"{label} {_limit(name, row.desired.get(name))}" for name, label in LIMIT_NAMES)
        return f"{row.desired.get('plan') or 'no plan'}: {limits}"

    @display(description="Had when last read")
    def shown_observed(self, row: ProvisionedUser) -> str:
        """Show what LiteLLM had."""
        seen = row.observed or {}
        return ", ".join(f"{name} {value}" for name, value in sorted(seen.items())) or "-"

    @display(description="Reported spend")
    def shown_spend(self, row: ProvisionedUser) -> str:
        """Show what LiteLLM reported when it was last asked; it lags behind what it enforces."""
        spend = (row.observed or {}).get("spend")
        return f"${spend:.2f}" if isinstance(spend, int | float) else "-"

    def has_read_permission(self, request: HttpRequest) -> bool:
        """Allow staff, and developers in some project; viewers of one look, and start nothing."""
        return self.has_right(request, READ)

    @admin.action(description="Compare with LiteLLM in the next round", permissions=["read"])
    def read_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Have rows read back within minutes, and write down who did; nothing else follows where both sides agree."""
        rows = self.rows_within(request, READ, queryset).order_by()
        actor = request.user if isinstance(request.user, User) else None
        count = 0
        with transaction.atomic():
            for project_id, mode in rows.values_list("project_id", "mode").distinct():
                found = rows.filter(project=project_id, mode=mode).update(last_read_at=None)
                count += found
                log_action(
                    action="litellm.compare",
                    subject=f"{found} users",
                    actor=actor,
                    project_id=project_id,
                    mode=mode,
                )
        messages.success(request, f"{count} will be compared within five minutes.")


def _limit(name: str, value: Any) -> str:
    if value is None:
        return "unlimited" if name != "budget_duration" else "-"
    return f"${value / 100:.2f}" if name == "max_budget_cents" else str(value)
