"""/api/v1/projects/{id}/connections/litellm: a project's LiteLLM proxy, per mode."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.drf_fields import OneOfField, PlainCharField, StrictBooleanField
from common.modes import TEST, mode_of
from common.query import read_test_mode
from common.schema import error_responses
from entitlements.models import Connection
from entitlements.services.connections import (
    check_connection,
    count_users,
    delete_connection,
    get_connection,
    put_connection,
)
from projects.access import get_project_for
from projects.models import Project, Role

TAGS = ["projects"]
TEST_MODE = OpenApiParameter("test_mode", bool, description="Which mode's connection. Default true.")


class ConnectedUsersSerializer(serializers.Serializer[Any]):
    """How the users at the proxy fare."""

    total = serializers.IntegerField()
    pending = serializers.IntegerField(help_text="Not yet as they should be.")
    applied = serializers.IntegerField(help_text="As they should be, when they were last read back.")
    failed = serializers.IntegerField(help_text="Given up for now; tried again once a day.")
    left_behind = serializers.IntegerField()
    with_team_keys = serializers.IntegerField(help_text="They have keys of a team, which skip the user's budget.")


class LiteLLMConnectionSerializer(serializers.Serializer[Any]):
    """A connection without its key."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    kind = serializers.CharField()
    is_test_mode = serializers.BooleanField()
    base_url = serializers.CharField()
    master_key_masked = serializers.CharField()
    user_id_prefix = serializers.CharField(help_text="A user's id at LiteLLM is this and the app's own id.")
    spend_reset = serializers.ChoiceField(choices=Connection.SpendReset.choices)
    share_email = serializers.BooleanField()
    is_active = serializers.BooleanField()
    problem = serializers.CharField(allow_null=True, help_text="What keeps it from working, by a short name.")
    problem_since = serializers.DateTimeField(allow_null=True)
    answered_at = serializers.DateTimeField(allow_null=True, help_text="When the proxy last answered as it should.")
    users = ConnectedUsersSerializer()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class PutLiteLLMConnectionSerializer(serializers.Serializer[Any]):
    """PUT: what is left out or null is kept."""

    base_url = PlainCharField(max_length=2048, help_text="Where the proxy is, https.")
    master_key = PlainCharField(
        max_length=500,
        required=False,
        allow_null=True,
        trim_whitespace=False,
        write_only=True,
        help_text="The proxy's master key. Needed at first and with another address. Never shown.",
    )
    user_id_prefix = PlainCharField(
        max_length=100,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Default `{slug}:{mode}:`. It stays as it is once there are users.",
    )
    spend_reset = OneOfField(choices=Connection.SpendReset.choices, required=False, allow_null=True)
    share_email = StrictBooleanField(required=False, allow_null=True)


class ConnectionVerdictSerializer(serializers.Serializer[Any]):
    """POST check."""

    ok = serializers.BooleanField()
    problem = serializers.CharField(allow_null=True)
    message = serializers.CharField()


class LiteLLMConnectionView(APIView):
    """The one connection of a project and mode."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="get_litellm_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        responses={200: LiteLLMConnectionSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return a project's connection to LiteLLM, without its key."""
        project, mode = _place(request, project_id, Role.VIEWER)
        return Response(_rendered(get_connection(project=project, mode=mode)))

    @extend_schema(
        operation_id="put_litellm_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=PutLiteLLMConnectionSerializer,
        responses={200: LiteLLMConnectionSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Connect a project to its LiteLLM proxy: from then on plans set the limits of its users there."""
        project, mode = _place(request, project_id, Role.DEVELOPER)
        body = PutLiteLLMConnectionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        fields = body.validated_data
        return Response(
            _rendered(put_connection(project=project, mode=mode, fields=fields, actor=developer_of(request)))
        )

    @extend_schema(
        operation_id="delete_litellm_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        responses={204: None, **error_responses(401, 403, 404, 422)},
    )
    def delete(self, request: Request, project_id: uuid.UUID) -> Response:
        """Forget the key and change nothing at LiteLLM any more. Users there keep their last limits."""
        project, mode = _place(request, project_id, Role.DEVELOPER)
        delete_connection(project=project, mode=mode, actor=developer_of(request))
        return Response(status=204)


class LiteLLMConnectionCheckView(APIView):
    """Whether the connection works."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="check_litellm_connection",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=None,
        responses={200: ConnectionVerdictSerializer, **error_responses(401, 403, 404, 422)},
    )
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Ask the proxy now whether it takes the stored key."""
        project, mode = _place(request, project_id, Role.DEVELOPER)
        verdict = check_connection(get_connection(project=project, mode=mode))
        return Response({"ok": not verdict.problem, "problem": verdict.problem or None, "message": verdict.message})


def _place(request: Request, project_id: uuid.UUID, min_role: Role) -> tuple[Project, str]:
    project = get_project_for(user=developer_of(request), project_id=project_id, min_role=min_role)
    return project, mode_of(read_test_mode(request.query_params))


def _rendered(connection: Connection) -> Any:
    return LiteLLMConnectionSerializer(
        {
            "id": connection.pk,
            "project_id": connection.project_id,
            "kind": connection.kind,
            "is_test_mode": connection.mode == TEST,
            "base_url": connection.base_url,
            "master_key_masked": connection.master_key_masked,
            "user_id_prefix": connection.user_id_prefix,
            "spend_reset": connection.spend_reset,
            "share_email": connection.share_email,
            "is_active": connection.is_active,
            "problem": connection.problem or None,
            "problem_since": connection.problem_since,
            "answered_at": connection.answered_at,
            "users": count_users(connection),
            "created_at": connection.created_at,
            "updated_at": connection.updated_at,
        }
    ).data
