"""Reports: sent by end users, the app's server and developers, read by the project's members."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.modes import mode_of
from common.paging import paginate
from common.query import read_choice, read_test_mode
from common.rate_limits import RateLimit
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from moderation.report_bodies import (
    STATUSES,
    ReadReportSerializer,
    ReportByDeveloperSerializer,
    ReportListSerializer,
    ReportSerializer,
    SentReportSerializer,
)
from moderation.services.reports import Report, report, reports_of
from projects.access import get_project_for
from projects.account_view import AccountView
from projects.action_limits import ActionLimits, action_limits
from projects.idempotent_view import idempotent
from projects.models import Role

TEST_MODE = OpenApiParameter("test_mode", bool, OpenApiParameter.QUERY, default=True)


class ReportView(AccountView):
    """An end user reports, or the app's server for one."""

    # Each is read by a person.
    action_limits = action_limits("reports", caller=10, address=60, project=1000, seconds=3600)

    @extend_schema(
        operation_id="report",
        tags=["End user"],
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=ReportSerializer,
        responses={201: SentReportSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422, 429)},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Report somebody or something to the staff. Who reports is kept with it."""
        body = ReportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        account = self.appear(self.asked_account(request, body.validated_data.get("user_id")))
        item = report(
            project=account.project, mode=account.mode, report=_report(body.validated_data), reporter=account.end_user
        )
        return Response(SentReportSerializer(item).data, status=201)


class ProjectReportsView(APIView):
    """A project's reports."""

    authentication_classes = [DeveloperAuthentication]
    action_limits = ActionLimits(caller=RateLimit("project-reports-caller", 100, 3600))

    @extend_schema(
        operation_id="list_reports",
        tags=["projects"],
        parameters=[*PAGING, TEST_MODE, OpenApiParameter("status", str, OpenApiParameter.QUERY, enum=STATUSES)],
        responses={200: ReportListSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List what was reported in a project, newest first."""
        project = get_project_for(user=developer_of(request), project_id=project_id)
        rows = reports_of(project=project, mode=mode_of(read_test_mode(request.query_params)))
        status = read_choice(request.query_params, "status", STATUSES)
        rows = rows.filter(status=status) if status else rows
        return Response(
            paginate(
                rows,
                request.query_params,
                key="reports",
                render=lambda found: ReadReportSerializer(found, many=True).data,
            )
        )

    @extend_schema(
        operation_id="create_report",
        tags=["projects"],
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=ReportByDeveloperSerializer,
        responses={201: ReadReportSerializer, **error_responses(400, 401, 403, 404, 409, 415, 422, 429)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Report somebody or something to the operator's staff."""
        developer = developer_of(request)
        project = get_project_for(user=developer, project_id=project_id, min_role=Role.DEVELOPER)
        body = ReportByDeveloperSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        mode = mode_of(read_test_mode(request.query_params))
        item = report(project=project, mode=mode, report=_report(body.validated_data), developer=developer)
        return Response(ReadReportSerializer(item).data, status=201)


def _report(body: dict[str, Any]) -> Report:
    return Report(
        category=body["category"],
        text=body["text"],
        about=body.get("about_user_id") or "",
        reference=body.get("reference") or "",
    )
