"""What is kept about one end user, for developers: handed out, and erased."""

import uuid

from django.http import StreamingHttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from backoffice.people_bodies import AnonymizedSerializer, AnonymizeSerializer, PersonalDataSerializer
from backoffice.services.people.anonymising import anonymise
from backoffice.services.people.handing_out import hand_out
from common.rate_limits import RateLimit
from common.schema import IDEMPOTENCY_KEY, error_responses
from projects.access import get_project_for
from projects.action_limits import ActionLimits
from projects.idempotent_view import idempotent
from projects.models import Role
from projects.services.end_users import get_end_user

# Each reads or writes many tables.
PEOPLE = ActionLimits(caller=RateLimit("personal-data-caller", 60, 3600))


class PersonalDataView(APIView):
    """Hand out."""

    authentication_classes = [DeveloperAuthentication]
    action_limits = PEOPLE

    @extend_schema(
        operation_id="hand_out_personal_data",
        tags=["projects"],
        request=None,
        responses={200: PersonalDataSerializer, **error_responses(401, 403, 404, 429)},
    )
    def post(self, request: Request, project_id: uuid.UUID, end_user_id: uuid.UUID) -> StreamingHttpResponse:
        """Hand out everything that is kept about an end user. A POST, since each time is in the action log."""
        developer = developer_of(request)
        project = get_project_for(user=developer, project_id=project_id, min_role=Role.DEVELOPER)
        end_user = get_end_user(project=project, end_user_id=end_user_id)
        answer = StreamingHttpResponse(hand_out(end_user=end_user, actor=developer), content_type="application/json")
        answer["Cache-Control"] = "no-store"
        return answer


class AnonymizeView(APIView):
    """Erase."""

    authentication_classes = [DeveloperAuthentication]
    action_limits = PEOPLE

    @extend_schema(
        operation_id="anonymize_end_user",
        tags=["projects"],
        parameters=[IDEMPOTENCY_KEY],
        request=AnonymizeSerializer,
        responses={200: AnonymizedSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422, 429)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID, end_user_id: uuid.UUID) -> Response:
        """Erase what identifies an end user, for good. Amounts, ids and the ledger stay; Stripe keeps what it has."""
        developer = developer_of(request)
        project = get_project_for(user=developer, project_id=project_id, min_role=Role.OWNER)
        end_user = get_end_user(project=project, end_user_id=end_user_id)
        body = AnonymizeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        counts = anonymise(
            end_user=end_user,
            confirm=body.validated_data["confirm"],
            actor=developer,
            reason=body.validated_data["reason"],
        )
        return Response({"end_user_id": str(end_user.pk), "rows": counts})
