"""/api/v1/projects/: a developer's projects."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.paging import paginate
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from projects.access import get_project_for
from projects.idempotent_view import idempotent
from projects.models import Project, Role
from projects.serializers import (
    CreateProjectSerializer,
    ProjectListSerializer,
    ProjectSerializer,
    UpdateProjectSerializer,
)
from projects.services.projects import create_project, delete_project, update_project


class ProjectsView(APIView):
    """List and create."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="list_projects",
        tags=["projects"],
        parameters=PAGING,
        responses={200: ProjectListSerializer, **error_responses(401, 422)},
    )
    def get(self, request: Request) -> Response:
        """List the projects that you are a member of, newest first."""
        rows = Project.objects.for_user(developer_of(request))
        return Response(
            paginate(
                rows,
                request.query_params,
                key="projects",
                render=lambda found: ProjectSerializer(found, many=True).data,
            )
        )

    @extend_schema(
        operation_id="create_project",
        tags=["projects"],
        parameters=[IDEMPOTENCY_KEY],
        request=CreateProjectSerializer,
        responses={201: ProjectSerializer, **error_responses(400, 401, 409, 415, 422)},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Create a project; you become its owner."""
        body = CreateProjectSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        project = create_project(owner=developer_of(request), **body.validated_data)
        return Response(ProjectSerializer(project).data, status=201)


class ProjectView(APIView):
    """One project."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="get_project", tags=["projects"], responses={200: ProjectSerializer, **error_responses(401, 404)}
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return one project."""
        return Response(ProjectSerializer(get_project_for(user=developer_of(request), project_id=project_id)).data)

    @extend_schema(
        operation_id="update_project",
        tags=["projects"],
        request=UpdateProjectSerializer,
        responses={200: ProjectSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Change a project; what is left out is kept."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.DEVELOPER)
        body = UpdateProjectSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(ProjectSerializer(update_project(project=project, **body.validated_data)).data)

    @extend_schema(
        operation_id="delete_project", tags=["projects"], responses={204: None, **error_responses(401, 403, 404)}
    )
    def delete(self, request: Request, project_id: uuid.UUID) -> Response:
        """Delete a project. Only an owner may; its payments stay in the books."""
        delete_project(project=get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.OWNER))
        return Response(status=204)
