"""A project's webhook endpoint at Stripe and the events that came: checks, rolls, dead letters, replays."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.errors import FieldError
from common.modes import mode_of
from common.paging import paginate
from common.query import read_choice, read_test_mode
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from payments import webhook_schema
from payments.models import WebhookEvent
from payments.nudge import nudge_worker
from payments.schema import TEST_MODE
from payments.services import dead_letters
from payments.services.webhook_endpoints import check_endpoint, roll_secret
from payments.views.developer import TAGS, DeveloperView
from projects.action_limits import STRIPE_SETUP
from projects.idempotent_view import idempotent
from projects.models import Role

REFUSALS = (400, 401, 403, 404, 409, 415, 422, 429)


class EndpointCheckView(DeveloperView):
    action_limits = STRIPE_SETUP

    @extend_schema(
        operation_id="check_webhook_endpoint",
        tags=TAGS,
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=None,
        responses={200: webhook_schema.EndpointCheckSerializer, **error_responses(401, 403, 404, 409, 422, 429)},
    )
    @idempotent()
    def post(self, request: Request, project_id: str) -> Response:
        """Look at the webhook endpoint at Stripe, and make or mend it."""
        project = self.project(project_id, Role.DEVELOPER)
        mode = mode_of(read_test_mode(request.query_params))
        check = check_endpoint(project=project, mode=mode, mend_by_hand=True)
        return Response(webhook_schema.render_check(check))


class RollSecretView(DeveloperView):
    action_limits = STRIPE_SETUP

    @extend_schema(
        operation_id="roll_webhook_secret",
        tags=TAGS,
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=webhook_schema.RollSecretSerializer,
        responses={200: webhook_schema.RolledSecretSerializer, **error_responses(*REFUSALS, 502, 503)},
    )
    @idempotent()
    def post(self, request: Request, project_id: str) -> Response:
        """Replace the endpoint's signing secret. The old one verifies beside the new one for up to 24 hours."""
        project = self.project(project_id, Role.DEVELOPER)
        mode = mode_of(read_test_mode(request.query_params))
        body = webhook_schema.RollSecretSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        rolled = roll_secret(project=project, mode=mode, actor=self.developer, **body.validated_data)
        return Response(webhook_schema.render_roll(rolled))


class WebhookEventsView(DeveloperView):
    @extend_schema(
        operation_id="list_webhook_events",
        tags=TAGS,
        parameters=[TEST_MODE, webhook_schema.STATUS, webhook_schema.TYPE, *PAGING],
        responses={200: webhook_schema.WebhookEventListSerializer, **error_responses(401, 403, 404, 422, 429)},
    )
    def get(self, request: Request, project_id: str) -> Response:
        """List the events that Stripe sent in one mode, newest first; status=dead are the dead letters."""
        project = self.project(project_id)
        query = request.query_params
        rows = WebhookEvent.objects.for_project(project).filter(mode=mode_of(read_test_mode(query))).defer("payload")
        status = read_choice(query, "status", webhook_schema.EVENT_STATUSES)
        event_type = _read_type(query)
        if status is not None:
            rows = rows.filter(status=status)
        if event_type is not None:
            rows = rows.filter(type=event_type)
        return Response(
            paginate(rows, query, key="webhook_events", render=webhook_schema.render_events, order_field="received_at")
        )


class WebhookEventView(DeveloperView):
    @extend_schema(
        operation_id="read_webhook_event",
        tags=TAGS,
        parameters=[TEST_MODE],
        responses={200: webhook_schema.WebhookEventDetailSerializer, **error_responses(401, 403, 404, 422, 429)},
    )
    def get(self, request: Request, project_id: str, event_id: str) -> Response:
        """Read one event with its body, by its id here or by Stripe's. Secrets in it are replaced by marks."""
        project = self.project(project_id)
        mode = mode_of(read_test_mode(request.query_params))
        event = dead_letters.get_event(project=project, mode=mode, event_id=event_id)
        return Response(webhook_schema.render_event_with_body(event))


class ReplayEventView(DeveloperView):
    action_limits = STRIPE_SETUP

    @extend_schema(
        operation_id="replay_webhook_event",
        tags=TAGS,
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=None,
        responses={200: webhook_schema.ReplayedSerializer, **error_responses(401, 403, 404, 409, 422, 429)},
    )
    @idempotent()
    def post(self, request: Request, project_id: str, event_id: str) -> Response:
        """Send a dead or ignored event through again, once however often this is called."""
        project = self.project(project_id, Role.DEVELOPER)
        mode = mode_of(read_test_mode(request.query_params))
        event = dead_letters.get_event(project=project, mode=mode, event_id=event_id)
        return _replayed(int(dead_letters.replay_one(event=event, actor=self.developer)))


class ReplayEventsView(DeveloperView):
    action_limits = STRIPE_SETUP

    @extend_schema(
        operation_id="replay_webhook_events",
        tags=TAGS,
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=webhook_schema.ReplaySerializer,
        responses={200: webhook_schema.ReplayedSerializer, **error_responses(*REFUSALS)},
    )
    @idempotent()
    def post(self, request: Request, project_id: str) -> Response:
        """Send dead or ignored events through again: some by id, or up to 1,000 dead letters."""
        project = self.project(project_id, Role.DEVELOPER)
        mode = mode_of(read_test_mode(request.query_params))
        body = webhook_schema.ReplaySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        ids = webhook_schema.read_ids(body.validated_data)
        if ids:
            count = dead_letters.replay_ids(project=project, mode=mode, ids=ids, actor=self.developer)
        else:
            event_type = body.validated_data.get("type")
            count = dead_letters.replay_all_dead(
                project=project, mode=mode, event_type=event_type, actor=self.developer
            )
        return _replayed(count)


def _replayed(count: int) -> Response:
    if count:
        nudge_worker()
    return Response({"replayed": count})


def _read_type(query: Any) -> str | None:
    """Read the filter `type`. Raises: FieldError (422)."""
    event_type: str | None = query.get("type")
    if event_type is not None and (len(event_type) > webhook_schema.TYPE_CHARS_MAX or not event_type.isprintable()):
        raise FieldError(
            "query", "type", msg=f"Give an event type of at most {webhook_schema.TYPE_CHARS_MAX} characters."
        )
    return event_type
