"""What an app's server does with a project API key, which decides project and mode; nothing in a request changes it."""

from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.query import read_flag
from common.schema import IDEMPOTENCY_KEY, error_responses
from common.strict_jwt import is_identifier
from entitlements.services.entitled import render_credits, render_tokens
from payments import bodies
from payments.services import on_behalf
from payments.services.shapes import utc_text
from payments.views.end_user import read_body
from projects.access import ProjectNotFound
from projects.action_limits import BILLING, CHECKOUTS
from projects.authentication import ApiKeyAuthentication
from projects.idempotent_view import idempotent
from projects.models import Project
from projects.principals import ServerPrincipal

TAGS = ["Server to server"]
KEY_TEST_MODE = OpenApiParameter(
    "test_mode", bool, OpenApiParameter.QUERY, description="The key decides the mode; a contradiction is refused."
)
WRITE = [KEY_TEST_MODE, IDEMPOTENCY_KEY]
PORTAL_REFUSALS = error_responses(400, 401, 403, 404, 413, 415, 422, 429, 502, 503)
WRITE_REFUSALS = {**PORTAL_REFUSALS, **error_responses(409)}


class ServerView(APIView):
    """A view for a project API key, and for nothing else."""

    authentication_classes = [ApiKeyAuthentication]

    def scope(self, request: Request, app: str | None) -> dict[str, Any]:
        """Return project and mode of the key. Raises ProjectNotFound (404) when the path names another project."""
        principal = cast(ServerPrincipal, request.user)
        read_flag(request.query_params, "test_mode")
        if app is not None and app != principal.project.slug:
            raise ProjectNotFound
        return {"project": principal.project, "mode": principal.mode}


class ServerCheckoutView(ServerView):
    action_limits = CHECKOUTS

    @extend_schema(
        operation_id="checkout_for_user",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.ServerCheckoutBody,
        responses={200: bodies.CheckoutAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request, app: str | None = None) -> Response:
        """Open a checkout of a tier for a user of the app."""
        scope = self.scope(request, app)
        given = read_body(bodies.ServerCheckoutBody, request)
        # Null means left out.
        given = {name: value for name, value in given.items() if value is not None}
        session = on_behalf.open_checkout_for(**scope, **given)
        return Response({"checkout_url": session.url, "session_id": session.stripe_session_id})


class ServerPortalView(ServerView):
    action_limits = BILLING

    @extend_schema(
        operation_id="portal_for_user",
        tags=TAGS,
        parameters=[KEY_TEST_MODE],
        request=bodies.ServerPortalBody,
        responses={200: bodies.PortalAnswer, **PORTAL_REFUSALS},
    )
    def post(self, request: Request, app: str | None = None) -> Response:
        """Open the customer portal for a user of the app. Each call opens it anew: its link is never stored."""
        scope = self.scope(request, app)
        given = read_body(bodies.ServerPortalBody, request)
        return Response({"portal_url": on_behalf.open_portal_for(**scope, **given)})


class ServerStatusView(ServerView):
    @extend_schema(
        operation_id="status_of_user",
        tags=TAGS,
        parameters=[KEY_TEST_MODE],
        responses={200: bodies.StatusAnswer, **error_responses(400, 401, 404, 422, 429)},
    )
    def get(self, request: Request, user_id: str, app: str | None = None) -> Response:
        """Read what a user of the app is on. A user who never paid is on the free tier."""
        scope = self.scope(request, app)
        # No user can have an id that no token or request may carry: answer as for any stranger, without a look-up.
        project: Project = scope["project"]
        status = on_behalf.read_status(**scope, user_id=user_id if is_identifier(user_id) else "")
        return Response(
            {
                "app_id": project.slug,
                "user_id": user_id,
                "tier": status.tier,
                "stripe_customer_id": status.stripe_customer_id,
                "stripe_subscription_id": status.stripe_subscription_id,
                "plan_active": status.plan_active,
                "plan_expires": utc_text(status.plan_expires),
                "current_period_end": utc_text(status.current_period_end),
                "credits": render_credits(status.credits),
                "token_budget": render_tokens(status.tokens),
            }
        )


@extend_schema_view(post=extend_schema(operation_id="checkout_for_user_of_app"))
class AppCheckoutView(ServerCheckoutView):
    """The same where the path names the project, which must be the key's."""


@extend_schema_view(post=extend_schema(operation_id="portal_for_user_of_app"))
class AppPortalView(ServerPortalView):
    """The same where the path names the project, which must be the key's."""


@extend_schema_view(get=extend_schema(operation_id="status_of_user_of_app"))
class AppStatusView(ServerStatusView):
    """The same where the path names the project, which must be the key's."""
