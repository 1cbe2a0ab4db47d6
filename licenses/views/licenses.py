"""Licences as their owner and the project's developers see them."""

import uuid

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.modes import mode_of
from common.paging import paginate
from common.query import read_choice, read_test_mode
from common.schema import PAGING, error_responses
from licenses import bodies
from licenses.models import License, LicenseState
from licenses.services.metrics import license_metrics
from licenses.services.shapes import render_license
from projects.access import get_project_for
from projects.authentication import EndUserAuthentication, end_user_of
from projects.models import Project

TAGS = ["Licences"]
TEST_MODE = OpenApiParameter("test_mode", bool, description="Which mode's licences. Default true.")
PROJECT_HEADER = OpenApiParameter(
    "X-Project-ID",
    {"type": "string", "format": "uuid"},
    OpenApiParameter.HEADER,
    description="The project, for a token of its own provider that names none.",
)
STATUS = OpenApiParameter("status", str, enum=LicenseState.values, description="Only licences of this status.")
SHOWN_MAX = 100


class MyLicensesView(APIView):
    authentication_classes = [EndUserAuthentication]

    @extend_schema(
        operation_id="list_my_licenses",
        tags=TAGS,
        parameters=[TEST_MODE, PROJECT_HEADER],
        responses={200: bodies.MyLicensesAnswer, **error_responses(400, 401, 404, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """List the licences that you bought while you were signed in, newest first, at most a hundred."""
        principal = end_user_of(request)
        rows = License.objects.for_project(principal.project).in_mode(mode_of(read_test_mode(request.query_params)))
        mine = rows.filter(end_user=principal.end_user).select_related("product", "end_user")
        found = mine.order_by("-purchased_at", "-id")[:SHOWN_MAX]
        return Response({"licenses": [render_license(row) for row in found]})


class ProjectLicensesView(APIView):
    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="list_project_licenses",
        tags=TAGS,
        parameters=[TEST_MODE, STATUS, *PAGING],
        responses={200: bodies.LicenseListAnswer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List a project's licences, newest first."""
        rows = License.objects.for_project(_project(request, project_id))
        rows = rows.in_mode(mode_of(read_test_mode(request.query_params))).select_related("product", "end_user")
        status = read_choice(request.query_params, "status", LicenseState.values)
        rows = rows.filter(state=status) if status else rows
        return Response(
            paginate(
                rows,
                request.query_params,
                key="licenses",
                order_field="purchased_at",
                render=lambda found: [render_license(row) for row in found],
            )
        )


class LicenseMetricsView(APIView):
    authentication_classes = [DeveloperAuthentication]

    @extend_schema(
        operation_id="read_license_metrics",
        tags=TAGS,
        parameters=[TEST_MODE],
        responses={200: bodies.LicenseMetricsAnswer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Read how a project's licences fare: sold, how many of the invited came in, how long that took, who is stuck."""
        mode = mode_of(read_test_mode(request.query_params))
        found = license_metrics(project=_project(request, project_id), mode=mode)
        return Response(
            {
                "sold": found.sold,
                "revoked": found.revoked,
                "by_status": found.by_status,
                "invited": found.invited,
                "accepted": found.accepted,
                "conversion": found.conversion,
                "average_accept_seconds": found.accept_seconds,
                "stuck_pending": found.stuck_pending,
                "stuck_submitted": found.stuck_submitted,
                "stuck_invited": found.stuck_invited,
            }
        )


def _project(request: Request, project_id: uuid.UUID) -> Project:
    return get_project_for(user=developer_of(request), project_id=project_id)
