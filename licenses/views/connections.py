"""Developers connect projects to GitHub, per mode."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.drf_fields import PlainCharField
from common.modes import TEST, mode_of
from common.query import read_test_mode
from common.schema import error_responses
from licenses.models import GitHubConnection
from licenses.services.github_connection import (
    check_github_connection,
    count_seats,
    delete_github_connection,
    get_github_connection,
    put_github_connection,
)
from projects.access import get_project_for
from projects.models import Project, Role

TAGS = ["projects"]
TEST_MODE = OpenApiParameter("test_mode", bool, description="Which mode's connection. Default true.")


class GitHubConnectionSerializer(serializers.Serializer[Any]):
    """A connection without its token."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    kind = serializers.CharField()
    is_test_mode = serializers.BooleanField()
    organization = serializers.CharField()
    team_slug = serializers.CharField(help_text="The team of licence products that name none of their own.")
    token_masked = serializers.CharField()
    token_login = serializers.CharField(allow_null=True, help_text="Whose token it is, as GitHub said.")
    token_expires_at = serializers.DateTimeField(allow_null=True, help_text="When the token ends, as GitHub said.")
    is_active = serializers.BooleanField()
    problem = serializers.CharField(allow_null=True, help_text="What keeps it from working, by a short name.")
    problem_since = serializers.DateTimeField(allow_null=True)
    answered_at = serializers.DateTimeField(allow_null=True, help_text="When GitHub last answered as it should.")
    seats = serializers.IntegerField(help_text="How many people licences have let in or invited.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class PutGitHubConnectionSerializer(serializers.Serializer[Any]):
    """PUT: a token that is left out or null is kept."""

    organization = PlainCharField(max_length=100, help_text="As it stands in the organisation's address at GitHub.")
    team_slug = PlainCharField(max_length=255, help_text="As it stands in the team's address at GitHub.")
    token = PlainCharField(
        max_length=500,
        required=False,
        allow_null=True,
        trim_whitespace=False,
        write_only=True,
        help_text='An owner\'s token with the permission "Members: read and write". Needed at first. Never shown.',
    )


class GitHubFindingSerializer(serializers.Serializer[Any]):
    """One thing that was looked at."""

    name = serializers.CharField()
    ok = serializers.BooleanField()
    message = serializers.CharField()
    is_warning = serializers.BooleanField(help_text="It is worth a look, and stops nothing.")


class GitHubVerdictSerializer(serializers.Serializer[Any]):
    """POST check."""

    ok = serializers.BooleanField()
    problem = serializers.CharField(allow_null=True)
    message = serializers.CharField()
    findings = GitHubFindingSerializer(many=True)


class GitHubConnectionView(APIView):
    """The one connection of a project and mode."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="get_github_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        responses={200: GitHubConnectionSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return a project's connection to GitHub, without its token."""
        project, mode = _place(request, project_id, Role.VIEWER)
        return Response(_rendered(get_github_connection(project=project, mode=mode)))

    @extend_schema(
        operation_id="put_github_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=PutGitHubConnectionSerializer,
        responses={200: GitHubConnectionSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Connect a project to its organisation at GitHub: from then on licences invite to the team and remove from it."""
        project, mode = _place(request, project_id, Role.DEVELOPER)
        body = PutGitHubConnectionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = put_github_connection(project=project, mode=mode, fields=body.validated_data, actor=developer_of(request))
        return Response(_rendered(row))

    @extend_schema(
        operation_id="delete_github_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        responses={204: None, **error_responses(401, 403, 404, 422)},
    )
    def delete(self, request: Request, project_id: uuid.UUID) -> Response:
        """Forget the token and change nothing at GitHub any more. Who is in the team stays there."""
        project, mode = _place(request, project_id, Role.DEVELOPER)
        delete_github_connection(project=project, mode=mode, actor=developer_of(request))
        return Response(status=204)


class GitHubConnectionCheckView(APIView):
    """Whether the connection works."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="check_github_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=None,
        responses={200: GitHubVerdictSerializer, **error_responses(401, 403, 404, 422)},
    )
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Ask GitHub now what the stored token may do, and say what is missing."""
        project, mode = _place(request, project_id, Role.DEVELOPER)
        verdict = check_github_connection(get_github_connection(project=project, mode=mode))
        findings = [
            {"name": one.name, "ok": one.ok, "message": one.message, "is_warning": not one.ok and not one.problem}
            for one in verdict.findings
        ]
        answer = {"ok": not verdict.problem, "problem": verdict.problem or None, "message": verdict.message}
        return Response(GitHubVerdictSerializer({**answer, "findings": findings}).data)


def _place(request: Request, project_id: uuid.UUID, min_role: Role) -> tuple[Project, str]:
    project = get_project_for(user=developer_of(request), project_id=project_id, min_role=min_role)
    return project, mode_of(read_test_mode(request.query_params))


def _rendered(row: GitHubConnection) -> Any:
    return GitHubConnectionSerializer(
        {
            "id": row.pk,
            "project_id": row.project_id,
            "kind": "github",
            "is_test_mode": row.mode == TEST,
            "organization": row.organization,
            "team_slug": row.team_slug,
            "token_masked": row.token_masked,
            "token_login": row.token_login or None,
            "token_expires_at": row.token_expires_at,
            "is_active": row.is_active,
            "problem": row.problem or None,
            "problem_since": row.problem_since,
            "answered_at": row.answered_at,
            "seats": count_seats(row),
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }
    ).data
