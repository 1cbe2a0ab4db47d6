"""What a developer reads and sets up, over all projects and in one of them."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import DeveloperAuthentication, developer_of
from accounts.models import User
from common.modes import mode_of
from common.paging import paginate
from common.query import read_choice, read_flag, read_test_mode, read_uuid
from common.schema import PAGING, error_responses
from payments import schema
from payments.models import StripeConfig, Subscription, Transaction
from payments.models.billing import STATUS_PRECEDENCE
from payments.serializers import (
    payments_with_relations,
    render_aggregated_payments,
    render_aggregated_subscriptions,
    render_config,
    render_payments,
    render_project,
    render_subscriptions,
    subscriptions_with_relations,
)
from payments.services import stats, stripe_config
from payments.services.webhook_address import webhook_urls
from projects.access import get_project_for
from projects.action_limits import STRIPE_SETUP
from projects.models import Project, Role

TAGS = ["Developer"]


class DeveloperView(APIView):
    """A view for a developer's token, and for nothing else."""

    authentication_classes = [DeveloperAuthentication]

    @property
    def developer(self) -> User:
        """Whose token this is."""
        return developer_of(self.request)

    def project(self, project_id: str | UUID, min_role: Role = Role.VIEWER) -> Project:
        """Return a project of the caller. Raises ProjectNotFound (404), RoleTooLow (403)."""
        return get_project_for(user=self.developer, project_id=project_id, min_role=min_role)


class AggregatedListView(DeveloperView):
    """A list over all projects of the caller."""

    def narrowed(self, request: Request, rows: Any, statuses: Any) -> Any:
        """Keep the caller's rows, then what the query asks for. Raises FieldError (422), NotFound (404)."""
        query = request.query_params
        project_id = read_uuid(query, "project_id")
        test_mode = read_flag(query, "test_mode")
        status = read_choice(query, "status", statuses)
        if project_id is not None:
            rows = rows.for_project(self.project(project_id))
        else:
            rows = rows.filter(project__in=list(Project.objects.for_user(self.developer).values_list("pk", flat=True)))
        if test_mode is not None:
            rows = rows.in_mode(mode_of(test_mode))
        return rows.filter(status=status) if status is not None else rows


