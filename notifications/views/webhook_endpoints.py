"""/api/v1/projects/{id}/webhook-endpoints: where a project's app listens, per mode."""

import uuid
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from common.modes import mode_of
from common.paging import paginate
from common.query import read_choice, read_test_mode
from common.rate_limits import RateLimit, count_call
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from notifications import webhook_bodies as bodies
from notifications.event_types import EVENT_TYPES
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services import endpoints, replays
from notifications.services.outbound import send_test
from projects.access import get_membership
from projects.idempotent_view import idempotent
from projects.models import ROLE_RANK, Project, Role

TAGS = ["Developer"]
NO_STORE = {"Cache-Control": "no-store"}
REFUSALS = (400, 401, 403, 404, 409, 415, 422)
# A test holds a request for as long as the endpoint takes to answer.
TESTS = RateLimit("webhook-tests", amount=20, seconds=60)


@dataclass(frozen=True)
class Place:
    """Where a member of a project looks. Only developers see all of an address: its path may hold a token."""

    project: Project
    mode: str
    sees_all: bool

    def endpoint(self, endpoint_id: uuid.UUID) -> WebhookEndpoint:
        """Return one endpoint. Raises: EndpointNotFound (404)."""
        return endpoints.get_endpoint(project=self.project, mode=self.mode, endpoint_id=endpoint_id)


class WebhookEndpointsBase(APIView):
    """A view for a developer's token."""

    authentication_classes = [DeveloperAuthentication]

    def place(self, project_id: uuid.UUID, min_role: Role = Role.VIEWER) -> Place:
        """Return a project of the caller and the mode that is asked for. Raises: ProjectNotFound (404), RoleTooLow (403)."""
        found = get_membership(user=developer_of(self.request), project_id=project_id, min_role=min_role)
        mode = mode_of(read_test_mode(self.request.query_params))
        return Place(found.project, mode, sees_all=ROLE_RANK[Role(found.role)] >= ROLE_RANK[Role.DEVELOPER])

    def endpoint(self, project_id: uuid.UUID, endpoint_id: uuid.UUID, min_role: Role = Role.VIEWER) -> WebhookEndpoint:
        """Return one endpoint. Raises: ProjectNotFound, EndpointNotFound (404), RoleTooLow (403)."""
        return self.place(project_id, min_role).endpoint(endpoint_id)


class WebhookEndpointsView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="list_webhook_endpoints",
        tags=TAGS,
        parameters=[bodies.TEST_MODE],
        responses={200: bodies.WebhookEndpointListSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID) -> Response:
        """List where a project's app listens, newest first."""
        place = self.place(project_id)
        rows = WebhookEndpoint.objects.for_project(place.project).in_mode(place.mode).order_by("-created_at", "-pk")
        found = [bodies.render_endpoint(row, whole=place.sees_all) for row in rows]
        return Response({"webhook_endpoints": found, "total": len(found)})

    @extend_schema(
        operation_id="create_webhook_endpoint",
        tags=TAGS,
        parameters=[bodies.TEST_MODE, IDEMPOTENCY_KEY],
        request=bodies.CreateWebhookEndpointSerializer,
        responses={201: bodies.NewWebhookEndpointSerializer, **error_responses(*REFUSALS)},
    )
    @idempotent(holds_secret=True)
    def post(self, request: Request, project_id: uuid.UUID) -> Response:
        """Begin to tell the app of what happens from now on. The signing secret is shown once, in this answer."""
        place = self.place(project_id, Role.DEVELOPER)
        fields = _read(bodies.CreateWebhookEndpointSerializer, request)
        made = endpoints.create_endpoint(
            project=place.project, mode=place.mode, fields=fields, actor=developer_of(request)
        )
        return Response(bodies.render_made(made), status=201, headers=NO_STORE)


