"""/api/v1/projects/{id}/identity-provider."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.schema import error_responses
from projects.access import get_project_for
from projects.models import Role
from projects.serializers import IdentityProviderSerializer, PutIdentityProviderSerializer
from projects.services.identity_providers import delete_identity_provider, get_identity_provider, put_identity_provider


class IdentityProviderView(APIView):
    """The one provider of a project."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="get_identity_provider",
        tags=["projects"],
        responses={200: IdentityProviderSerializer, **error_responses(401, 404)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return the project's identity provider, without its secret."""
        project = get_project_for(user=developer_of(request), project_id=project_id)
        return Response(IdentityProviderSerializer(get_identity_provider(project=project)).data)

    @extend_schema(
        operation_id="put_identity_provider",
        tags=["projects"],
        request=PutIdentityProviderSerializer,
        responses={200: IdentityProviderSerializer, **error_responses(400, 401, 403, 404, 415, 422)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Set whose tokens the project accepts for its end users."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.DEVELOPER)
        body = PutIdentityProviderSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        provider = put_identity_provider(project=project, fields=body.validated_data)
        return Response(IdentityProviderSerializer(provider).data)

    @extend_schema(
        operation_id="delete_identity_provider",
        tags=["projects"],
        responses={204: None, **error_responses(401, 403, 404)},
    )
    def delete(self, request: Request, project_id: uuid.UUID) -> Response:
        """Remove the identity provider; its tokens are refused from the next request on."""
        project = get_project_for(user=developer_of(request), project_id=project_id, min_role=Role.DEVELOPER)
        delete_identity_provider(project=project)
        return Response(status=204)
