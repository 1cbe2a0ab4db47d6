"""/api/v1/projects/{id}/users/{end_user_id}/plan: a plan that is given by hand."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.drf_fields import PlainCharField
from common.modes import TEST, mode_of
from common.query import read_test_mode
from common.schema import IDEMPOTENCY_KEY, error_responses
from payments.services.given_plans import REASON_CHARS_MAX, put_on_plan
from projects.access import get_project_for
from projects.idempotent_view import idempotent
from projects.models import Role
from projects.services.end_users import get_end_user

TEST_MODE = OpenApiParameter("test_mode", bool, description="In which mode. Default true.")


class GivePlanSerializer(serializers.Serializer[Any]):
    """POST."""

    plan = PlainCharField(
        max_length=64, allow_null=True, help_text="Its code or an alias; null takes a given plan back."
    )
    reason = PlainCharField(max_length=REASON_CHARS_MAX, multiline=True, help_text="Kept in the action log.")


class GivenPlanSerializer(serializers.Serializer[Any]):
    """What the user is on now."""

    end_user_id = serializers.UUIDField()
    user_id = serializers.CharField(help_text="The app's own id.")
    is_test_mode = serializers.BooleanField()
    plan = serializers.CharField(allow_null=True, help_text="Null: nothing that was bought or given.")
    given = serializers.BooleanField()


class GivenPlanView(APIView):
    """Give or take back."""

    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="give_plan",
        tags=["projects"],
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=GivePlanSerializer,
        responses={200: GivenPlanSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID, end_user_id: uuid.UUID) -> Response:
        """Put a user on a plan by hand, as on an internal one; it stands above what they bought until it is taken back."""
        developer = developer_of(request)
        project = get_project_for(user=developer, project_id=project_id, min_role=Role.DEVELOPER)
        mode = mode_of(read_test_mode(request.query_params))
        end_user = get_end_user(project=project, end_user_id=end_user_id)
        body = GivePlanSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        now = put_on_plan(
            project=project,
            mode=mode,
            end_user=end_user,
            code=body.validated_data["plan"],
            reason=body.validated_data["reason"],
            actor=developer,
        )
        shown = {"end_user_id": end_user.pk, "user_id": end_user.external_id, "is_test_mode": now.mode == TEST}
        plan = now.plan.code if now.plan else None
        return Response(GivenPlanSerializer(shown | {"plan": plan, "given": now.given}).data)
