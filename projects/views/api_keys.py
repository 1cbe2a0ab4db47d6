"""/api/v1/projects/{id}/api-keys."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.schema import IDEMPOTENCY_KEY, error_responses
from projects.access import get_project_for
from projects.idempotent_view import idempotent
from projects.models import ApiKey, Role
from projects.serializers import ApiKeyListSerializer, ApiKeySerializer, CreateApiKeySerializer, NewApiKeySerializer
from projects.services.api_keys import create_api_key, delete_api_key


class ApiKeysView(APIView):
    """List and create."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="list_api_keys",
        tags=["projects"],
        responses={200: ApiKeyListSerializer, **error_responses(401, 404)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List a project's API keys, newest first; the keys themselves are not kept."""
        project = get_project_for(user=developer_of(request), project_id=project_id)
        rows = list(ApiKey.objects.for_project(project).order_by("-created_at", "-pk"))
        return Response({"api_keys": ApiKeySerializer(rows, many=True).data, "total": len(rows)})

    @extend_schema(
        operation_id="create_api_key",
        tags=["projects"],
        parameters=[IDEMPOTENCY_KEY],
        request=CreateApiKeySerializer,
        responses={201: NewApiKeySerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    @idempotent(holds_secret=True)
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Create an API key. It is shown once, in this answer."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.DEVELOPER)
        body = CreateApiKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        api_key, key = create_api_key(project=project, created_by=developer_of(request), **body.validated_data)
        data = ApiKeySerializer(api_key).data
        shown = {name: data[name] for name in NewApiKeySerializer.Meta.fields if name != "key"}
        return Response({**shown, "key": key}, status=201, headers={"Cache-Control": "no-store"})


class ApiKeyView(APIView):
    """One key."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="delete_api_key", tags=["projects"], responses={204: None, **error_responses(401, 403, 404)}
    )
    def delete(self, request: Request, project_id: uuid.UUID, api_key_id: uuid.UUID) -> Response:
        """Delete an API key; it is refused from the next request on."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.DEVELOPER)
        delete_api_key(project=project, api_key_id=api_key_id)
        return Response(status=204)
