"""/api/v1/projects/{id}/hosted-pages: what a project sets about its hosted pages, for both modes."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.authentication import developer_of
from common.schema import error_responses
from hosted import bodies
from hosted.services.settings import pages_of, put_pages
from notifications.views.settings import REFUSALS, TAGS, SettingsView
from projects.models import Role


class HostedPagesView(SettingsView):
    @extend_schema(
        operation_id="get_hosted_pages",
        tags=TAGS,
        responses={200: bodies.HostedPagesAnswer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """Return a project's choices about its hosted pages, and where the pages are."""
        return Response(bodies.render_pages(pages_of(self.member(project_id).project)))

    @extend_schema(
        operation_id="put_hosted_pages",
        tags=TAGS,
        request=bodies.PutHostedPagesBody,
        responses={200: bodies.HostedPagesAnswer, **error_responses(*REFUSALS)},
    )
    def put(self, request: Request, project_id: uuid.UUID) -> Response:
        """Set a project's choices about its hosted pages."""
        project = self.member(project_id, Role.DEVELOPER).project
        body = bodies.PutHostedPagesBody(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(
            bodies.render_pages(put_pages(project=project, fields=body.validated_data, actor=developer_of(request)))
        )
