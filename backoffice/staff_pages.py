"""What the staff pages have in common: rows that are changed by actions only, each after a confirmation."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import User
from payments.admin.actions import ProjectActionsAdmin
from payments.admin.read_only import ReadOnlyAdmin
from projects.models import Project, Role

ROWS_MAX = 1000


class ProjectFilter(admin.SimpleListFilter):
    """Offers the projects that the viewer may see, and no other's name."""

    title = "project"
    parameter_name = "of_project"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """List the projects by name."""
        projects = Project.objects.existing()
        if not model_admin._is_staff_for(request, "view"):
            projects = model_admin._projects(request, Role.VIEWER)
        return [(str(pk), name) for pk, name in projects.order_by("name").values_list("pk", "name")[:ROWS_MAX]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep one project's rows."""
        known = {value for value, _ in self.lookup_choices}
        return queryset.filter(project=self.value()) if self.value() in known else queryset


class StaffActionsAdmin(ReadOnlyAdmin, ProjectActionsAdmin):
    """Rows that are changed by actions only: by staff with `act_right`, and by developers of the row's project."""

    list_select_related = ["project"]

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Allow whoever may act in some project; `actionable` keeps to those projects."""
        return self.may_act(request)


def actor_of(request: HttpRequest) -> User:
    """Return who presses the button; only signed-in people see one."""
    assert isinstance(request.user, User)
    return request.user
