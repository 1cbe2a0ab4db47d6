"""What a user is entitled to, for their app's server, and the tokens that an app checks by itself."""

import datetime as dt
import uuid
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.errors import FieldError
from common.modes import mode_of
from common.query import read_flag, read_test_mode
from common.schema import error_responses
from common.strict_jwt import is_identifier
from entitlements import entitlement_bodies as bodies
from entitlements.services.entitled import Entitled, read_entitled, render_entitled
from entitlements.services.entitlement_tokens import mint_entitlement_token, public_keys, read_epochs
from entitlements.views.usage import READ, TEST_MODE, read_body
from projects.account_view import REQUIRED
from projects.action_limits import ENTITLEMENT_TOKENS
from projects.authentication import ApiKeyAuthentication, EndUserOrServerAuthentication, server_of
from projects.principals import EndUserPrincipal, ServerPrincipal
from projects.services.end_user_tokens import UserBanned
from projects.services.end_users import EndUserNotFound

TAGS = ["Entitlements"]
READ_REFUSALS = error_responses(400, 401, 403, 404, 422, 429)
WRITE_REFUSALS = error_responses(400, 401, 403, 404, 413, 415, 422, 429)
JWKS_SECONDS = 300
SINCE = OpenApiParameter(
    "since",
    {"type": "string", "format": "date-time"},
    OpenApiParameter.QUERY,
    description="What the last answer gave; without it, everything that still matters.",
)


class EntitledView(APIView):
    """A view for both kinds of caller that knows a stranger too: whom nobody knows is on the free plan."""

    authentication_classes = [EndUserOrServerAuthentication]

    def read(self, request: Request, user_id: object, *, where: str) -> tuple[uuid.UUID, str, Entitled]:
        """Read what the named user is entitled to: project, mode and that, in one query.

        Raises: FieldError (422), EndUserNotFound (404) for another user than the token's, UserBanned (403).
        """
        principal: object = request.user
        if isinstance(principal, EndUserPrincipal):
            if user_id is not None and user_id != principal.end_user.external_id:
                raise EndUserNotFound
            mode = mode_of(read_test_mode(request.query_params))
            named: dict[str, Any] = {"end_user_id": principal.end_user.pk}
        elif isinstance(principal, ServerPrincipal):
            read_flag(request.query_params, "test_mode")
            if user_id is None or (where == "body" and not is_identifier(user_id)):
                raise FieldError(where, "user_id", msg=REQUIRED, type="missing" if user_id is None else "value_error")
            mode = principal.mode
            # No user can have an id that no token or request may carry: answer as for any stranger.
            named = {"user_id": str(user_id) if is_identifier(user_id) else ""}
        else:
            raise TypeError("entitlements need an end user or a server")
        entitled = read_entitled(project_id=principal.project.pk, mode=mode, **named)
        if entitled.is_banned:
            raise UserBanned
        return principal.project.pk, mode, entitled


class UserEntitlementsView(EntitledView):
    @extend_schema(
        operation_id="read_entitlements_of_user",
        tags=TAGS,
        parameters=READ,
        responses={200: bodies.UserEntitlementsAnswer, **READ_REFUSALS},
    )
    def get(self, request: Request, user_id: str) -> Response:
        """Read what a user of the app is entitled to. Whom nobody knows has what the free plan gives."""
        _, _, entitled = self.read(request, user_id, where="path")
        return Response({"user_id": user_id, **render_entitled(entitled)})


class EntitlementTokenView(EntitledView):
    """POST signs a token. GET is the user whose id is the word `token`: the paths of users may be any text."""

    action_limits = ENTITLEMENT_TOKENS

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        """Read what the user with this id is entitled to."""
        _, _, entitled = self.read(request, "token", where="path")
        return Response({"user_id": "token", **render_entitled(entitled)})

    @extend_schema(
        operation_id="create_entitlement_token",
        tags=TAGS,
        parameters=READ,
        request=bodies.EntitlementTokenBody,
        responses={200: bodies.EntitlementTokenAnswer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Sign what the user is entitled to, for some minutes, so that the app checks it without a call (docs/entitlements.md).

        Each call signs anew: nothing is stored and nothing moves.
        """
        given = read_body(bodies.EntitlementTokenBody, request)
        project_id, mode, entitled = self.read(request, given.get("user_id"), where="body")
        minted = mint_entitlement_token(project_id=project_id, mode=mode, entitled=entitled)
        answer = Response({"token": minted.token, "token_type": "entitlement", "expires_in": minted.expires_in})
        answer["Cache-Control"] = "no-store"
        return answer


class EntitlementEpochsView(APIView):
    """Who lost something lately, for a server that checks tokens by itself."""

    authentication_classes = [ApiKeyAuthentication]

    @extend_schema(
        operation_id="list_entitlement_epochs",
        tags=TAGS,
        parameters=[TEST_MODE, SINCE],
        responses={200: bodies.EpochsAnswer, **error_responses(400, 401, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """List users whose tokens of before are worth nothing any more. One index range, however many users there are."""
        server = server_of(request)
        read_flag(request.query_params, "test_mode")
        since = _moment(request.query_params.get("since"))
        found = read_epochs(project_id=server.project.pk, mode=server.mode, since=since)
        return Response(
            {
                "epochs": [{"user_id": row.end_user.external_id, "epoch": row.epoch} for row in found.rows],
                "since": found.since.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
                "has_more": found.has_more,
            }
        )


def _moment(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        # A plus sign that was not encoded arrives as a space.
        found = parse_datetime(text.replace(" ", "+"))
        moment = found.astimezone(dt.UTC) if found is not None and found.tzinfo is not None else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise FieldError("query", "since", msg="Give a time with its zone, such as 2026-11-21T18:00:00Z.")
    return moment


@require_GET
def entitlement_keys(request: HttpRequest) -> JsonResponse:
    """/.well-known/entitlements/jwks.json: the public keys that entitlement tokens verify by."""
    answer = JsonResponse(public_keys())
    answer["Cache-Control"] = f"public, max-age={JWKS_SECONDS}"
    answer["Access-Control-Allow-Origin"] = "*"
    return answer
