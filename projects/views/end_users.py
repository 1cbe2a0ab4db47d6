"""/api/v1/projects/{id}/users for developers, and /api/v1/projects/{id}/end-user-tokens for the project's server."""

import uuid

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.errors import FieldError
from common.paging import paginate
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from common.strict_jwt import is_storable
from projects.access import ProjectNotFound, get_project_for
from projects.action_limits import END_USER_TOKENS
from projects.authentication import FALSE_WORDS, TRUE_WORDS, ApiKeyAuthentication, server_of
from projects.idempotent_view import idempotent
from projects.models import Role
from projects.serializers import (
    ChangeEndUserSerializer,
    EndUserListSerializer,
    EndUserSerializer,
    EndUserTokenSerializer,
    MintTokenSerializer,
)
from projects.services.end_user_tokens import mint_end_user_token
from projects.services.end_users import get_end_user, list_end_users, set_end_user_active

MAX_SEARCH_LENGTH = 255


class EndUsersView(APIView):
    """List."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="list_end_users",
        tags=["projects"],
        parameters=[
            *PAGING,
            OpenApiParameter("search", str, description="Part of the user's id or e-mail address."),
            OpenApiParameter("is_active", bool),
        ],
        responses={200: EndUserListSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List a project's end users, newest first."""
        project = get_project_for(user=developer_of(request), project_id=project_id)
        rows = list_end_users(project=project, search=_search(request), is_active=_is_active(request))
        return Response(
            paginate(
                rows, request.query_params, key="users", render=lambda found: EndUserSerializer(found, many=True).data
            )
        )


class EndUserView(APIView):
    """One end user."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="get_end_user", tags=["projects"], responses={200: EndUserSerializer, **error_responses(401, 404)}
    )
    def get(self, request: Request, project_id: uuid.UUID, end_user_id: uuid.UUID) -> Response:
        """Return one end user."""
        project = get_project_for(user=developer_of(request), project_id=project_id)
        return Response(EndUserSerializer(get_end_user(project=project, end_user_id=end_user_id)).data)

    @extend_schema(
        operation_id="change_end_user",
        tags=["projects"],
        request=ChangeEndUserSerializer,
        responses={200: EndUserSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    def patch(self, request: Request, project_id: uuid.UUID, end_user_id: uuid.UUID) -> Response:
        """Ban an end user or let them in again; it holds from their next request on and is in the action log."""
        actor = developer_of(request)
        project = get_project_for(user=actor, project_id=project_id, min_role=Role.DEVELOPER)
        end_user = get_end_user(project=project, end_user_id=end_user_id)
        body = ChangeEndUserSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        changed = set_end_user_active(
            end_user=end_user,
            is_active=body.validated_data["is_active"],
            actor=actor,
            reason=body.validated_data.get("reason") or "",
        )
        return Response(EndUserSerializer(changed).data)


class EndUserTokensView(APIView):
    """Mint."""

    authentication_classes = [ApiKeyAuthentication]
    action_limits = END_USER_TOKENS

    @extend_schema(
        operation_id="mint_end_user_token",
        tags=["server"],
        parameters=[IDEMPOTENCY_KEY],
        request=MintTokenSerializer,
        responses={200: EndUserTokenSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422, 429)},
    )
    @idempotent(holds_secret=True)
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Mint a token for one of your users. A test key's tokens never reach live mode."""
        server = server_of(request)
        if server.project.pk != project_id:
            raise ProjectNotFound
        body = MintTokenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        token = mint_end_user_token(
            server=server,
            user_id=body.validated_data["user_id"],
            email=body.validated_data.get("email"),
            ttl_seconds=body.validated_data["ttl_seconds"],
            test_only=body.validated_data["test_only"],
        )
        return Response(
            EndUserTokenSerializer(token).data | {"token_type": "bearer"}, headers={"Cache-Control": "no-store"}
        )


def _search(request: Request) -> str:
    search: str = request.query_params.get("search", "")
    if len(search) > MAX_SEARCH_LENGTH or not is_storable(search):
        raise FieldError(
            "query", "search", msg=f"At most {MAX_SEARCH_LENGTH} characters, none of them control characters."
        )
    return search


def _is_active(request: Request) -> bool | None:
    text: str | None = request.query_params.get("is_active")
    if text is None:
        return None
    if text.lower() in TRUE_WORDS or text.lower() in FALSE_WORDS:
        return text.lower() in TRUE_WORDS
    raise FieldError("query", "is_active", msg="Give true or false.", type="bool_parsing")
