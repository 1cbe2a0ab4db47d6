"""Connections to GitHub: read here, set through the API. No token is on any page."""

from django.contrib import admin
from unfold.decorators import display

from licenses.models import GitHubConnection
from licenses.services.github_connection import count_seats
from projects.admin_scope import ProjectScopedAdmin, ReadOnlyMixin


@admin.register(GitHubConnection)
class GitHubConnectionAdmin(ReadOnlyMixin, ProjectScopedAdmin):
    show_full_result_count = False
    list_select_related = ["project"]
    list_display = [
        "project",
        "mode",
        "organization",
        "team_slug",
        "is_active",
        "colored_problem",
        "answered_at",
    ]
    list_filter = ["mode", "is_active", "problem"]
    search_fields = ["project__name", "project__slug", "organization"]
    fields = [
        "project", "mode", "organization", "team_slug", "token_masked", "token_login", "token_expires_at", "is_active",
        "shown_problem", "problem_since", "answered_at", "seats", "created_at", "updated_at",
    ]  # fmt: skip
    readonly_fields = ["token_masked", "shown_problem", "seats", "created_at", "updated_at"]

    @display(description="Works", label={"Yes": "success", "No": "danger"})
    def colored_problem(self, row: GitHubConnection) -> tuple[str, str]:
        """Show what keeps it from working."""
        return ("No", str(row.get_problem_display())) if row.problem else ("Yes", "Works")

    # A labelled pair is drawn as a label in a list only; a row's page would show the pair itself.
    @display(description="Works")
    def shown_problem(self, row: GitHubConnection) -> str:
        """Show what keeps it from working, as plain text."""
        return f"No: {row.get_problem_display()}" if row.problem else "Yes"

    @display(description="People let in or invited")
    def seats(self, row: GitHubConnection) -> int:
        """Count whom licences have let in, on the row's own page alone."""
        return count_seats(row)
