"""/api/v1/projects/{id}/members."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.schema import IDEMPOTENCY_KEY, error_responses
from projects.access import get_project_for
from projects.idempotent_view import idempotent
from projects.models import Membership, Role
from projects.serializers import AddMemberSerializer, ChangeRoleSerializer, MemberListSerializer, MemberSerializer
from projects.services.members import add_member, change_role, remove_member


class MembersView(APIView):
    """List and add."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="list_members",
        tags=["projects"],
        responses={200: MemberListSerializer, **error_responses(401, 404)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List who may act in a project."""
        project = get_project_for(user=developer_of(request), project_id=project_id)
        rows = list(Membership.objects.for_project(project).select_related("user").order_by("-created_at", "-pk"))
        return Response({"members": MemberSerializer(rows, many=True).data, "total": len(rows)})

    @extend_schema(
        operation_id="add_member",
        tags=["projects"],
        parameters=[IDEMPOTENCY_KEY],
        request=AddMemberSerializer,
        responses={201: MemberSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Add a registered developer to a project. Only an owner may."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.OWNER)
        body = AddMemberSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        member = add_member(project=project, email=body.validated_data["email"], role=Role(body.validated_data["role"]))
        return Response(MemberSerializer(member).data, status=201)


class MemberView(APIView):
    """One member."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="change_member_role",
        tags=["projects"],
        request=ChangeRoleSerializer,
        responses={200: MemberSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """Change a member's role. Only an owner may."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.OWNER)
        body = ChangeRoleSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        member = change_role(project=project, user_id=user_id, role=Role(body.validated_data["role"]))
        return Response(MemberSerializer(member).data)

    @extend_schema(
        operation_id="remove_member", tags=["projects"], responses={204: None, **error_responses(401, 403, 404, 409)}
    )
    def delete(self, request: Request, project_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """Remove a member. An owner may remove anybody, everybody may leave; the last owner stays."""
        min_role = Role.VIEWER if user_id == developer_of(request).pk else Role.OWNER
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=min_role)
        remove_member(project=project, user_id=user_id)
        return Response(status=204)
