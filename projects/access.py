"""Who may act in which project. Somebody else's project answers exactly like one that does not exist."""

import uuid

from accounts.models import User
from common.errors import Forbidden, NotFound
from projects.models import ROLE_RANK, Membership, Project, Role


class ProjectNotFound(NotFound):
    """404: no such project, or the caller is not a member of it."""

    code = "project_not_found"
    detail = "Project not found."


class RoleTooLow(Forbidden):
    """403: a member whose role does not allow this."""

    code = "role_too_low"


def get_membership(*, user: User, project_id: uuid.UUID | str, min_role: Role) -> Membership:
    """Return the caller's membership with its project, in one query. Raises: ProjectNotFound (404), RoleTooLow (403)."""
    try:
        wanted = uuid.UUID(str(project_id))
    except ValueError as error:
        raise ProjectNotFound from error
    membership = (
        Membership.objects.for_project(wanted)
        .filter(user=user, project__deleted_at__isnull=True)
        .select_related("project")
        .first()
    )
    if not isinstance(membership, Membership):
        raise ProjectNotFound
    if ROLE_RANK[Role(membership.role)] < ROLE_RANK[min_role]:
        raise RoleTooLow(f"This needs the role {min_role.value}; yours is {membership.role}.")
    return membership


def get_project_for(*, user: User, project_id: uuid.UUID | str, min_role: Role = Role.VIEWER) -> Project:
    """Return a project that the user may act in. Raises: ProjectNotFound (404), RoleTooLow (403)."""
    return get_membership(user=user, project_id=project_id, min_role=min_role).project
