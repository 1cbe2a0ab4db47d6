"""Members of a project. There is always an owner."""

import uuid

from django.db import IntegrityError, transaction

from accounts.models import User, normalize_email
from common.errors import Conflict, NotFound
from projects.models import Membership, Project, Role


class MemberNotFound(NotFound):
    """404: nobody with this id is a member of the project."""

    code = "member_not_found"
    detail = "Member not found."


class UserNotFound(NotFound):
    """404: nobody has registered with this address."""

    code = "user_not_found"
    detail = "Nobody has registered with this e-mail address."


class AlreadyMember(Conflict):
    """409: a member already."""

    code = "already_member"
    detail = "This developer is a member already; change the role instead."


class LastOwner(Conflict):
    """409: a project cannot be without an owner."""

    code = "last_owner"
    detail = "The last owner can neither leave nor take a lower role. Make somebody else an owner first."


def add_member(*, project: Project, email: str, role: Role) -> Membership:
    """Add a registered developer. Raises: UserNotFound (404), AlreadyMember (409)."""
    user = User.objects.filter(email=normalize_email(email), is_active=True).first()
    if user is None:
        raise UserNotFound
    try:
        with transaction.atomic():
            membership: Membership = Membership.objects.create(project=project, user=user, role=role)
    except IntegrityError as error:
        raise AlreadyMember from error
    return membership


def change_role(*, project: Project, user_id: uuid.UUID, role: Role) -> Membership:
    """Change a member's role. Raises: MemberNotFound (404), LastOwner (409)."""
    with transaction.atomic():
        membership = _locked_member(project, user_id)
        if membership.role == Role.OWNER and role != Role.OWNER:
            _refuse_last_owner(project)
        membership.role = role
        membership.save(update_fields=["role"])
    return membership


def remove_member(*, project: Project, user_id: uuid.UUID) -> None:
    """Remove a member; access ends with the next request. Raises: MemberNotFound (404), LastOwner (409)."""
    with transaction.atomic():
        membership = _locked_member(project, user_id)
        if membership.role == Role.OWNER:
            _refuse_last_owner(project)
        membership.delete()


def check_may_lose_role(membership: Membership) -> None:
    """Refuse to take the last owner's role; holds the project's row until the transaction ends. Raises: LastOwner (409)."""
    if _locked_member(membership.project, membership.user_id).role == Role.OWNER:
        _refuse_last_owner(membership.project)


def _locked_member(project: Project, user_id: uuid.UUID) -> Membership:
    # The project's row is what two owners who leave at once wait for.
    Project.objects.select_for_update().get(pk=project.pk)
    membership = Membership.objects.for_project(project).filter(user_id=user_id).select_related("user").first()
    if not isinstance(membership, Membership):
        raise MemberNotFound
    return membership


def _refuse_last_owner(project: Project) -> None:
    if Membership.objects.for_project(project).filter(role=Role.OWNER).count() < 2:
        raise LastOwner
