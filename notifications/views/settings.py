"""/api/v1/projects/{id}/mail-brand and alert-settings: what a project sets about its mails and alerts, for both modes."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.schema import error_responses
from notifications import settings_bodies as bodies
from notifications.models import AlertTarget, Brand
from notifications.services.settings import put_alert_settings, put_brand
from projects.access import get_membership
from projects.models import ROLE_RANK, Role

TAGS = ["Developer"]
REFUSALS = (400, 401, 403, 404, 413, 415, 422)


class SettingsView(APIView):
    """A view for a developer's token."""

    authentication_classes = [DeveloperAuthentication]

    def member(self, project_id: uuid.UUID, min_role: Role = Role.VIEWER) -> Any:
        """Return the caller's membership. Raises: ProjectNotFound (404), RoleTooLow (403)."""
        return get_membership(user=developer_of(self.request), project_id=project_id, min_role=min_role)


class MailBrandView(SettingsView):
    @extend_schema(
        operation_id="get_mail_brand",
        tags=TAGS,
        responses={200: bodies.BrandSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return how a project's mails are signed and look."""
        project = self.member(project_id).project
        return Response(bodies.render_brand(project, Brand.objects.for_project(project).first()))

    @extend_schema(
        operation_id="put_mail_brand",
        tags=TAGS,
        request=bodies.PutBrandSerializer,
        responses={200: bodies.BrandSerializer, **error_responses(*REFUSALS)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Set how a project's mails are signed and look, from the next mail on."""
        project = self.member(project_id, Role.DEVELOPER).project
        body = bodies.PutBrandSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = put_brand(project=project, fields=body.validated_data, actor=developer_of(request))
        return Response(bodies.render_brand(project, row))


class AlertSettingsView(SettingsView):
    @extend_schema(
        operation_id="get_alert_settings",
        tags=TAGS,
        responses={200: bodies.AlertSettingsSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return when a project is alerted, and who is told."""
        member = self.member(project_id)
        row = AlertTarget.objects.for_project(member.project).first()
        sees_all = ROLE_RANK[Role(member.role)] >= ROLE_RANK[Role.DEVELOPER]
        return Response(bodies.render_alert_settings(member.project, row, whole=sees_all))

    @extend_schema(
        operation_id="put_alert_settings",
        tags=TAGS,
        request=bodies.PutAlertSettingsSerializer,
        responses={200: bodies.AlertSettingsSerializer, **error_responses(*REFUSALS)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Replace a project's own rules and recipients of alerts."""
        project = self.member(project_id, Role.DEVELOPER).project
        body = bodies.PutAlertSettingsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = put_alert_settings(project=project, settings=body.validated_data, actor=developer_of(request))
        return Response(bodies.render_alert_settings(project, row, whole=True))