class SubscriptionsView(AggregatedListView):
    @extend_schema(
        operation_id="list_all_subscriptions",
        tags=TAGS,
        parameters=[schema.PROJECT_ID, schema.OPTIONAL_TEST_MODE, schema.SUBSCRIPTION_STATUS, *PAGING],
        responses={200: schema.AggregatedSubscriptionListSerializer, **error_responses(401, 404, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """List the subscriptions of all your projects, newest first."""
        rows = self.narrowed(request, Subscription.objects.all(), STATUS_PRECEDENCE)
        rows = subscriptions_with_relations(rows, aggregated=True)
        return Response(
            paginate(rows, request.query_params, key="subscriptions", render=render_aggregated_subscriptions)
        )


class TransactionsView(AggregatedListView):
    @extend_schema(
        operation_id="list_all_payments",
        tags=TAGS,
        parameters=[schema.PROJECT_ID, schema.OPTIONAL_TEST_MODE, schema.PAYMENT_STATUS, *PAGING],
        responses={200: schema.AggregatedPaymentListSerializer, **error_responses(401, 404, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """List the payments of all your projects, newest first."""
        rows = self.narrowed(request, Transaction.objects.all(), Transaction.Status.values)
        rows = payments_with_relations(rows, aggregated=True)
        return Response(paginate(rows, request.query_params, key="payments", render=render_aggregated_payments))


class ProjectsView(DeveloperView):
    @extend_schema(
        operation_id="list_payment_projects",
        tags=TAGS,
        responses={200: schema.DeveloperProjectListSerializer, **error_responses(401, 429)},
    )
    def get(self, request: Request) -> Response:
        """List your projects and how far their payments are set up."""
        projects = list(Project.objects.for_user(self.developer).order_by("-created_at", "-pk"))
        configs = {
            config.project_id: config
            for config in StripeConfig.objects.filter(project__in=projects).prefetch_related("credentials")
        }
        rows = []
        for project in projects:
            config = configs.get(project.pk)
            rows.append(render_project(project, config, config.credentials.all() if config else []))
        return Response({"projects": rows, "total": len(rows)})


class StatsView(DeveloperView):
    @extend_schema(
        operation_id="read_stats",
        tags=TAGS,
        parameters=[schema.TEST_MODE],
        responses={200: schema.StatsSerializer, **error_responses(401, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """Read the figures of all your projects in one mode, net of refunds, each currency apart."""
        mode = mode_of(read_test_mode(request.query_params))
        project_ids = list(Project.objects.for_user(self.developer).values_list("pk", flat=True))
        return Response(stats.read_stats(project_ids=project_ids, mode=mode))


class ConfigView(DeveloperView):
    @extend_schema(
        operation_id="read_stripe_config",
        tags=TAGS,
        responses={
            200: OpenApiResponse(schema.ConfigSerializer, "The configuration, or null when it was never set."),
            **error_responses(401, 403, 404, 429),
        },
    )
    def get(self, request: Request, project_id: str) -> Response:
        """Read a project's Stripe configuration. Keys are masked."""
        project = self.project(project_id)
        stored = stripe_config.read_stripe_config(project=project)
        return Response(_rendered(stored) if stored else None)

    @extend_schema(
        operation_id="put_stripe_config",
        tags=TAGS,
        request=schema.ConfigChangeSerializer,
        responses={200: schema.ConfigSerializer, **error_responses(400, 401, 403, 404, 415, 422, 429, 502, 503)},
    )
    def put(self, request: Request, project_id: str) -> Response:
        """Save Stripe keys and switch payments on. Absent or null keeps what is stored."""
        project = self.project(project_id, Role.DEVELOPER)
        body = schema.ConfigChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        stored = stripe_config.put_stripe_config(
            project=project,
            changes=stripe_config.changes_of(body.validated_data),
            confirm_account_change=body.validated_data["confirm_account_change"],
            actor=self.developer,
        )
        return Response(_rendered(stored))

    @extend_schema(
        operation_id="delete_stripe_config",
        tags=TAGS,
        responses={204: OpenApiResponse(description="Switched off."), **error_responses(401, 403, 404, 429)},
    )
    def delete(self, request: Request, project_id: str) -> Response:
        """Switch payments off: history stays, webhooks stop verifying."""
        project = self.project(project_id, Role.DEVELOPER)
        stripe_config.deactivate_stripe_config(project=project, actor=self.developer)
        return Response(status=204)


def _rendered(stored: stripe_config.StoredConfig) -> dict[str, Any]:
    return render_config(stored.config, stored.credentials, stored.health)


class WebhookUrlsView(DeveloperView):
    @extend_schema(
        operation_id="read_webhook_urls",
        tags=TAGS,
        responses={200: schema.WebhookUrlsSerializer, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, project_id: str) -> Response:
        """Read the addresses that Stripe must deliver to."""
        return Response(webhook_urls(project=self.project(project_id)))


class ValidateCredentialsView(DeveloperView):
    action_limits = STRIPE_SETUP

    @extend_schema(
        operation_id="validate_credentials",
        tags=TAGS,
        request=schema.CredentialsToValidateSerializer,
        responses={200: schema.VerdictSerializer, **error_responses(400, 401, 403, 404, 415, 422, 429, 502, 503)},
    )
    def post(self, request: Request, project_id: str) -> Response:
        """Try a secret key at Stripe with one read. Nothing is stored."""
        self.project(project_id, Role.DEVELOPER)
        body = schema.CredentialsToValidateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        verdict = stripe_config.validate_credentials(**body.validated_data)
        return Response({"valid": verdict.valid, "message": verdict.message})


class ProjectSubscriptionsView(DeveloperView):
    @extend_schema(
        operation_id="list_project_subscriptions",
        tags=TAGS,
        parameters=[schema.TEST_MODE, *PAGING],
        responses={200: schema.SubscriptionListSerializer, **error_responses(401, 403, 404, 422, 429)},
    )
    def get(self, request: Request, project_id: str) -> Response:
        """List one project's subscriptions in one mode, newest first."""
        mode = mode_of(read_test_mode(request.query_params))
        rows = Subscription.objects.for_project(self.project(project_id)).in_mode(mode)
        rows = subscriptions_with_relations(rows)
        return Response(paginate(rows, request.query_params, key="subscriptions", render=render_subscriptions))


class ProjectPaymentsView(DeveloperView):
    @extend_schema(
        operation_id="list_project_payments",
        tags=TAGS,
        parameters=[schema.TEST_MODE, *PAGING],
        responses={200: schema.PaymentListSerializer, **error_responses(401, 403, 404, 422, 429)},
    )
    def get(self, request: Request, project_id: str) -> Response:
        """List one project's payments in one mode, newest first."""
        mode = mode_of(read_test_mode(request.query_params))
        rows = Transaction.objects.for_project(self.project(project_id)).in_mode(mode)
        return Response(
            paginate(payments_with_relations(rows), request.query_params, key="payments", render=render_payments)
        )
