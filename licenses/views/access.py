"""/api/v1/license-access: what a licence's page does, for apps that show a page of their own. The link's token is the bearer."""

from dataclasses import replace
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.modes import mode_of
from common.rate_limits import count_call
from common.schema import IDEMPOTENCY_KEY, error_responses
from licenses import bodies, limits
from licenses.authentication import LicenseLinkAuthentication, holder_of
from licenses.nudge import nudge_outbox, nudge_poller
from licenses.services.access import find_access, render_access, require_license
from licenses.services.keys import make_key
from licenses.services.polling import check_soon
from licenses.services.usernames import invite_again, submit_username
from projects.idempotent_view import idempotent

TAGS = ["Licences"]
SESSION = OpenApiParameter("session", str, description="The checkout session's id; another one than the link's is 404.")
REFUSALS = error_responses(400, 401, 404, 409, 413, 415, 422, 429)


class LicenseAccessView(APIView):
    """A view for whoever has a licence's signed link."""

    authentication_classes = [LicenseLinkAuthentication]

    def answer(self, request: Request) -> Response:
        """Answer with where the licence stands now."""
        holder = holder_of(request)
        access = find_access(principal=holder, session_id=request.query_params.get("session", ""))
        # A licence may have come about since the link was read: from here on it is known whose pages may read the answer.
        request.user = replace(holder, mode=mode_of(access.is_test_mode))  # type: ignore[assignment]
        return Response(render_access(access))

    def read(self, body: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
        """Return a checked body. Raises ValidationError (422)."""
        serializer = body(data=request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class StatusView(LicenseAccessView):
    @extend_schema(
        operation_id="read_license_access",
        tags=TAGS,
        parameters=[SESSION],
        responses={200: bodies.LicenseAccessAnswer, **error_responses(401, 404, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """Read where a licence stands. Before it is paid this asks Stripe; it never asks GitHub."""
        count_call(limits.PAGES_PER_LICENSE, str(holder_of(request).license_id))
        limits.count_by_address(limits.PAGES_PER_ADDRESS, request)
        return self.answer(request)


class SubmitUsernameView(LicenseAccessView):
    @extend_schema(
        operation_id="submit_license_username",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=bodies.SubmitUsernameBody,
        responses={200: bodies.LicenseAccessAnswer, **REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Say whom to let in. GitHub is asked afterwards: read the status to learn what came of it."""
        holder = holder_of(request)
        given = self.read(bodies.SubmitUsernameBody, request)
        limits.count_by_address(limits.USERNAMES_PER_ADDRESS, request)
        count_call(limits.USERNAMES_PER_LICENSE, str(holder.license_id))
        submit_username(
            project_id=holder.project.pk,
            license_id=holder.license_id,
            username=given["github_username"],
            replaces=given["replace"],
            revision=given.get("revision"),
        )
        nudge_outbox()
        return self.answer(request)


class CheckAcceptanceView(LicenseAccessView):
    @extend_schema(
        operation_id="check_license_acceptance",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=None,
        responses={200: bodies.LicenseAccessAnswer, **REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Have GitHub asked now whether the invitation was accepted; read the status a few seconds later."""
        holder = holder_of(request)
        count_call(limits.CHECKS_PER_LICENSE, str(holder.license_id))
        if check_soon(require_license(holder)):
            nudge_poller()
        return self.answer(request)


class InviteAgainView(LicenseAccessView):
    @extend_schema(
        operation_id="invite_license_holder_again",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=None,
        responses={200: bodies.LicenseAccessAnswer, **REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Have the invitation sent again after it expired or was declined."""
        holder = holder_of(request)
        count_call(limits.USERNAMES_PER_LICENSE, str(holder.license_id))
        invite_again(project_id=holder.project.pk, license_id=holder.license_id)
        nudge_outbox()
        return self.answer(request)


class LicenseKeyView(LicenseAccessView):
    @extend_schema(
        operation_id="make_license_key",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=bodies.MakeKeyBody,
        responses={200: bodies.MadeKeyAnswer, **REFUSALS},
    )
    @idempotent(holds_secret=True)
    def post(self, request: Request) -> Response:
        """Get the licence key. It is shown once; with `replace` another one is made and the old one stops working."""
        holder = holder_of(request)
        given = self.read(bodies.MakeKeyBody, request)
        count_call(limits.KEYS_PER_LICENSE, str(holder.license_id))
        key = make_key(project_id=holder.project.pk, license_id=holder.license_id, replaces=given["replace"])
        limit = require_license(holder).product.activation_limit
        return Response({"license_key": key, "activation_limit": limit})