class WebhookEndpointView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="read_webhook_endpoint",
        tags=TAGS,
        parameters=[bodies.TEST_MODE],
        responses={200: bodies.WebhookEndpointSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """Return one endpoint, and how it fares."""
        place = self.place(project_id)
        return Response(bodies.render_endpoint(place.endpoint(endpoint_id), whole=place.sees_all))

    @extend_schema(
        operation_id="change_webhook_endpoint",
        tags=TAGS,
        parameters=[bodies.TEST_MODE],
        request=bodies.ChangeWebhookEndpointSerializer,
        responses={200: bodies.WebhookEndpointSerializer, **error_responses(*REFUSALS)},
    )
    def put(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """Change an endpoint, or switch it off and on."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        fields = _read(bodies.ChangeWebhookEndpointSerializer, request)
        changed = endpoints.change_endpoint(endpoint=endpoint, fields=fields, actor=developer_of(request))
        return Response(bodies.render_endpoint(changed))

    @extend_schema(
        operation_id="delete_webhook_endpoint",
        tags=TAGS,
        parameters=[bodies.TEST_MODE],
        responses={204: None, **error_responses(401, 403, 404, 422)},
    )
    def delete(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """Forget an endpoint with its secrets and the log of its deliveries."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        endpoints.delete_endpoint(endpoint=endpoint, actor=developer_of(request))
        return Response(status=204)


class RotateEndpointSecretView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="rotate_webhook_endpoint_secret",
        tags=TAGS,
        parameters=[bodies.TEST_MODE, IDEMPOTENCY_KEY],
        request=bodies.RotateSecretSerializer,
        responses={200: bodies.NewWebhookEndpointSerializer, **error_responses(*REFUSALS)},
    )
    @idempotent(holds_secret=True)
    def post(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """Replace the signing secret, which is shown once. For the overlap both secrets sign each delivery."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        fields = _read(bodies.RotateSecretSerializer, request)
        made = endpoints.rotate_secret(
            endpoint=endpoint, overlap_hours=fields["overlap_hours"], actor=developer_of(request)
        )
        return Response(bodies.render_made(made), headers=NO_STORE)


class SendTestView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="test_webhook_endpoint",
        tags=TAGS,
        parameters=[bodies.TEST_MODE, IDEMPOTENCY_KEY],
        request=bodies.SendTestSerializer,
        responses={200: bodies.WebhookDeliveryDetailSerializer, **error_responses(*REFUSALS, 429)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """Send an example to the endpoint now, once, and say what it answered."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        fields = _read(bodies.SendTestSerializer, request)
        count_call(TESTS, str(endpoint.project_id))
        sent = send_test(endpoint=endpoint, event_type=fields["event_type"])
        return Response(bodies.render_delivery(replays.get_delivery(endpoint=endpoint, delivery_id=sent.pk)))


class WebhookDeliveriesView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="list_webhook_deliveries",
        tags=TAGS,
        parameters=[bodies.TEST_MODE, bodies.STATUS, bodies.EVENT_TYPE, *PAGING],
        responses={200: bodies.WebhookDeliveryListSerializer, **error_responses(401, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """List an endpoint's deliveries, newest first."""
        endpoint = self.endpoint(project_id, endpoint_id)
        query = request.query_params
        rows = WebhookDelivery.objects.for_project(endpoint.project_id).filter(endpoint=endpoint).defer("log")
        status = read_choice(query, "status", bodies.STATUSES)
        event_type = read_choice(query, "event_type", list(EVENT_TYPES))
        if status is not None:
            rows = rows.filter(status=status)
        if event_type is not None:
            rows = rows.filter(event_type=event_type)
        return Response(paginate(rows, query, key="webhook_deliveries", render=bodies.render_deliveries))


class WebhookDeliveryView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="read_webhook_delivery",
        tags=TAGS,
        parameters=[bodies.TEST_MODE],
        responses={200: bodies.WebhookDeliveryDetailSerializer, **error_responses(401, 403, 404, 422)},
    )
    def get(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
        """Return a delivery with what was sent, and what was answered at each attempt."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        return Response(bodies.render_delivery(replays.get_delivery(endpoint=endpoint, delivery_id=delivery_id)))


class ReplayDeliveryView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="replay_webhook_delivery",
        tags=TAGS,
        parameters=[bodies.TEST_MODE, IDEMPOTENCY_KEY],
        request=None,
        responses={200: bodies.WebhooksReplayedSerializer, **error_responses(401, 403, 404, 409, 422)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
        """Send one event again, under the same id."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        count = replays.replay_delivery(endpoint=endpoint, delivery_id=delivery_id, actor=developer_of(request))
        return Response({"replayed": count})


class ReplayRangeView(WebhookEndpointsBase):
    @extend_schema(
        operation_id="replay_webhook_deliveries",
        tags=TAGS,
        parameters=[bodies.TEST_MODE, IDEMPOTENCY_KEY],
        request=bodies.ReplayRangeSerializer,
        responses={200: bodies.WebhooksReplayedSerializer, **error_responses(*REFUSALS)},
    )
    @idempotent()
    def post(self, request: Request, project_id: uuid.UUID, endpoint_id: uuid.UUID) -> Response:
        """Send again what failed or was missed in a stretch of time, at most 10,000 events."""
        endpoint = self.endpoint(project_id, endpoint_id, Role.DEVELOPER)
        fields = _read(bodies.ReplayRangeSerializer, request)
        count = replays.replay_range(endpoint=endpoint, **fields, actor=developer_of(request))
        return Response({"replayed": count})


def _read(shape: type[Any], request: Request) -> dict[str, Any]:
    """Read a body. Raises ValidationError (422)."""
    body = shape(data=request.data)
    body.is_valid(raise_exception=True)
    fields: dict[str, Any] = body.validated_data
    return fields
