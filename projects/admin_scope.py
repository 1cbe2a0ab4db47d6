"""The base of every admin page on rows that belong to a project.

Superusers and staff with a permission see what Django's permissions say. Anybody else who may open the admin is a developer, who
sees the rows of their own projects and nothing else: in lists, searches, filters, choices of related rows and by address.
"""

from typing import Any

from django.contrib.auth import get_permission_codename
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, ExpressionWrapper, ForeignKey, Model, Q, QuerySet, Value
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts.models import STAFF_ROLES, User
from common.admin_lists import BoundedListMixin, SafeLookupsMixin
from projects.models import ROLE_RANK, Membership, Project, Role


def is_staff_role(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Say whether a user works for the operator: a superuser or a member of a staff role."""
    if not isinstance(user, User) or not user.is_active or not user.is_staff:
        return False
    if user.is_superuser:
        return True
    if not hasattr(user, "_staff_role_names"):
        user._staff_role_names = set(user.groups.values_list("name", flat=True))  # type: ignore[attr-defined]
    return bool(user._staff_role_names & set(STAFF_ROLES))  # type: ignore[attr-defined]


def _name_and_slug(project: Project) -> str:
    return f"{project.name} ({project.slug})"


def _roles_in_projects(request: HttpRequest) -> dict[Any, Role]:
    """Read the user's role in each existing project once per request: a page asks for it for every model of its menu."""
    if not hasattr(request, "_roles_in_projects"):
        existing = Project.objects.existing().values("pk")
        rows = Membership.objects.filter(user=request.user.pk, project_id__in=existing)
        found = {project_id: Role(role) for project_id, role in rows.values_list("project_id", "role")}
        request._roles_in_projects = found  # type: ignore[attr-defined]
    roles: dict[Any, Role] = request._roles_in_projects  # type: ignore[attr-defined]
    return roles


class ReadOnlyMixin:
    """Rows that nobody adds, changes or deletes by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        return False


class ProjectScopedAdmin(SafeLookupsMixin, BoundedListMixin, ModelAdmin):
    """Inherit, and set `project_lookup` when the way to the project is not the field `project`.

    `developer_role_to_change`, `…_add` and `…_delete` name the lowest role in the project that may do so; None means nobody
    but staff with Django's permission.
    """

    project_lookup = "project"
    developer_role_to_change: Role | None = None
    developer_role_to_add: Role | None = None
    developer_role_to_delete: Role | None = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Limit rows to the developer's projects."""
        rows = super().get_queryset(request)
        if self._is_staff_for(request, "view"):
            return rows
        # By value, since the database then knows how many rows these projects have, and how to read them best.
        return rows.filter(**{f"{self.project_lookup}__in": list(_roles_in_projects(request))})

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the app to staff and to developers with the admin open to them."""
        return bool(getattr(request.user, "is_staff", False))

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow staff, and members of the row's project."""
        return self._is_staff_for(request, "view") or self._is_member(request, obj, Role.VIEWER)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow staff with the permission, and members whose role is high enough."""
        return self._is_staff_for(request, "change") or self._is_member(request, obj, self.developer_role_to_change)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow staff with the permission, and members whose role is high enough."""
        return self._is_staff_for(request, "delete") or self._is_member(request, obj, self.developer_role_to_delete)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow staff with the permission, and members of some project whose role is high enough."""
        return self._is_staff_for(request, "add") or self._is_member(request, None, self.developer_role_to_add)

    def get_actions(self, request: HttpRequest) -> Any:
        """Leave deleting in bulk to staff: it would not ask for each row's project."""
        actions = super().get_actions(request)
        if not self._is_staff_for(request, "delete"):
            actions.pop("delete_selected", None)
        return actions

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Refuse an action that the viewer has no right to; Django itself would only show the list again."""
        wanted = request.POST.get("action") if request.method == "POST" else None
        if wanted and wanted not in self.get_actions(request):
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def formfield_for_foreignkey(
        self, db_field: "ForeignKey[Any, Any]", request: HttpRequest | None = None, **kwargs: Any
    ) -> Any:
        """Offer only related rows that the page of those rows would show."""
        if request is not None and "queryset" not in kwargs:
            kwargs["queryset"] = self._visible_rows(db_field.related_model, request)
        field: Any = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None and db_field.related_model is Project:
            # Names are anybody's to choose, and two may be equal.
            field.label_from_instance = _name_and_slug
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Check the project of the row as it is now: a form must not carry a row into somebody else's project."""
        needed = self.developer_role_to_change if change else self.developer_role_to_add
        if not self._is_staff_for(request, "change" if change else "add") and not self._is_member(request, obj, needed):
            raise PermissionDenied
        super().save_model(request, obj, form, change)

    def has_right(
        self, request: HttpRequest, right: str, obj: Any = None, *, developers: Role | None = Role.DEVELOPER
    ) -> bool:
        """Allow staff who have the right, and members of the row's project (None: of any) with that role or a higher one."""
        user: Any = request.user
        if not (user.is_active and getattr(user, "is_staff", False)):
            return False
        return bool(user.has_perm(right)) or self._is_member(request, obj, developers)

    def rows_within(self, request: HttpRequest, right: str, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows on which the viewer has a right of the staff, or is a developer in their project."""
        user: Any = request.user
        if user.is_active and getattr(user, "is_staff", False) and user.has_perm(right):
            return rows
        return rows.filter(**{f"{self.project_lookup}__in": self._projects(request, Role.DEVELOPER)})

    def annotate_whole(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Say of each row, as `is_whole`, whether all of it is shown: to staff, and to the project's developers."""
        if self._is_staff_for(request, "view"):
            return rows.annotate(is_whole=Value(True))
        mine = Q(**{f"{self.project_lookup}__in": self._projects(request, Role.DEVELOPER)})
        return rows.annotate(is_whole=ExpressionWrapper(mine, output_field=BooleanField()))

    def _is_staff_for(self, request: HttpRequest, action: str) -> bool:
        user = request.user
        if not getattr(user, "is_staff", False) or not user.is_active:
            return False
        codename = get_permission_codename(action, self.opts)
        if user.has_perm(f"{self.opts.app_label}.{codename}"):
            return True
        return action == "view" and is_staff_role(user)

    def _projects(self, request: HttpRequest, min_role: Role) -> QuerySet[Project]:
        roles = [role for role, rank in ROLE_RANK.items() if rank >= ROLE_RANK[min_role]]
        memberships = Membership.objects.filter(user=request.user.pk, role__in=roles)
        return Project.objects.existing().filter(pk__in=memberships.values("project_id"))

    def _is_member(self, request: HttpRequest, obj: Any, min_role: Role | None) -> bool:
        if min_role is None or not getattr(request.user, "is_staff", False):
            return False
        roles = _roles_in_projects(request)
        if obj is None:
            return any(ROLE_RANK[role] >= ROLE_RANK[min_role] for role in roles.values())
        project_id = self._project_id(obj)
        if project_id in roles:
            return ROLE_RANK[roles[project_id]] >= ROLE_RANK[min_role]
        # Not among what was read at the request's start: it may have been made by this request.
        return self._projects(request, min_role).filter(pk=project_id).exists()

    def _project_id(self, obj: Any) -> Any:
        value = obj
        for name in self.project_lookup.split("__"):
            value = getattr(value, name)
        return value.pk if isinstance(value, Model) else value

    def _visible_rows(self, model: Any, request: HttpRequest) -> QuerySet[Any]:
        related_admin = self.admin_site._registry.get(model)
        if isinstance(related_admin, ProjectScopedAdmin):
            return related_admin.get_queryset(request)
        rows: QuerySet[Any] = model._default_manager.all()
        if related_admin is None or not related_admin.has_view_permission(request):
            return rows.none()
        return rows
