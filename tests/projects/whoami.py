"""A small view that stands for every end-user endpoint."""

import base64
import json
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from projects.authentication import EndUserAuthentication, end_user_of


class Whoami(APIView):
    """Answers with what authentication found."""

    authentication_classes = [EndUserAuthentication]

    def get(self, request: Request) -> Response:
        caller = end_user_of(request)
        return Response(
            {
                "id": str(caller.end_user.pk),
                "external_id": caller.end_user.external_id,
                "project": str(caller.project.pk),
                "email": caller.end_user.email,
            }
        )


def ask(token: str, query: str = "", **headers: str) -> Any:
    """Ask who a token speaks for."""
    extra: Any = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    request = APIRequestFactory().get(f"/whoami{query}", HTTP_AUTHORIZATION=f"Bearer {token}", **extra)
    return Whoami.as_view()(request)


def refused(answer: Any) -> bool:
    """Say whether an answer is the one refusal that all bad tokens get."""
    return (answer.status_code, answer.data["code"], answer["WWW-Authenticate"]) == (
        401,
        "invalid_token",
        "Bearer",
    )


def b64(value: Any) -> str:
    """Encode a segment of a token by hand."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
