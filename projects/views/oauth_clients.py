"""/api/v1/auth/clients, where registering honours Idempotency-Key: its records live here, a layer above the accounts."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.serializers import NewOAuthClientSerializer, OAuthClientInputSerializer
from accounts.views.clients import OAuthClientsView
from common.schema import IDEMPOTENCY_KEY, error_responses
from projects.idempotent_view import idempotent


def _shows_secret(body: Any) -> bool:
    """A public client has no secret, so its answer may be kept."""
    return body["client_secret"] is not None


class IdempotentOAuthClientsView(OAuthClientsView):
    """List and register."""

    @extend_schema(
        operation_id="create_oauth_client",
        tags=["auth"],
        parameters=[IDEMPOTENCY_KEY],
        request=OAuthClientInputSerializer,
        responses={201: NewOAuthClientSerializer, **error_responses(400, 401, 409, 415, 422)},
    )
    @idempotent(holds_secret=_shows_secret)
    def post(self, request: Request) -> Response:
        """Register an OAuth2 client. The secret is shown once."""
        return super().post(request)
