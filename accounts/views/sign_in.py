"""/api/v1/auth: registering, tokens, and who am I."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of, read_bearer
from accounts.serializers import (
    LoginSerializer,
    RefreshSerializer,
    RegisteredSerializer,
    RegisterSerializer,
    TokenSerializer,
    UserSerializer,
)
from accounts.services.tokens import (
    SIGNED_OUT,
    TokenPair,
    end_family_of_token,
    issue_login_tokens,
    refresh_login_tokens,
)
from accounts.services.users import register_user, sign_in
from common.client_address import client_address
from common.schema import error_responses


def _tokens(pair: TokenPair, *, status: int = 200, **more: Any) -> Response:
    body = TokenSerializer({**asdict(pair), "token_type": "bearer"}).data
    return Response(more | body, status=status, headers={"Cache-Control": "no-store"})


class RegisterView(APIView):
    """POST /auth/register."""

    @extend_schema(
        operation_id="register",
        tags=["auth"],
        auth=[],
        request=RegisterSerializer,
        responses={201: RegisteredSerializer, **error_responses(400, 409, 415, 422, 429)},
    )
    def post(self, request: Request) -> Response:
        """Create a developer's account and sign in."""
        body = RegisterSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        user = register_user(
            email=body.validated_data["email"],
            password=body.validated_data["password"],
            full_name=body.validated_data.get("full_name") or "",
            address=client_address(request),
        )
        return _tokens(issue_login_tokens(user=user), status=201, **UserSerializer(user).data)


class LoginView(APIView):
    """POST /auth/login."""

    @extend_schema(
        operation_id="login",
        tags=["auth"],
        auth=[],
        request=LoginSerializer,
        responses={200: TokenSerializer, **error_responses(400, 401, 415, 422, 429)},
    )
    def post(self, request: Request) -> Response:
        """Exchange e-mail address and password for tokens."""
        body = LoginSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return _tokens(sign_in(**body.validated_data, address=client_address(request)))


class RefreshView(APIView):
    """POST /auth/refresh."""

    @extend_schema(
        operation_id="refresh",
        tags=["auth"],
        auth=[],
        request=RefreshSerializer,
        responses={200: TokenSerializer, **error_responses(400, 401, 415, 422)},
    )
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for new tokens. It works once; a second use ends the whole sign-in."""
        body = RefreshSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return _tokens(refresh_login_tokens(refresh_token=body.validated_data["refresh_token"]))


class LogoutView(APIView):
    """POST /auth/logout."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(operation_id="logout", tags=["auth"], request=None, responses={204: None, **error_responses(401)})
    def post(self, request: Request) -> Response:
        """End this sign-in: its access and refresh tokens are refused from the next request on."""
        end_family_of_token(value=read_bearer(request), reason=SIGNED_OUT)
        return Response(status=204)


class MeView(APIView):
    """GET /auth/me."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(operation_id="me", tags=["auth"], responses={200: UserSerializer, **error_responses(401)})
    def get(self, request: Request) -> Response:
        """Return the developer whose token this is."""
        return Response(UserSerializer(developer_of(request)).data)
