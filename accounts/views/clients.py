"""/api/v1/auth/clients: a developer's OAuth2 clients."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from accounts.serializers import (
    OAuthClientInputSerializer,
    OAuthClientListSerializer,
    OAuthClientSerializer,
)
from accounts.services.oauth_clients import clients_of, create_client, delete_client
from common.schema import error_responses


class OAuthClientsView(APIView):
    """List and register. Routed with the Idempotency-Key by projects/views/oauth_clients.py, which may import downwards."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="list_oauth_clients",
        tags=["auth"],
        responses={200: OAuthClientListSerializer, **error_responses(401)},
    )
    def get(self, request: Request) -> Response:
        """List your OAuth2 clients."""
        rows = list(clients_of(developer_of(request)))
        return Response({"clients": OAuthClientSerializer(rows, many=True).data, "total": len(rows)})

    def post(self, request: Request) -> Response:
        """Register an OAuth2 client. The secret is shown once."""
        body = OAuthClientInputSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        client, secret = create_client(
            owner=developer_of(request),
            name=body.validated_data["name"],
            client_type=body.validated_data["type"],
            redirect_uris=body.validated_data["redirect_uris"],
            grant_types=body.validated_data.get("grant_types"),
        )
        return Response(OAuthClientSerializer(client).data | {"client_secret": secret}, status=201)


class OAuthClientView(APIView):
    """One client."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="delete_oauth_client", tags=["auth"], responses={204: None, **error_responses(401, 404)}
    )
    def delete(self, request: Request, client_id: str) -> Response:
        """Delete an OAuth2 client; its tokens end at once."""
        delete_client(owner=developer_of(request), client_id=client_id)
        return Response(status=204)
