"""What a developer decides about access, and why somebody is on a plan."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common.errors import NotFound
from common.modes import mode_of
from common.paging import paginate
from common.query import read_test_mode
from common.schema import PAGING, error_responses
from payments import policy_schema, schema
from payments.models import Subscription, SubscriptionChange
from payments.services.billing_policy import put_billing_policy, read_billing_policy
from payments.services.shapes import render_billing_policy, render_changes
from payments.views.developer import TAGS, DeveloperView
from projects.models import Project, Role


class SubscriptionNotFound(NotFound):
    """404: the project has no such subscription in this mode."""

    code = "subscription_not_found"
    detail = "Subscription not found."


class BillingPolicyView(DeveloperView):
    @extend_schema(
        operation_id="read_billing_policy",
        tags=TAGS,
        responses={200: policy_schema.BillingPolicySerializer, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, project_id: str) -> Response:
        """Read who has access and what checkout asks for. A project that never changed it has the defaults."""
        return Response(render_billing_policy(read_billing_policy(project=self.project(project_id))))

    @extend_schema(
        operation_id="put_billing_policy",
        tags=TAGS,
        request=policy_schema.BillingPolicyChangeSerializer,
        responses={
            200: policy_schema.BillingPolicySerializer,
            **error_responses(400, 401, 403, 404, 413, 415, 422, 429),
        },
    )
    def put(self, request: Request, project_id: str) -> Response:
        """Change the policy. What is left out stays; the change holds from the next request on."""
        project = self.project(project_id, Role.DEVELOPER)
        body = policy_schema.BillingPolicyChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        policy = put_billing_policy(project=project, actor=self.developer, changes=body.validated_data)
        return Response(render_billing_policy(policy))


class SubscriptionHistoryView(DeveloperView):
    @extend_schema(
        operation_id="list_subscription_history",
        tags=TAGS,
        parameters=[schema.TEST_MODE, *PAGING],
        responses={200: policy_schema.SubscriptionHistorySerializer, **error_responses(401, 403, 404, 422, 429)},
    )
    def get(self, request: Request, project_id: str, subscription_id: str) -> Response:
        """Read why a user is on a plan: every change of a subscription, newest first. Takes the subscription's `id`."""
        mode = mode_of(read_test_mode(request.query_params))
        subscription = _subscription(self.project(project_id), mode, subscription_id)
        rows = SubscriptionChange.objects.for_project(subscription.project_id).filter(subscription=subscription)
        return Response(
            paginate(rows, request.query_params, key="history", render=render_changes, order_field="recorded_at")
        )


def _subscription(project: Project, mode: str, subscription_id: str) -> Subscription:
    try:
        wanted = uuid.UUID(subscription_id)
    except ValueError:
        raise SubscriptionNotFound from None
    found = Subscription.objects.for_project(project).in_mode(mode).filter(pk=wanted).first()
    if found is None:
        raise SubscriptionNotFound
    return found
